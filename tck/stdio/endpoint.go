package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// endpoint is what sender and receiver share: a handle that is closed once.
type endpoint struct {
	conn    *conn
	handle  uint64
	queue   string // of a receiver
	closing atomic.Bool
	gone    atomic.Bool // the child has closed it
}

func (e *endpoint) call(ctx context.Context, op, resource string, r *request) (*answer, error) {
	if e.closing.Load() {
		return nil, om.NewError(om.CodeClosed, op, resource, "it was closed before")
	}
	r.Handle = e.handle
	return e.conn.call(ctx, op, resource, r)
}

// Close may be called again after a failure.
func (e *endpoint) Close(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.closing.Store(true)
	if e.gone.Load() {
		return nil
	}
	_, err := e.conn.call(ctx, "close", e.queue, &request{Op: "close", Handle: e.handle})
	if om.CodeOf(err) == om.CodeClosed {
		err = nil // with its connection
	}
	if err == nil {
		e.gone.Store(true)
	}
	return err
}

// sender implements spi.Sender and spi.Transactor.
type sender struct {
	endpoint
	release func() // ends the questions to the checker; nil without one
}

func (s *sender) Close(ctx context.Context) error {
	err := s.endpoint.Close(ctx)
	if s.closing.Load() && s.release != nil {
		s.release()
	}
	return err
}

// Send implements spi.Sender. Messages that the protocol cannot carry fail by
// themselves; the others go in one request.
func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	const op = "send"
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	outs := make([]spi.Outcome, len(ms))
	r := &request{Op: "send"}
	var places []int
	for i, m := range ms {
		b, err := encode(op, m)
		if err != nil {
			outs[i] = spi.Outcome{SendResult: om.SendResult{Partition: -1, Offset: -1}, Err: err}
			continue
		}
		r.Messages, places = append(r.Messages, b), append(places, i)
	}
	if len(places) == 0 {
		return outs, nil
	}
	queue := ms[places[0]].Destination
	a, err := s.call(ctx, op, queue, r)
	if err != nil {
		return nil, err
	}
	if len(a.Outcomes) != len(places) {
		return nil, s.conn.broken(op, queue, fmt.Errorf("it has %d outcomes for %d messages", len(a.Outcomes), len(places)))
	}
	for k, i := range places {
		o := a.Outcomes[k]
		outs[i] = spi.Outcome{SendResult: o.value(), Err: o.Error.err(op, ms[i].Destination)}
	}
	return outs, nil
}

// Prepare implements spi.Transactor.
func (s *sender) Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (spi.Outcome, string, error) {
	const op = "prepare"
	b, err := encode(op, m)
	if err != nil {
		return spi.Outcome{}, "", err
	}
	a, err := s.call(ctx, op, m.Destination, &request{Op: "prepare", Message: b, Check: newTransactionCheck(check)})
	if err != nil {
		return spi.Outcome{}, "", err
	}
	if a.Outcome == nil {
		return spi.Outcome{}, "", s.conn.broken(op, m.Destination, errors.New("it has no outcome"))
	}
	return spi.Outcome{SendResult: a.Outcome.value(), Err: a.Outcome.Error.err(op, m.Destination)}, a.Tx, nil
}

// Commit implements spi.Transactor.
func (s *sender) Commit(ctx context.Context, tx string) error {
	_, err := s.call(ctx, "commit", "", &request{Op: "commit", Tx: tx})
	return err
}

// Rollback implements spi.Transactor.
func (s *sender) Rollback(ctx context.Context, tx string) error {
	_, err := s.call(ctx, "rollback", "", &request{Op: "rollback", Tx: tx})
	return err
}

// receiver implements spi.Receiver, spi.Nacker, spi.Leaser and spi.DeadLetterer.
type receiver struct{ endpoint }

func (r *receiver) Receive(ctx context.Context, max int) ([]spi.Received, error) {
	const op = "receive"
	a, err := r.call(ctx, op, r.queue, &request{Op: "receive", Max: max})
	if err != nil {
		return nil, err
	}
	got, err := received(a.Deliveries, true)
	if err != nil {
		return nil, r.conn.broken(op, r.queue, err)
	}
	return got, nil
}

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	return r.settle(ctx, "ack", receipts, &request{Op: "ack"})
}

func (r *receiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	return r.settle(ctx, "nack", receipts, &request{Op: "nack", DelayMS: lasting(delay)})
}

func (r *receiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	return r.settle(ctx, "extend", receipts, &request{Op: "extend", LeaseMS: lasting(lease)})
}

func (r *receiver) Reject(ctx context.Context, receipts []spi.Receipt, reason string) ([]error, error) {
	return r.settle(ctx, "reject", receipts, &request{Op: "reject", Reason: reason})
}

func (r *receiver) settle(ctx context.Context, op string, receipts []spi.Receipt, q *request) ([]error, error) {
	for i, rc := range receipts {
		raw, ok := rc.(json.RawMessage)
		if !ok {
			return nil, om.NewError(om.CodeBadParameter, op, r.queue, "receipt %d is a %T and none of this driver", i, rc)
		}
		q.Receipts = append(q.Receipts, raw)
	}
	a, err := r.call(ctx, op, r.queue, q)
	if err != nil {
		return nil, err
	}
	if len(a.Errors) == 0 {
		return nil, nil
	}
	if len(a.Errors) != len(receipts) {
		return nil, r.conn.broken(op, r.queue, fmt.Errorf("it has %d errors for %d receipts", len(a.Errors), len(receipts)))
	}
	errs, failed := make([]error, len(receipts)), false
	for i, f := range a.Errors {
		errs[i] = f.err(op, r.queue)
		failed = failed || f != nil
	}
	if !failed {
		return nil, nil
	}
	return errs, nil
}
