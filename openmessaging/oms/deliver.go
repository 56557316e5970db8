package oms

import (
	"cmp"
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// progress is told which messages will be tried again, ascending, before each
// retry, and answers which of them are still wanted.
type progress func(outs []spi.Outcome, again []int) []int

// deliver calls the driver, and again for what fails retryably, until every
// message has its final outcome. whole is the failure of the last call as a
// whole; the outcomes tell it too.
func (r *sendRun) deliver(ctx context.Context, ms []*om.Message, report progress) (outs []spi.Outcome, whole error) {
	outs, whole = r.try(ctx, ms)
	pace := backoff{policy: r.cfg.Retry}
	again := retryable(nil, ms, outs, whole != nil)
	for len(again) > 0 && !pace.exhausted() {
		if report != nil {
			if again = report(outs, again); len(again) == 0 {
				break
			}
		}
		if !pace.pause(ctx) {
			for _, i := range again {
				outs[i].Err = cutShort(ctx, outs[i].Err, ms[i].Destination)
			}
			break
		}
		part := make([]*om.Message, len(again))
		for k, i := range again {
			part[k] = repeat(ms[i], outs[i].MessageID)
		}
		var retried []spi.Outcome
		retried, whole = r.try(ctx, part)
		for k, i := range again {
			retried[k].MessageID = cmp.Or(retried[k].MessageID, outs[i].MessageID)
			outs[i] = retried[k]
		}
		again = retryable(again, ms, outs, whole != nil)
	}
	return outs, whole
}

// repeat returns m as it is sent again: with the id that the driver gave it.
func repeat(m *om.Message, id string) *om.Message {
	if id == "" {
		return m
	}
	again := *m
	again.MessageID = id
	return &again
}

// try calls the driver once. There is always one outcome for each message.
func (r *sendRun) try(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	outs, err := r.sender.Send(ctx, ms)
	if err == nil && len(outs) != len(ms) {
		err = om.NewError(om.CodeServerError, "send", "", "the driver returned %d outcomes for %d messages", len(outs), len(ms))
	}
	if err == nil {
		for i := range outs {
			if outs[i].Err != nil {
				outs[i].Err = r.errs.wrap(outs[i].Err, "send", ms[i].Destination)
			}
		}
		return outs, nil
	}
	outs = make([]spi.Outcome, len(ms))
	for i, m := range ms {
		if i > 0 && m.Destination == ms[i-1].Destination {
			outs[i].Err = outs[i-1].Err
			continue
		}
		outs[i].Err = r.failure(ctx, err, m.Destination)
	}
	return outs, err
}

// failure is the error of a call that failed as a whole: that of the end of
// its context or of the producer, where these explain it.
func (r *sendRun) failure(ctx context.Context, err error, queue string) error {
	for _, c := range [...]context.Context{ctx, r.ctx} {
		if e := ended(c, "send", queue); e != nil {
			return e
		}
	}
	return r.errs.wrap(err, "send", queue)
}

// retryable returns which of the messages, of all when among is nil, may be
// sent again. One that may be stored already and must not be twice is sent again
// only where the driver knows it again by its id.
func retryable(among []int, ms []*om.Message, outs []spi.Outcome, whole bool) []int {
	var again []int
	check := func(i int) {
		err := outs[i].Err
		if err == nil || !om.Retryable(err) {
			return
		}
		open := whole || errors.Is(err, om.ErrTimeout) // it may be stored
		if open && (ms[i].QoS == om.AtMostOnce || ms[i].QoS == om.ExactlyOnce && outs[i].MessageID == "") {
			return
		}
		again = append(again, i)
	}
	if among == nil {
		for i := range outs {
			check(i)
		}
		return again
	}
	for _, i := range among {
		check(i)
	}
	return again
}

// cutShort is the error of a message whose time ended between two tries.
func cutShort(ctx context.Context, last error, queue string) error {
	end := ended(ctx, "send", queue)
	return om.NewError(om.CodeOf(end), "send", queue, "%w; the last try failed: %w", end, last)
}
