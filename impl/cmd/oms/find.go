package main

import (
	"context"
	"iter"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/scan"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// find iterates over what the system finds, page after page.
func (ap *connection) find(ctx context.Context, queue string, q om.MessageQuery) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		for {
			page, err := ap.Resources().FindMessages(ctx, queue, q)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, d := range page.Messages {
				if !yield(d, nil) {
					return
				}
			}
			if q.After = page.Next; q.After == "" {
				return
			}
		}
	}
}

// findable returns what the system is asked for instead of reading a range; ok is
// false for one that only reading can tell.
func (ap *connection) findable(r scan.Range, id, key string) (q om.MessageQuery, ok bool) {
	q = om.MessageQuery{ID: id, Key: key, Max: 100}
	var atTime bool
	if q.From, atTime = r.From.Time(); !atTime && !r.From.IsBegin() {
		return q, false
	}
	if q.To, atTime = r.To.Time(); r.HasTo && !atTime && !r.To.IsEnd() {
		return q, false
	}
	ordered := q.From.IsZero() || q.To.IsZero() || q.From.Before(q.To)
	return q, ap.Capabilities().Has(om.CapFind) && r.Partition < 0 && ordered
}

// dueText is when a delayed message is due.
func dueText(m *om.Message) string { return timeText(m.BornAt.Add(m.Ext.Delay)) }

// ageText is an age for people, to the second.
func ageText(d time.Duration) string { return d.Truncate(time.Second).String() }
