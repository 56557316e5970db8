package tck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var errorCases = table{
	"R095": codeAndText,
	"G06":  errorsIsClass,
	"G07":  errorsUnsupportedStd,
	"G08":  timeoutMatchesBoth,
	"G09":  retryableFlag,
}

// failures returns errors that every driver can be brought to, by what was
// done; resource is what each must name.
func (t *trial) failures() map[string]struct {
	err      error
	resource string
} {
	missing := t.Missing()
	_, send := t.Producer().Send(t.ctx, message(missing, "a"))
	return map[string]struct {
		err      error
		resource string
	}{
		"send to a queue that does not exist": {send, missing},
		"bind to a queue that does not exist": {t.Pull(nil).Bind(t.ctx, missing), missing},
	}
}

func codeAndText(t *trial) {
	for what, f := range t.failures() {
		var e *om.Error
		if !errors.As(f.err, &e) {
			t.Errorf("%s: got %s, want an *openmessaging.Error", what, shown(f.err))
			continue
		}
		if e.Code == 0 {
			t.Errorf("%s: the error has no status code: %s", what, shown(f.err))
		}
		if e.Op == "" {
			t.Errorf("%s: the error does not say which operation failed: %s", what, shown(f.err))
		}
		_, short := om.SplitQueueName(f.resource, "")
		if !strings.Contains(e.Resource, short) || !strings.Contains(f.err.Error(), short) {
			t.Errorf("%s: the error does not name %q: %s (resource %q)", what, f.resource, shown(f.err), e.Resource)
		}
		if !strings.Contains(f.err.Error(), fmt.Sprint(int(e.Code))) {
			t.Errorf("%s: the text does not show status %d: %s", what, e.Code, shown(f.err))
		}
	}
}

func errorsIsClass(t *trial) {
	for what, f := range t.failures() {
		var e *om.Error
		if !errors.As(f.err, &e) {
			t.Errorf("%s: errors.As finds no *openmessaging.Error in %s", what, shown(f.err))
			continue
		}
		t.Is(f.err, what+", by class", om.ErrDestination)
		t.Is(f.err, what+", by code", om.CodeDestinationNotFound)
		equal(t, what+": code of the *Error", e.Code, om.CodeDestinationNotFound)
		if is(f.err, om.ErrTimeout) || is(f.err, om.ErrUnsupported) {
			t.Errorf("%s: the error matches a class that it has not: %s", what, shown(f.err))
		}
	}
}

// errorsUnsupportedStd asks for what no driver declares if it can, else for
// what the contract itself refuses.
func errorsUnsupportedStd(t *trial) {
	q := t.Queue()
	tried := 0
	for capability, ask := range asking {
		if t.Has(capability) {
			continue
		}
		m := message(q, "a")
		ask(m)
		_, err := t.Producer().Send(t.ctx, m)
		t.Is(err, fmt.Sprintf("a message that asks for %s, which is not declared", capability), om.ErrUnsupported, errors.ErrUnsupported)
		err = t.sendRaw(m)
		t.Is(err, fmt.Sprintf("the driver's own answer to a message that asks for %s, which is not declared", capability), om.ErrUnsupported, errors.ErrUnsupported)
		tried++
	}
	if tried == 0 {
		m := message(q, "a")
		m.Compression = "no-such-compression"
		_, err := t.Producer().Send(t.ctx, m)
		t.Is(err, "a compression that nobody knows", om.ErrUnsupported, errors.ErrUnsupported)
	}
}

func timeoutMatchesBoth(t *trial) {
	c := t.Pull([]string{t.Queue()})
	ctx, cancel := t.within(t.Slack)
	defer cancel()
	_, err := c.Receive(ctx)
	t.Is(err, "a Receive that times out", om.ErrTimeout, om.CodeTimeout, context.DeadlineExceeded)
	if is(err, context.Canceled) {
		t.Errorf("a Receive that times out also matches context.Canceled: %s", shown(err))
	}
}

func retryableFlag(t *trial) {
	for what, f := range t.failures() {
		if om.Retryable(f.err) {
			t.Errorf("%s: the error says that it is retryable, the same call cannot succeed: %s", what, shown(f.err))
		}
	}
	c := t.Pull([]string{t.Queue()})
	ctx, cancel := t.within(t.Slack)
	defer cancel()
	_, err := c.Receive(ctx)
	if !om.Retryable(err) {
		t.Errorf("a Receive that timed out says that it is not retryable: %s", shown(err))
	}
}

var contextCases = table{
	"G03": contextCancelledFirst,
	"G04": contextUnblocks,
	"G05": contextNotKept,
}

func contextCancelledFirst(t *trial) {
	q := t.Queue()
	ap, p, c := t.AP(), t.Producer(), t.Pull([]string{q})
	raw, err := t.openRaw().NewSender(t.ctx, senderConfig)
	t.NoError(err, "new sender of the driver")
	t.Cleanup(func(ctx context.Context) { _ = raw.Close(ctx) })
	cancelled, cancel := context.WithCancel(t.ctx)
	cancel()
	late, stop := context.WithDeadline(t.ctx, time.Now().Add(-time.Second))
	defer stop()
	for _, x := range []struct {
		ctx  context.Context
		want error
	}{{cancelled, context.Canceled}, {late, context.DeadlineExceeded}} {
		for what, f := range map[string]func() error{
			"Send":               func() error { _, err := p.Send(x.ctx, message(q, "a")); return err },
			"SendBatch":          func() error { _, err := p.SendBatch(x.ctx, messages(q, "a")); return err },
			"SendAsync":          func() error { _, err := p.SendAsync(x.ctx, message(q, "a")).Wait(t.ctx); return err },
			"SendOneway":         func() error { return p.SendOneway(x.ctx, message(q, "a")) },
			"Receive":            func() error { _, err := c.Receive(x.ctx); return err },
			"NewProducer":        func() error { _, err := ap.NewProducer(x.ctx); return err },
			"Send of the driver": func() error { return sendWith(x.ctx, raw, stamped(message(q, "a"))) },
		} {
			var err error
			if t.Ends(what+" with a context that has ended", t.Arrive, func() { err = f() }) {
				t.Is(err, what+" with a context that has ended", x.want)
			}
		}
	}
	t.Nothing(c, "what is sent with a context that has ended must not be stored")
}

func contextUnblocks(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	conn := t.openRaw()
	raw, err := conn.NewReceiver(t.ctx, receiverConfig(q, t.Lease))
	t.NoError(err, "new receiver of the driver")
	t.Cleanup(func(ctx context.Context) { _ = raw.Close(ctx) })
	t.Send(p, message(q, "warm"))
	t.Ack(c, t.Receive(c))
	warm, err := raw.Receive(t.ctx, 1)
	t.NoError(err, "receive by the driver")
	_, err = raw.Ack(t.ctx, receipts(warm))
	t.NoError(err, "acknowledge by the driver")
	open, _ := t.Stall()
	defer open()
	for what, f := range map[string]func(ctx context.Context) error{
		"Receive":               func(ctx context.Context) error { _, err := c.Receive(ctx); return err },
		"ReceiveBatch":          func(ctx context.Context) error { _, err := c.ReceiveBatch(ctx, 10); return err },
		"Send":                  func(ctx context.Context) error { _, err := p.Send(ctx, message(q, "a")); return err },
		"SendBatch":             func(ctx context.Context) error { _, err := p.SendBatch(ctx, messages(q, "a")); return err },
		"Receive of the driver": func(ctx context.Context) error { _, err := raw.Receive(ctx, 1); return err },
	} {
		ctx, cancel := context.WithCancel(t.ctx)
		timer := time.AfterFunc(t.Slack, cancel)
		began := time.Now()
		var err error
		if t.Ends(what+" whose context ended", t.Arrive, func() { err = f(ctx) }) {
			t.Is(err, what+" whose context ended", context.Canceled)
			if d := time.Since(began); d > t.Slack+t.Arrive/2 {
				t.Errorf("%s returned %v after its context ended", what, d-t.Slack)
			}
		}
		timer.Stop()
		cancel()
	}
}

func contextNotKept(t *trial) {
	q := t.Queue()
	ctx, cancel := context.WithCancel(t.ctx)
	ap, err := t.target.Library.Open(ctx, t.target.URL, t.options(t.target.Driver)...)
	t.NoError(err, "open")
	t.Cleanup(func(ctx context.Context) { _ = ap.Close(ctx) })
	p, err := ap.NewProducer(ctx)
	t.NoError(err, "new producer")
	pull, err := ap.NewPullConsumer(ctx, om.WithGroup("pull"))
	t.NoError(err, "new pull consumer")
	t.NoError(pull.Bind(ctx, q), "bind")
	push, err := ap.NewPushConsumer(ctx, om.WithGroup("push"))
	t.NoError(err, "new push consumer")
	seen := newLog()
	t.NoError(push.Bind(ctx, collect(seen), q), "bind")
	cancel()
	t.pause(t.Slack)
	t.Send(p, message(q, "after"))
	equal(t, "body after the context of Open, New… and Bind has ended", string(t.Receive(pull).Body), "after")
	t.await(seen, 1, "messages to the handler after the context of Bind has ended")
}
