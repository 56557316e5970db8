package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// delayRun compares a broker with a map of messages and their due times.
type delayRun struct {
	choices  []int
	b        *Broker
	cfg      Config
	q        *Queue
	sequence uint64
	due      map[string]int64 // by id; of those that are not due yet
	expect   map[string]bool  // ids that are due
	gone     []string         // ids that cannot be cancelled any more
	read     []int64          // by partition
	got      map[string]bool
	last     []Append         // idempotent ones, for sending again
	dues     map[string]int64 // of all, by id
	opened   int64            // when the broker was opened last
}

// failure is what a run panics with.
type failure string

func (r *delayRun) failf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (r *delayRun) ok(err error) {
	if err != nil {
		r.failf("%v", err)
	}
}

// pick chooses one of n.
func (r *delayRun) pick(n int) int {
	if len(r.choices) == 0 {
		return 0
	}
	c := r.choices[0]
	r.choices = r.choices[1:]
	return c % n
}

// TestDelayAgreesWithModel publishes, cancels, lets time pass, restarts, and has
// retention drop buckets: each message is in its partition from its due time on,
// once, and not before (R034).
func TestDelayAgreesWithModel(t *testing.T) {
	histories(t, store.Options{RetainBytes: store.MinRetainBytes}, lengths{10, 300}, lengths{10, 60}, runDelays)
}

func runDelays(r *delayRun) {
	r.due, r.dues, r.expect, r.got, r.read = map[string]int64{}, map[string]int64{}, map[string]bool{}, map[string]bool{}, make([]int64, 2)
	r.open()
	for len(r.choices) > 0 {
		r.step()
		r.compare()
	}
}

func (r *delayRun) open() {
	b, err := Open(r.cfg)
	r.ok(err)
	r.b, r.opened = b, time.Now().UnixMilli()
	if err := b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: 2}); !errors.Is(err, om.CodeDestinationExists) {
		r.ok(err)
	}
	r.q, err = b.Queue("test", "q")
	r.ok(err)
}

func (r *delayRun) step() {
	switch op := r.pick(22); {
	case op < 8:
		r.publish()
	case op < 11:
		r.cancel()
	case op < 17:
		r.advance()
	case op < 18:
		r.again()
	case op < 19:
		r.fill()
	case !r.cfg.Store.Memory:
		r.ok(r.b.Close())
		if r.pick(2) == 0 {
			r.advance()
		}
		r.open()
	}
}

var someDelays = []time.Duration{
	0, time.Millisecond, 7 * time.Millisecond, 999 * time.Millisecond, time.Second, 1001 * time.Millisecond, 30 * time.Second, time.Minute,
	61 * time.Second, 119 * time.Second, 2 * time.Minute, 30 * time.Minute, time.Hour, 90 * time.Minute, 2*time.Hour - time.Millisecond, 3 * time.Hour, 30 * 24 * time.Hour, MaxDelay,
}

func (r *delayRun) publish() {
	partition := int32(r.pick(2))
	delays := make([]time.Duration, 1+r.pick(5))
	for i := range delays {
		if i == 0 || r.pick(2) == 0 {
			delays[i] = someDelays[r.pick(len(someDelays))]
		} else {
			delays[i] = delays[i-1]
		}
	}
	var c chunk.Builder
	born := time.Now()
	c.Reset(7, r.sequence, "born", om.SpecVersion, born)
	now := born.UnixMilli()
	for i, d := range delays {
		m := om.NewMessage("q", nil)
		m.BornAt, m.Ext.Delay = born, d
		c.Add(m)
		id := string(chunk.AppendID(nil, 7, r.sequence+uint64(i)))
		if d == 0 {
			r.expect[id] = true
			r.gone = append(r.gone, id)
		} else {
			r.due[id] = now + d.Milliseconds()
			r.dues[id] = r.due[id]
		}
	}
	r.sequence += uint64(len(delays))
	r.last = []Append{{Queue: r.q, Partition: partition, Chunk: slices.Clone(c.Finish()), Idempotent: true}}
	r.send(r.last)
}

func (r *delayRun) send(a []Append) {
	r.ok(r.b.Publish(context.Background(), a))
	r.ok(a[0].Err)
}

// again sends the last chunk again: after a restart a chunk that has messages
// without delay is known by their offsets.
func (r *delayRun) again() {
	if len(r.last) > 0 {
		r.last[0].Queue = r.q
		r.send(r.last)
	}
}

func (r *delayRun) cancel() {
	ids := slices.Concat(slices.Sorted(maps.Keys(r.due)), r.gone, []string{"no id", "0000000000000007-ffff"})
	id := ids[r.pick(len(ids))]
	err := r.b.CancelDelayed(context.Background(), "q", id)
	if _, ok := r.due[id]; !ok {
		if !errors.Is(err, om.CodeMessageNotFound) {
			r.failf("cancelling %s, which is not there: %v", id, err)
		}
		return
	}
	if errors.Is(err, om.CodeMessageNotFound) && r.due[id]-time.Now().UnixMilli() <= leadMost {
		return // it was committed ahead
	}
	r.ok(err)
	delete(r.due, id)
	r.gone = append(r.gone, id)
}

func (r *delayRun) advance() {
	steps := []time.Duration{time.Millisecond, 500 * time.Millisecond, time.Second, time.Minute, time.Hour, 10 * 24 * time.Hour}
	if len(r.due) > 0 {
		first := time.Until(time.UnixMilli(slices.Min(slices.Collect(maps.Values(r.due)))))
		steps = append(steps, first, first, max(0, first-time.Millisecond))
	}
	time.Sleep(steps[r.pick(len(steps))])
}

// fill stores so much that retention drops buckets: it takes no time here, so
// that what was committed ahead has to be seen before.
func (r *delayRun) fill() {
	for len(r.due) > 0 {
		first := time.Until(time.UnixMilli(slices.Min(slices.Collect(maps.Values(r.due)))))
		if first > leadMost*time.Millisecond {
			break
		}
		time.Sleep(first)
		r.compare()
	}
	var c chunk.Builder
	c.Reset(8, 0, "born", om.SpecVersion, time.Now())
	m := om.NewMessage("q", make([]byte, 12<<20))
	m.BornAt = time.Now()
	c.Add(m)
	if err := r.b.CreateQueue(context.Background(), om.QueueConfig{Name: "other"}); !errors.Is(err, om.CodeDestinationExists) {
		r.ok(err)
	}
	q, err := r.b.Queue("test", "other")
	r.ok(err)
	for range 8 {
		r.send([]Append{{Queue: q, Chunk: c.Finish()}})
	}
}

// ids returns what lies in a stretch of a partition.
func (r *delayRun) ids(partition int, from, to int64) (ids []string) {
	var reader recordReader
	for from < to {
		s, err := reader.span(r.b.store, r.q.list()[partition].log, from, to)
		r.ok(err)
		for n := range s.Count {
			ids = append(ids, string(chunk.AppendID(nil, s.Header.Producer, s.Header.Sequence+uint64(s.Skip+n))))
		}
		from += int64(s.Count)
	}
	return ids
}

func (r *delayRun) compare() {
	synctest.Wait()
	now := time.Now().UnixMilli()
	for id, due := range r.due {
		if due <= now {
			r.expect[id] = true
			delete(r.due, id)
			r.gone = append(r.gone, id)
		}
	}
	unseen := 0
	for i, info := range r.q.PartitionInfos() {
		r.read[i] = max(r.read[i], info.Begin)
		overdue := int64(0)
		for _, id := range r.ids(i, r.read[i], info.End) {
			if due := r.dues[id]; due > 0 && due <= r.opened {
				if due < overdue {
					r.failf("%s, overdue since %d, comes behind what was since %d", id, due, overdue)
				}
				overdue = due
			}
			if !r.expect[id] || r.got[id] {
				r.failf("%s is in the queue; due %v, there before: %v", id, r.due[id], r.got[id])
			}
			r.got[id] = true
		}
		r.read[i] = info.End
		// What was committed ahead holds up what lies behind it, for a moment.
		for n, id := range r.ids(i, info.End, r.q.list()[i].stored) {
			if due := r.due[id]; n == 0 && (due == 0 || due > now+leadMost) {
				r.failf("%s is in the queue, is due %v and is not seen", id, due)
			}
			if r.expect[id] {
				unseen++
			}
		}
	}
	if len(r.got)+unseen != len(r.expect) {
		r.failf("%d messages came, %d are due", len(r.got), len(r.expect))
	}
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	soon := 0
	for _, due := range r.due {
		if due-now <= leadMost {
			soon++
		}
	}
	if left := int64(len(r.due)); r.q.delayed > left || r.q.delayed < left-int64(soon) {
		r.failf("%d messages are counted as delayed, %d are, %d of them for a few ms", r.q.delayed, left, soon)
	}
}
