package oms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestR044_R048_R050_open_refusals(t *testing.T) {
	r := new(spi.Registry)
	r.Register(newFake())
	try := func(url string) error {
		ap, err := oms.Open(t.Context(), url, oms.WithRegistry(r))
		if err == nil {
			_ = ap.Close(t.Context())
		}
		return err
	}
	is(t, try("fake://h/r"), om.CodeMalformedURL)
	err := try("oms:other://h/r")
	is(t, err, om.CodeDriverUnavailable)
	if !strings.Contains(err.Error(), "fake") {
		t.Fatalf("the known drivers are missing: %v", err)
	}
	ok(t, try("oms:fake://h/r"))
	for version, want := range map[string]om.Code{
		"": om.CodeMalformedVersion, "1.0": om.CodeMalformedVersion, "1.0.x": om.CodeMalformedVersion, "01.0.0": om.CodeMalformedVersion,
		"1.1.0": om.CodeIncompatibleVersion, "2.0.0-pre": om.CodeIncompatibleVersion, "1.0.9": 0, "1.0.0-rc.1": 0,
	} {
		f := newFake()
		f.spec = version
		r = new(spi.Registry)
		r.Register(f)
		err := try("oms:fake://h/r")
		if want == 0 {
			ok(t, err)
			continue
		}
		is(t, err, want, om.CodeDriverUnavailable)
		equal(t, "code", om.CodeOf(err), want)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = oms.Open(ended, "oms:fake://h/r", oms.WithRegistry(r))
	is(t, err, context.Canceled)
}

func TestG39_credentials_come_by_option_and_never_show(t *testing.T) {
	const secret = "s3cr3t"
	var logged bytes.Buffer
	f := newFake()
	give := func(context.Context) (spi.Credentials, error) { return spi.Credentials{AccountKey: secret}, nil }
	ap := open(t, f, oms.WithCredentials(give), oms.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
	equal(t, "what the driver got", f.creds.AccountKey, secret)
	_, err := ap.NewProducer(t.Context(), om.WithLinger(-1))
	for _, s := range []string{fmt.Sprintf("%v", ap.Attributes()), err.Error(), logged.String()} {
		if strings.Contains(s, secret) {
			t.Fatalf("the secret shows in %s", s)
		}
	}
}

func TestR049_attributes_are_a_copy(t *testing.T) {
	ap := open(t, newFake())
	a := ap.Attributes()
	equal(t, "account", a.GetString(om.AttrAccountID, ""), "user")
	a[om.AttrRegion] = om.String("changed")
	equal(t, "region", ap.Attributes().GetString(om.AttrRegion, ""), "region")
	ap.Capabilities()[0] = "changed"
	equal(t, "capability", ap.Capabilities()[0], om.CapAdmin)
	equal(t, "version", ap.SpecVersion(), om.SpecVersion)
}

func TestOptions_are_checked_together(t *testing.T) {
	ap := open(t, newFake())
	_, err := ap.NewProducer(t.Context(), om.WithBatch(-1, 0), om.WithLinger(-1), om.WithRetry(om.RetryPolicy{Min: 2, Max: 1}))
	is(t, err, om.CodeBadParameter)
	for _, part := range []string{"BatchMessages", "Linger", "Retry.Min"} {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("%v does not name %s", err, part)
		}
	}
	_, err = ap.NewPullConsumer(t.Context(), om.WithLease(-1))
	is(t, err, om.CodeBadParameter)
	_, err = ap.NewPushConsumer(t.Context(), om.WithConcurrency(-1))
	is(t, err, om.CodeBadParameter)
	_, err = ap.NewStreamConsumer(t.Context(), om.WithPrefetch(-1))
	is(t, err, om.CodeBadParameter)
	for part, opts := range map[string][]om.ConsumerOption{
		"set an Allocation": {om.WithSession(time.Second)},
		"100 ms to 1 hour":  {om.WithAllocation(allocation.Sticky()), om.WithSession(time.Millisecond)},
		"at most 255 bytes": {om.WithAllocation(allocation.Sticky()), om.WithMember(strings.Repeat("x", 256), nil)},
	} {
		_, err = ap.NewPullConsumer(t.Context(), opts...)
		is(t, err, om.CodeBadParameter)
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("%v does not say %q", err, part)
		}
	}
}

func TestG05_constructor_context_is_not_kept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		ap := open(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		p, err := ap.NewProducer(ctx)
		ok(t, err)
		c, err := ap.NewPushConsumer(ctx)
		ok(t, err)
		var seen log
		ok(t, c.Bind(ctx, noting(&seen), "q"))
		cancel()
		_, err = p.Send(t.Context(), msg("q", "a"))
		ok(t, err)
		synctest.Wait()
		sameList(t, "handled", seen.all(), []string{"a"})
	})
}

func TestAccessPoint_close_closes_endpoints_then_connection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		ap := open(t, f)
		p := producer(t, ap)
		push := pusher(t, ap)
		ok(t, push.Bind(t.Context(), noting(new(log)), "q"))
		pull := puller(t, ap, []string{"q"})
		stream, err := ap.NewStreamConsumer(t.Context())
		ok(t, err)
		for range 3 {
			go func() { ok(t, ap.Close(t.Context())) }()
		}
		ok(t, ap.Close(t.Context()))
		f.mu.Lock()
		equal(t, "closings", len(f.closed), 4)
		equal(t, "the last", f.closed[3], "conn")
		f.mu.Unlock()
		for _, e := range []om.Lifecycle{p, push, pull, stream} {
			equal(t, "state", e.State(), om.Stopped)
			is(t, e.Start(t.Context()), om.ErrClosed)
		}
		_, err = ap.NewProducer(t.Context())
		is(t, err, om.ErrClosed)
		is(t, ap.Ping(t.Context()), om.ErrClosed)
		_, err = ap.Resources().Namespaces(t.Context())
		is(t, err, om.ErrClosed)
	})
}

func TestAccessPoint_close_is_cut_off(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a")
		r := new(spi.Registry)
		r.Register(f)
		ap, err := oms.Open(t.Context(), "oms:fake://h/r", oms.WithRegistry(r))
		ok(t, err)
		c := pusher(t, ap, om.WithOnError(func(error) {}))
		ok(t, c.Bind(t.Context(), func(ctx context.Context, _ *om.Delivery) error { <-ctx.Done(); return nil }, "q"))
		synctest.Wait()
		is(t, ap.Close(within(t, time.Second)), context.DeadlineExceeded)
		synctest.Wait()
		equal(t, "the last closing", f.closed[len(f.closed)-1], "conn")
		ok(t, ap.Close(t.Context()))
	})
}

// admin adds resources to a fake connection and notes the names it is asked for.
type admin struct {
	spi.Conn
	asked *log
}

type adminDriver struct {
	*fake
	asked log
}

func (d *adminDriver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	conn, err := d.fake.Open(ctx, cfg)
	return spi.ConnWrapper{Conn: &admin{conn, &d.asked}}, err
}

var errOwn = errors.New("the driver's own error")

func (a *admin) CreateNamespace(_ context.Context, n string) error { a.asked.add(n); return errOwn }
func (a *admin) DeleteNamespace(_ context.Context, n string) error { a.asked.add(n); return nil }
func (a *admin) Namespaces(context.Context) ([]string, error)      { return []string{"default"}, nil }
func (a *admin) CreateQueue(_ context.Context, c om.QueueConfig) error {
	a.asked.add(c.Name)
	return nil
}
func (a *admin) DeleteQueue(_ context.Context, n string) error { a.asked.add(n); return nil }
func (a *admin) Queue(_ context.Context, n string) (om.QueueConfig, error) {
	a.asked.add(n)
	return om.QueueConfig{Name: n}, nil
}
func (a *admin) Queues(_ context.Context, ns string) ([]om.QueueConfig, error) {
	a.asked.add(ns)
	return nil, nil
}
func (a *admin) DeleteGroup(_ context.Context, q, _ string) error { a.asked.add(q); return nil }
func (a *admin) Ping(context.Context) error                       { return nil }
func (a *admin) Classify(err error) om.Code {
	if errors.Is(err, errOwn) {
		return om.CodeNamespaceExists
	}
	return 0
}

func (a *admin) As(target any) bool {
	p, ok := target.(**admin)
	if ok {
		*p = a
	}
	return ok
}

func TestR089_resources_resolve_names_and_wrap_errors(t *testing.T) {
	d := &adminDriver{fake: newFake("q")}
	ap := open(t, d)
	ctx := t.Context()
	r := ap.Resources()
	ok(t, r.CreateQueue(ctx, om.QueueConfig{Name: "a"}))
	ok(t, r.Namespace("ns").DeleteQueue(ctx, "b"))
	_, err := r.Namespace("ns").Queue(ctx, "other://c")
	ok(t, err)
	_, err = r.Queues(ctx)
	ok(t, err)
	_, err = r.Namespace("ns").Queues(ctx)
	ok(t, err)
	ok(t, r.Namespace("ns").DeleteGroup(ctx, "d", "g"))
	is(t, r.CreateQueue(ctx, om.QueueConfig{}), om.CodeBadParameter)
	is(t, r.CreateQueue(ctx, om.QueueConfig{Name: "x", Partitions: -1}), om.CodeBadParameter)
	sameList(t, "names", d.asked.all(), []string{"a", "ns://b", "other://c", "default", "ns", "ns://d"})

	err = r.CreateNamespace(ctx, "n")
	is(t, err, om.CodeNamespaceExists, om.ErrDestination, errOwn)
	var e *om.Error
	if !errors.As(err, &e) || e.Op != "create namespace" || e.Resource != "n" {
		t.Fatal(err)
	}
	_, err = r.Partitions(ctx, "a")
	is(t, err, errors.ErrUnsupported)
	_, err = r.Groups(ctx, "a")
	is(t, err, errors.ErrUnsupported)
	is(t, r.SeekGroup(ctx, "a", "g", om.End()), errors.ErrUnsupported) // declared, but without the method
	is(t, r.SetFilter(ctx, "a", om.SQL("x")), errors.ErrUnsupported)
	is(t, r.CreateRoute(ctx, om.RouteConfig{}), errors.ErrUnsupported)
	is(t, r.DeleteRoute(ctx, "r"), errors.ErrUnsupported)
	_, err = r.Routes(ctx)
	is(t, err, errors.ErrUnsupported)

	ok(t, ap.Ping(ctx))
	var own *admin
	equal(t, "As", ap.As(&own), true)
	equal(t, "As of an unknown type", ap.As(new(int)), false)
	plain := open(t, newFake())
	is(t, plain.Ping(ctx), errors.ErrUnsupported)
	equal(t, "As without Asser", plain.As(&own), false)
}
