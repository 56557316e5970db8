package oms_test

import (
	"context"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// null accepts everything and always has messages; it allocates nothing.
type null struct {
	outs []spi.Outcome
	got  []spi.Received
}

func (n *null) Info() spi.Info                                     { return spi.Info{Name: "null", SpecVersion: om.SpecVersion} }
func (n *null) Open(context.Context, spi.Config) (spi.Conn, error) { return n, nil }
func (n *null) Capabilities() om.Capabilities                      { return nil }
func (n *null) Close(context.Context) error                        { return nil }
func (n *null) NewSender(context.Context, spi.SenderConfig) (spi.Sender, error) {
	return n, nil
}
func (n *null) NewReceiver(context.Context, spi.ReceiverConfig) (spi.Receiver, error) {
	return n, nil
}

func (n *null) Send(_ context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	return n.outs[:len(ms)], nil
}

func (n *null) Receive(_ context.Context, max int) ([]spi.Received, error) { return n.got[:max], nil }

func (n *null) Ack(context.Context, []spi.Receipt) ([]error, error) { return nil, nil }

func newNull() *null {
	n := &null{outs: make([]spi.Outcome, 65536), got: make([]spi.Received, 65536)}
	for i := range n.outs {
		n.outs[i].MessageID = "id"
		n.got[i] = spi.Received{Message: msg("q", "body"), Receipt: i}
	}
	return n
}

func perMessage(b *testing.B, messages int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
}

func BenchmarkSendBatch(b *testing.B) {
	p := producer(b, open(b, newNull()))
	ms := make([]*om.Message, 65536)
	for i := range ms {
		ms[i] = om.NewMessage("q", make([]byte, 128))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.SendBatch(b.Context(), ms); err != nil {
			b.Fatal(err)
		}
	}
	perMessage(b, len(ms))
}

func BenchmarkReceiveAck(b *testing.B) {
	c := puller(b, open(b, newNull()), []string{"q"})
	b.ReportAllocs()
	for b.Loop() {
		ds, err := c.ReceiveBatch(b.Context(), 1024)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Ack(b.Context(), ds...); err != nil {
			b.Fatal(err)
		}
	}
	perMessage(b, 1024)
}

func BenchmarkSend(b *testing.B) {
	p := producer(b, open(b, newNull()))
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		m := om.NewMessage("q", make([]byte, 128))
		for pb.Next() {
			if _, err := p.Send(b.Context(), m); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkSendAsync(b *testing.B) {
	p := producer(b, open(b, newNull()))
	m := om.NewMessage("q", make([]byte, 128))
	b.ReportAllocs()
	for b.Loop() {
		p.SendAsync(b.Context(), om.NewMessage("q", m.Body))
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSendBatchAsync(b *testing.B) {
	p := producer(b, open(b, newNull()))
	ms := make([]*om.Message, 1024)
	for i := range ms {
		ms[i] = om.NewMessage("q", make([]byte, 128))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.SendBatchAsync(b.Context(), ms).Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	perMessage(b, len(ms))
}

func BenchmarkPush(b *testing.B) {
	c := pusher(b, open(b, newNull()))
	handled := make(chan struct{})
	n := 0
	b.ReportAllocs()
	err := c.Bind(b.Context(), func(context.Context, *om.Delivery) error {
		if n++; n == b.N {
			close(handled)
		}
		return nil
	}, "q")
	if err != nil {
		b.Fatal(err)
	}
	<-handled
	b.StopTimer()
}
