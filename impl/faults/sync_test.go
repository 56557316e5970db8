package faults_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestSyncFails fails one step of one commit. The broker must acknowledge
// nothing from then on, tell to start the process again, go on reading, and
// have everything that was acknowledged after it was opened again.
func TestSyncFails(t *testing.T) {
	for _, step := range []string{"commit", "mark", "rotate"} {
		for _, victim := range []string{"send", "ack"} {
			t.Run(step+" of "+victim, func(t *testing.T) { failStep(t, step, victim) })
		}
	}
}

// So many messages fill a bucket: the next commit begins another one.
const (
	messageSize      = 64 << 10
	messagesOfBucket = 128
)

var errInjected = errors.New("injected input/output error")

func failStep(t *testing.T, step, victim string) {
	ctx, dir := t.Context(), t.TempDir()
	var armed atomic.Bool
	b, err := broker.Open(broker.Config{Logger: quiet, Store: store.Options{
		Path: dir, Reserve: 1 << 20, RetainBytes: store.MinRetainBytes,
		Fault: func(at string) error {
			if at == step && armed.CompareAndSwap(true, false) {
				return errInjected
			}
			return nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	r, err := b.NewReceiver(ctx, broker.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	sendOne := func() error {
		err := publish(ctx, b, tag{producer: 1, number: uint64(sent)}, messageSize)
		if err == nil {
			sent++
		}
		return err
	}
	settled, leaseOf := int64(0), make(map[int64]uint64) // offset → lease
	settle := func(at int64) error {
		_, err := r.Ack(ctx, []broker.Receipts{{Partition: 0, Lease: leaseOf[at], From: at, To: at + 1}})
		return err
	}
	for range 60 {
		if err := sendOne(); err != nil {
			t.Fatal(err)
		}
	}
	for len(leaseOf) < sent {
		spans, err := r.Receive(ctx, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spans {
			for i := range s.Count {
				leaseOf[s.Base+int64(i)] = s.Lease
			}
		}
	}
	for ; settled < 10; settled++ {
		if err := settle(settled); err != nil {
			t.Fatal(err)
		}
	}
	for step == "rotate" && sent < messagesOfBucket {
		if err := sendOne(); err != nil {
			t.Fatal(err)
		}
	}
	armed.Store(true)
	if victim == "send" {
		err = sendOne()
	} else {
		err = settle(settled)
	}
	latched := func(what string, err error) {
		t.Helper()
		if om.CodeOf(err) != om.CodeStorageError || om.Retryable(err) {
			t.Errorf("%s: %v", what, err)
		} else if !errors.Is(err, errInjected) || !strings.Contains(err.Error(), "start the process again") {
			t.Errorf("%s does not tell why and what to do: %v", what, err)
		}
	}
	latched("the failed one", err)
	latched("a send after it", sendOne())
	latched("an ack after it", settle(settled+1))
	latched("the failed ack once more", settle(settled))
	latched("ping", b.Ping(ctx))
	latched("Err", b.Err())
	if err := readAll(ctx, b, sent); err != nil {
		t.Errorf("reading after the failure: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	b, err = broker.Open(broker.Config{Logger: quiet, Store: store.Options{Path: dir, Reserve: 1 << 20, RetainBytes: store.MinRetainBytes}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := readAll(ctx, b, sent); err != nil {
		t.Errorf("reading after opening again: %v", err)
	}
	q, err := b.Queue("test", "q")
	if err != nil {
		t.Fatal(err)
	}
	// The ack that failed may have been stored, no other.
	if p := q.Groups()[0].Partitions[0]; p.Cursor != settled && (p.Cursor != settled+1 || victim != "ack") {
		t.Errorf("the group is at %d and has acknowledged %d", p.Cursor, settled)
	}
	if err := publish(ctx, b, tag{producer: 1, number: uint64(sent)}, 100); err != nil {
		t.Errorf("send after opening again: %v", err)
	}
}

// publish sends a message to partition 0 of queue q.
func publish(ctx context.Context, b *broker.Broker, t tag, size int) error {
	q, err := b.Queue("send", "q")
	if err != nil {
		return err
	}
	body := make([]byte, size)
	copy(body, t.body()[:tagSize])
	m := message("q", 0, body)
	var c chunk.Builder
	c.Reset(1, t.number, m.BornHost, m.Version, m.BornAt)
	c.Add(m)
	appends := []broker.Append{{Queue: q, Chunk: c.Finish()}}
	return errors.Join(b.Publish(ctx, appends), appends[0].Err)
}

// readAll reads the first messages of partition 0 of queue q.
func readAll(ctx context.Context, b *broker.Broker, count int) error {
	q, err := b.Queue("read", "q")
	if err != nil {
		return err
	}
	for next := int64(0); next < int64(count); {
		spans, err := q.Read(ctx, 0, next, 100)
		if err != nil || len(spans) == 0 {
			return fmt.Errorf("offset %d: %d spans, %w", next, len(spans), err)
		}
		for _, s := range spans {
			h, err := chunk.Parse(s.Chunk)
			ms := make([]om.Message, s.Count)
			if err == nil {
				_, err = chunk.Decode(s.Chunk, h, s.Skip, ms)
			}
			if err != nil {
				return err
			}
			for _, m := range ms {
				if want := (tag{producer: 1, number: uint64(next)}).body()[:tagSize]; string(m.Body[:tagSize]) != string(want) {
					return fmt.Errorf("offset %d holds another message", next)
				}
				next++
			}
		}
	}
	return nil
}

// TestSecondAckIsDurable acknowledges a message twice at once: when either call
// has returned without an error, the acknowledgement must be durable.
func TestSecondAckIsDurable(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	block, blocked := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	b, err := broker.Open(broker.Config{Logger: quiet, Store: store.Options{
		Path: dir, Reserve: 1 << 20,
		Fault: func(step string) error {
			if step == "commit" && armed.CompareAndSwap(true, false) {
				close(blocked)
				<-block
				return errInjected
			}
			return nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	r, err := b.NewReceiver(ctx, broker.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
	if err == nil {
		err = publish(ctx, b, tag{}, tagSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	spans, err := r.Receive(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	receipt := []broker.Receipts{{Lease: spans[0].Lease, From: 0, To: 1}}
	results := make(chan error, 2)
	ack := func() {
		errs, err := r.Ack(ctx, receipt)
		results <- errors.Join(append(errs, err)...)
	}
	armed.Store(true)
	go ack()
	<-blocked
	go ack()
	// The second one may only answer when the commit has ended.
	select {
	case err := <-results:
		t.Errorf("an acknowledgement was answered before the commit: %v", err)
		close(block)
		<-results
		return
	case <-time.After(50 * time.Millisecond):
	}
	close(block)
	for range 2 {
		if err := <-results; om.CodeOf(err) != om.CodeStorageError {
			t.Errorf("an acknowledgement that is not durable: %v", err)
		}
	}
}
