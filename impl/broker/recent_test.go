package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/compression"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// publisher sends chunks as another process does.
type publisher struct {
	t *testing.T
	b *Broker
	q *Queue
}

func newPublisher(t *testing.T, b *Broker, partitions int) *publisher {
	t.Helper()
	if err := b.CreateQueue(t.Context(), om.QueueConfig{Name: "q", Partitions: partitions}); err != nil && !errors.Is(err, om.CodeDestinationExists) {
		t.Fatal(err)
	}
	q, err := b.Queue("test", "q")
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{t, b, q}
}

func numberedChunk(producer, sequence uint64, messages int) []byte {
	var b chunk.Builder
	b.Reset(producer, sequence, "h", om.SpecVersion, time.Now())
	for range messages {
		m := om.NewMessage("", []byte("body"))
		m.BornAt = time.Now()
		b.Add(m)
	}
	return bytes.Clone(b.Finish())
}

// send sends a chunk and returns its base.
func (p *publisher) send(partition int32, data []byte) (Append, error) {
	p.t.Helper()
	a := []Append{{Queue: p.q, Partition: partition, Chunk: data, Foreign: true, Idempotent: true}}
	if err := p.b.Publish(p.t.Context(), a); err != nil {
		p.t.Fatal(err)
	}
	return a[0], a[0].Err
}

func (p *publisher) must(partition int32, data []byte, base int64) {
	p.t.Helper()
	if a, err := p.send(partition, data); err != nil || a.Base != base {
		p.t.Errorf("base %d, want %d; %v", a.Base, base, err)
	}
}

func (p *publisher) end(want int64) {
	p.t.Helper()
	if got := ends(p.q); got != want {
		p.t.Errorf("%d messages are stored, want %d", got, want)
	}
}

func TestChunkSentAgainIsStoredOnce(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	p := newPublisher(t, b, 2)
	first, second := numberedChunk(7, 0, 3), numberedChunk(7, 3, 2)
	p.must(0, first, 0)
	p.must(0, first, 0)
	p.must(0, second, 3)
	p.must(0, first, 0)
	p.must(0, second, 3)
	p.end(5)
	p.must(1, first, 0) // another partition knows nothing of it
	p.must(0, numberedChunk(8, 0, 3), 5)
	p.end(11)

	a := []Append{{Queue: p.q, Chunk: first}}
	if err := b.Publish(t.Context(), a); err != nil || a[0].Err != nil || a[0].Base != 8 {
		t.Errorf("one that is not idempotent is stored each time: %+v %v", a[0], err)
	}
	for _, data := range [][]byte{numberedChunk(7, 0, 2), numberedChunk(7, 2, 3), numberedChunk(7, 1, 1)} {
		if _, err := p.send(0, data); !errors.Is(err, om.CodeBadRequest) {
			t.Errorf("messages that were sent in another chunk: %v", err)
		}
	}
	p.end(14)
}

func TestBothAtOnceAreStoredOnce(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	p := newPublisher(t, b, 1)
	data := numberedChunk(7, 0, 3)
	a := []Append{
		{Queue: p.q, Chunk: data, Idempotent: true}, {Queue: p.q, Chunk: data, Idempotent: true}, {Queue: p.q, Chunk: numberedChunk(7, 3, 1), Idempotent: true},
	}
	if err := b.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if a[0].Base != 0 || a[1].Base != 0 || a[2].Base != 3 {
		t.Error(a)
	}
	p.end(4)
}

func TestChunkIsKnownAgainAfterRestart(t *testing.T) {
	dir := t.TempDir()
	b := testBroker(t, store.Options{Path: dir, Reserve: 1})
	p := newPublisher(t, b, 1)
	for i := range uint64(5) {
		p.must(0, numberedChunk(7, 2*i, 2), int64(2*i))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = testBroker(t, store.Options{Path: dir, Reserve: 1})
	defer b.Close()
	p = newPublisher(t, b, 1)
	for i := range uint64(5) {
		p.must(0, numberedChunk(7, 2*i, 2), int64(2*i))
	}
	p.must(0, numberedChunk(7, 10, 2), 10)
	p.end(12)
}

func TestOldChunkOfKnownProducerIsRefused(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	p := newPublisher(t, b, 1)
	p.must(0, numberedChunk(7, 1000, 1), 0)
	p.must(0, numberedChunk(7, 0, 1), 1) // not many are known, so it is new
	for i := range uint64(MaxRecent) {
		p.must(0, numberedChunk(7, 2000+i, 1), int64(2+i))
	}
	if _, err := p.send(0, numberedChunk(7, 1000, 1)); !errors.Is(err, om.CodeBadRequest) || !strings.Contains(err.Error(), "keep at most 64 chunks") {
		t.Error(err)
	}
	p.must(0, numberedChunk(7, 2000, 1), 2)
	p.end(2 + MaxRecent)
}

func TestProducersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		p := newPublisher(t, b, 1)
		p.must(0, numberedChunk(7, 0, 1), 0)
		time.Sleep(RecentAge - time.Second)
		p.must(0, numberedChunk(8, 0, 1), 1)
		p.must(0, numberedChunk(7, 0, 1), 0)
		time.Sleep(2 * time.Second)
		p.must(0, numberedChunk(8, 1, 1), 2)
		if n := len(b.recent.histories); n != 1 || b.recent.order.Len() != 1 {
			t.Errorf("%d producers are remembered", n)
		}
		for i := range uint64(maxHistories + 10) {
			b.recent.add(producerLog{100 + i, 1}, recentChunk{0, 0, 1}, time.Now().UnixMilli())
		}
		if n := len(b.recent.histories); n != maxHistories || b.recent.order.Len() != maxHistories {
			t.Errorf("%d producers are remembered, %d are the most", n, maxHistories)
		}
	})
}

func TestAnyPartitionIsAlwaysTheSame(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	p := newPublisher(t, b, 4)
	counts := make(map[int32]int)
	for i := range uint64(400) {
		data := numberedChunk(99, 1024*i, 1)
		a, err := p.send(AnyPartition, data)
		again, err2 := p.send(AnyPartition, data)
		if err != nil || err2 != nil || a.Partition != again.Partition || a.Base != again.Base {
			t.Fatal(a, again, err, err2)
		}
		counts[a.Partition]++
	}
	for n := range int32(4) {
		if counts[n] < 60 {
			t.Errorf("partition %d has %d of 400 chunks", n, counts[n])
		}
	}
	p.end(400)
}

// resum gives a crafted chunk a right checksum.
func resum(data []byte) []byte {
	binary.BigEndian.PutUint32(data[4:], crc32.Checksum(data[8:], crc32.MakeTable(crc32.Castagnoli)))
	return data
}

func TestForeignChunksAreChecked(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	p := newPublisher(t, b, 1)
	with := func(change func(*om.Message)) []byte {
		m := om.NewMessage("", []byte("body"))
		m.BornAt = time.Now()
		change(m)
		var c chunk.Builder
		c.Reset(1, 1, "h", om.SpecVersion, m.BornAt)
		c.Add(m)
		return bytes.Clone(c.Finish())
	}
	good := with(func(*om.Message) {})
	crafted := func(at int, v byte) []byte {
		data := bytes.Clone(good)
		data[at] = v
		return resum(data)
	}
	for name, c := range map[string]struct {
		data []byte
		code om.Code
	}{
		"sum":        {append(bytes.Clone(good[:len(good)-1]), 'x'), om.CodeMalformedMessage},
		"cut":        {good[:len(good)-1], om.CodeMalformedMessage},
		"more":       {append(bytes.Clone(good), 0), om.CodeMalformedMessage},
		"count":      {crafted(11, 2), om.CodeMalformedMessage},
		"flags":      {crafted(3, byte(chunk.HasKey)), om.CodeMalformedMessage},
		"born":       {with(func(m *om.Message) { m.BornAt = time.UnixMilli(-1) }), om.CodeMalformedMessage},
		"delay":      {with(func(m *om.Message) { m.Ext.Delay = MaxDelay + time.Millisecond }), om.CodeBadParameter},
		"delays":     {delayedChunk(MaxDelayedMessages+1, 0), om.CodeBadParameter},
		"delayed":    {delayedChunk(2, MaxDelayedBytes/2), om.CodeBadParameter},
		"algorithm":  {with(func(m *om.Message) { m.Compression = "lz4" }), om.CodeUnsupported},
		"compressed": {with(func(m *om.Message) { m.Compression, m.Body = compression.Gzip, []byte("not gzip") }), om.CodeMalformedMessage},
		"bomb": {with(func(m *om.Message) {
			m.Compression, m.Body = compression.Zstd, compression.Compress(compression.Zstd, make([]byte, MaxBody+1))
		}), om.CodeBodyTooLarge},
		"body":       {with(func(m *om.Message) { m.Body = make([]byte, MaxBody+1) }), om.CodeBodyTooLarge},
		"properties": {with(func(m *om.Message) { m.Properties["k"] = om.String(strings.Repeat("x", MaxProperties)) }), om.CodePropertiesTooLarge},
		"header":     {with(func(m *om.Message) { m.Ext.CorrelationID = strings.Repeat("x", MaxHeader+1) }), om.CodeHeaderTooLarge},
	} {
		if _, err := p.send(0, c.data); om.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %d", name, err, c.code)
		}
	}
	if _, err := p.send(-2, good); !errors.Is(err, om.CodeBadParameter) {
		t.Error(err)
	}
	p.end(0)
	p.must(0, good, 0)
}

// delayedChunk returns a chunk of delayed messages with bodies of that size.
func delayedChunk(messages, body int) []byte {
	var c chunk.Builder
	c.Reset(1, 0, "host", om.SpecVersion, time.Now())
	for range messages {
		m := om.Message{Header: om.Header{BornAt: time.Now()}, Body: make([]byte, body)}
		m.Ext.Delay = time.Hour
		c.Add(&m)
	}
	return bytes.Clone(c.Finish())
}

func TestReturnedDeliveriesAreNotCounted(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	p := newPublisher(t, b, 1)
	p.must(0, numberedChunk(7, 0, 5), 0)
	r, err := b.NewReceiver(t.Context(), ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{0, 2, 2} {
		spans, err := r.Receive(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		s := spans[0]
		if s.Base != want || s.Delivery != 1 {
			t.Errorf("from %d on, delivery %d", s.Base, s.Delivery)
		}
		rc := Receipts{s.Partition, s.Lease, s.Base, 5}
		if n := r.InFlight(); n != 5-want {
			t.Errorf("%d are in flight, want %d", n, 5-want)
		}
		if errs, err := r.Ack(t.Context(), []Receipts{{rc.Partition, rc.Lease, 0, 2}}); errs != nil || err != nil {
			t.Error(errs, err)
		}
		if err := r.Return([]Receipts{rc, rc, {0, 12345, 0, 5}, {9, 1, 0, 1}}); err != nil {
			t.Error(err)
		}
	}
	if g := p.q.Groups()[0]; g.InFlight != 0 || g.Lag != 3 || r.InFlight() != 0 {
		t.Errorf("%+v", g)
	}
}
