package serve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// withQueues makes queues as root.
func (m *machine) withQueues(names ...string) {
	m.Helper()
	ap := m.open(as("root", rootKey))
	for _, name := range names {
		m.must(ap.Resources().CreateQueue(m.Context(), om.QueueConfig{Name: name}))
	}
}

func (m *machine) producer(ap om.AccessPoint, opts ...om.ProducerOption) om.Producer {
	m.Helper()
	p, err := ap.NewProducer(m.Context(), opts...)
	m.must(err)
	return p
}

func once() om.ProducerOption { return om.WithRetry(om.RetryPolicy{Attempts: 1}) }

func TestRightsThatChangeHoldAtOnce(t *testing.T) {
	m := start(t, nil)
	m.withQueues("q", "other")
	s, ctx := m.security(), t.Context()
	m.addUser(s, "bob", userKey, "allow publish queue:q", "allow consume queue:q", "allow consume group:g")
	ap := m.open(as("bob", userKey))
	p := m.producer(ap, once())
	send := func(queue string) error {
		_, err := p.Send(ctx, om.NewMessage(queue, []byte("x")))
		return err
	}
	m.must(send("q"))
	wantCode(t, send("other"), om.CodeForbidden)
	wantCode(t, send("missing"), om.CodeForbidden) // whether it is there is not told
	wantCode(t, ap.Resources().DeleteQueue(ctx, "q"), om.CodeForbidden)
	if names, err := ap.Resources().Namespaces(ctx); err != nil || len(names) != 0 {
		t.Error(names, err)
	}

	consumer, err := ap.NewPullConsumer(ctx, om.WithGroup("g"))
	m.must(err)
	m.must(consumer.Bind(ctx, "q"))
	d, err := consumer.Receive(ctx)
	m.must(err)
	_, err = s.Revoke(ctx, &wirepb.RevokeRequest{Subject: "user:bob", Rules: []string{"allow consume group:g"}})
	m.must(err)
	if err := d.Ack(ctx); !errors.Is(err, om.CodeForbidden) && !om.Retryable(err) { // the stream has ended
		t.Errorf("settled without the right: %v", err)
	}
	_, err = consumer.Receive(ctx)
	wantCode(t, err, om.CodeForbidden)
	other, err := m.open(as("root", rootKey)).NewPullConsumer(ctx, om.WithGroup("g"))
	m.must(err)
	m.must(other.Bind(ctx, "q"))
	if again, err := other.Receive(ctx); err != nil || again.MessageID != d.MessageID { // it was given back, not settled
		t.Error(again, err)
	}

	_, err = s.Revoke(ctx, &wirepb.RevokeRequest{Subject: "user:bob", Rules: []string{"allow publish queue:q"}})
	m.must(err)
	wantCode(t, send("q"), om.CodeForbidden)
	contains(t, m.log.String(), "action denied", "rights changed")
}

// TestListsLeaveOut: who may browse a namespace is told of the queues in it that he
// may browse.
func TestListsLeaveOut(t *testing.T) {
	m := start(t, nil)
	m.withQueues("hidden", "seen")
	m.addUser(m.security(), "bob", userKey, "allow browse namespace:default", "allow browse queue:seen", "allow publish queue:hidden")
	r, ctx := m.open(as("bob", userKey)).Resources(), t.Context()
	if queues, err := r.Queues(ctx); err != nil || len(queues) != 1 || queues[0].Name != "default://seen" {
		t.Errorf("the queues are %v, %v", queues, err)
	}
	if stats, err := r.Stats(ctx); err != nil || len(stats) != 1 || stats[0].Queue != "default://seen" {
		t.Errorf("the statistics are %v, %v", stats, err)
	}
}

func TestWhoIsDisabledIsLoggedOut(t *testing.T) {
	m := start(t, nil)
	m.withQueues("q")
	s, ctx := m.security(), t.Context()
	m.addUser(s, "bob", userKey, "allow publish queue:q", "allow consume queue:q", "allow consume group:g")
	ap := m.open(as("bob", userKey))
	consumer, err := ap.NewPullConsumer(ctx, om.WithGroup("g"))
	m.must(err)
	m.must(consumer.Bind(ctx, "q"))
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := consumer.Receive(ctx); !om.Retryable(err) {
				ended <- err
				return
			}
		}
	}()
	disabled := true
	_, err = s.UpdateUser(ctx, &wirepb.UpdateUserRequest{Name: "bob", Disabled: &disabled})
	m.must(err)
	_, err = m.producer(ap).Send(ctx, om.NewMessage("q", nil)) // again, when the connection ends meanwhile
	wantCode(t, err, om.CodeUnauthorized)
	wantCode(t, <-ended, om.CodeUnauthorized) // it waited, and sent nothing itself
}

func TestOtherPasswords(t *testing.T) {
	m := start(t, nil)
	s, ctx := m.security(), t.Context()
	m.addUser(s, "bob", userKey)
	old := m.open(as("bob", userKey))
	for _, bad := range []*wirepb.SetPasswordRequest{
		{Name: "bob", Verifier: userKey},
		{Name: "bob", Verifier: "SCRAM-SHA-256$4096:sRWye1T6D5fmvSEMkH5yTA==$attsGiQMbkrjkf/PwTg78a7sYS1eTudMWsvTO3l8rpM=:0orH+DCF/tylyFWGoSf6zL86384KnHkkE7Yav3LoJ+A="},
		{Name: "nobody", Verifier: "SCRAM-SHA-256$32768:sRWye1T6D5fmvSEMkH5yTA==$attsGiQMbkrjkf/PwTg78a7sYS1eTudMWsvTO3l8rpM=:0orH+DCF/tylyFWGoSf6zL86384KnHkkE7Yav3LoJ+A="},
	} {
		_, err := s.SetPassword(ctx, bad)
		wantCode(t, orNil(err), om.CodeBadParameter)
		if strings.Contains(err.Error(), userKey) {
			t.Error(err)
		}
	}
	_, err := s.SetPassword(ctx, &wirepb.SetPasswordRequest{Name: "bob", Verifier: "SCRAM-SHA-256$32768:sRWye1T6D5fmvSEMkH5yTA==$attsGiQMbkrjkf/PwTg78a7sYS1eTudMWsvTO3l8rpM=:0orH+DCF/tylyFWGoSf6zL86384KnHkkE7Yav3LoJ+A="})
	m.must(err)
	if _, err := old.Resources().Namespaces(ctx); om.CodeOf(err) != om.CodeUnauthorized {
		t.Errorf("the old password is still good: %v", err)
	}
}

// orNil returns the error that a status stands for.
func orNil(err error) error {
	if c := code(err); c != 0 {
		return c
	}
	return nil
}

// publish sends a chunk by hand and returns what became of it.
func (m *machine) publish(s wirepb.MessagingServiceClient, session string, bodies int) om.Code {
	m.Helper()
	var b chunk.Builder
	b.Reset(1, uint64(time.Now().UnixNano()), "h", om.SpecVersion, time.Now())
	for range bodies {
		msg := om.NewMessage("", []byte("x"))
		msg.BornAt = time.Now()
		b.Add(msg)
	}
	stream, err := s.Publish(metadata.AppendToOutgoingContext(m.Context(), "authorization", "Session "+session))
	m.must(err)
	m.must(stream.Send(&wirepb.PublishRequest{Appends: []*wirepb.Append{{Queue: "q", Chunk: slices.Clone(b.Finish())}}}))
	r, err := stream.Recv()
	m.must(err)
	m.must(stream.CloseSend())
	return om.Code(r.GetResults()[0].GetError().GetCode())
}

func TestWhoIsOverHisQuotaComesAgain(t *testing.T) {
	m := start(t, nil)
	m.withQueues("q")
	s, ctx := m.security(), t.Context()
	cc := m.raw()
	_, session := exchange(m, cc)
	raw := wirepb.NewMessagingServiceClient(cc)
	quota := func(q *wirepb.Quota) {
		_, err := s.UpdateUser(ctx, &wirepb.UpdateUserRequest{Name: "root", Quota: q})
		m.must(err)
	}
	quota(&wirepb.Quota{MessagesPerSecond: 10})
	if c := m.publish(raw, session, 1000); c != 0 { // a batch is never too big
		t.Fatal(c)
	}
	if c := m.publish(raw, session, 1); c != om.CodeServiceUnavailable || !c.Retryable() {
		t.Fatal(c)
	}
	_, before := m.get("/metrics")
	contains(t, before, "oms_errors_total{code=\"1503\"} 1\n")
	p := m.producer(m.open(as("root", rootKey)))
	sent := make(chan error, 1)
	go func() {
		_, err := p.Send(ctx, om.NewMessage("q", []byte("patient")))
		sent <- err
	}()
	m.until("the producer is refused, too", func() bool {
		_, body := m.get("/metrics")
		return strings.Contains(body, "oms_errors_total{code=\"1503\"} ") && !strings.Contains(body, "oms_errors_total{code=\"1503\"} 1\n")
	})
	quota(&wirepb.Quota{MessagesPerSecond: 1_000_000})
	m.must(<-sent)

	quota(&wirepb.Quota{InFlight: 10})
	consumer, err := m.open(as("root", rootKey)).NewPullConsumer(ctx, om.WithGroup("g"))
	m.must(err)
	m.must(consumer.Bind(ctx, "q"))
	var have []*om.Delivery
	for range 10 {
		d, err := consumer.Receive(ctx)
		m.must(err)
		have = append(have, d)
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if d, err := consumer.Receive(short); err == nil {
		t.Errorf("an eleventh: %v", d)
	}
	m.must(consumer.Ack(ctx, have...))
	if _, err := consumer.Receive(ctx); err != nil {
		t.Error(err)
	}

	quota(&wirepb.Quota{Connections: 1})
	_, err = m.dial(as("root", rootKey))
	wantCode(t, err, om.CodeServiceUnavailable)
}

// TestChangesAreLogged changes resources and users, and reads who did.
func TestChangesAreLogged(t *testing.T) {
	m := start(t, nil)
	ap, ctx := m.open(as("root", rootKey)), t.Context()
	r := ap.Resources()
	m.must(r.CreateNamespace(ctx, "shop"))
	m.withQueues("q", "target")
	m.must(r.CreateRoute(ctx, om.RouteConfig{Name: "copy", Source: "q", Target: "target"}))
	m.must(r.SetFilter(ctx, "q", om.SQL("a = 1")))
	m.must(r.DeleteRoute(ctx, "copy"))
	m.must(r.DeleteQueue(ctx, "target"))
	if err := r.DeleteQueue(ctx, "nothing"); err == nil {
		t.Error("it was not there")
	}
	if _, err := r.Queues(ctx); err != nil { // changes nothing
		t.Error(err)
	}
	m.addUser(m.security(), "bob", userKey, "allow publish queue:q")
	log := m.log.String()
	for _, part := range []string{
		"call=CreateNamespace resource=namespace:shop account=root", "call=CreateQueue resource=queue:default://q account=root",
		"call=CreateRoute resource=route:copy account=root", "call=SetFilter resource=queue:default://q account=root",
		"call=DeleteRoute resource=route:copy account=root", "call=DeleteQueue resource=queue:default://target account=root",
	} {
		if n := strings.Count(log, part); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", part, n, log)
		}
	}
	if n := strings.Count(log, "resource changed"); n != 7 {
		t.Errorf("%d changes of resources are logged", n)
	}
	contains(t, log, "rights changed")
}
