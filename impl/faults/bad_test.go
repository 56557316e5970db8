package faults_test

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// bothDrivers runs a test on the embedded broker and over the network, each with
// a queue "q" of two partitions.
func bothDrivers(t *testing.T, test func(t *testing.T, c spi.Conn)) {
	for _, over := range []string{"embedded", "network"} {
		t.Run(over, func(t *testing.T) {
			var c spi.Conn
			if over == "embedded" {
				c = mustConnect(t, t.TempDir())
			} else {
				b, err := broker.Open(broker.Config{Store: store.Options{Memory: true}, Logger: quiet})
				if err != nil {
					t.Fatal(err)
				}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s := server.New(server.Options{Broker: b, Logger: quiet})
				served := make(chan error, 1)
				go func() { served <- s.Serve(l) }()
				u, err := om.ParseURL(remote.URL(l.Addr().String()))
				if err == nil {
					c, err = remote.Driver{}.Open(t.Context(), spi.Config{URL: u, Logger: slog.New(slog.DiscardHandler)})
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					err := c.Close(t.Context())
					s.Stop()
					if err := errors.Join(<-served, b.Close()); err != nil {
						t.Error(err)
					}
					_ = err
				})
			}
			if err := optional[spi.Admin](c).CreateQueue(t.Context(), om.QueueConfig{Name: "q", Partitions: 2}); err != nil {
				t.Fatal(err)
			}
			test(t, c)
		})
	}
}

// TestBadMessages sends what the portable client would refuse, or leaves to the
// driver, past it: each is refused by itself or does no harm, and the good message
// in the same call is stored.
func TestBadMessages(t *testing.T) {
	bothDrivers(t, func(t *testing.T, c spi.Conn) {
		s, err := c.NewSender(t.Context(), spi.SenderConfig{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.NewReceiver(t.Context(), spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		refused, hidden, usual := om.CodeBadParameter, om.Code(1), om.Code(0)
		for name, x := range map[string]struct {
			change func(*om.Message)
			want   om.Code
		}{
			"delay of 292 years":             {func(m *om.Message) { m.Ext.Delay = math.MaxInt64 }, refused},
			"delay over the limit":           {func(m *om.Message) { m.Ext.Delay = broker.MaxDelay + time.Millisecond }, refused},
			"longest delay":                  {func(m *om.Message) { m.Ext.Delay = broker.MaxDelay }, hidden},
			"no delay":                       {func(m *om.Message) { m.Ext.Delay = 0 }, usual},
			"delay of a nanosecond":          {func(m *om.Message) { m.Ext.Delay = 1 }, usual},
			"expiry before birth":            {func(m *om.Message) { m.Ext.ExpireAt = m.BornAt.Add(-time.Hour) }, hidden},
			"expiry before it is due":        {func(m *om.Message) { m.Ext.Delay, m.Ext.ExpireAt = time.Millisecond, m.BornAt }, hidden},
			"partition -1":                   {func(m *om.Message) { m.Ext.Partition = om.Some[int32](-1) }, refused},
			"partition 2 of 2":               {func(m *om.Message) { m.Ext.Partition = om.Some[int32](2) }, refused},
			"partition 2147483647":           {func(m *om.Message) { m.Ext.Partition = om.Some[int32](math.MaxInt32) }, refused},
			"priority -128":                  {func(m *om.Message) { m.Ext.Priority = math.MinInt8 }, usual},
			"priority 0":                     {func(m *om.Message) { m.Ext.Priority = 0 }, usual},
			"priority 11":                    {func(m *om.Message) { m.Ext.Priority = 11 }, usual},
			"priority 127 of a key":          {func(m *om.Message) { m.Ext.Priority, m.Ext.MessageKey = math.MaxInt8, "k" }, usual},
			"delay of an hour and a key":     {func(m *om.Message) { m.Ext.Delay, m.Ext.MessageKey = time.Hour, "k" }, hidden},
			"delay of an hour and partition": {func(m *om.Message) { m.Ext.Delay, m.Ext.Partition = time.Hour, om.Some[int32](1) }, hidden},
		} {
			bad, good := message("q", 0, []byte(name)), message("q", 1, []byte("good"))
			x.change(bad)
			out, err := s.Send(t.Context(), []*om.Message{bad, good})
			if err != nil || out[1].Err != nil {
				t.Errorf("%s: the good message beside it: %v %v", name, err, out)
				continue
			}
			want := []string{"good"}
			switch x.want {
			case refused:
				if !errors.Is(out[0].Err, refused) {
					t.Errorf("%s: got %v, want %v", name, out[0].Err, refused)
				}
			case usual:
				want = append(want, name)
				fallthrough
			default:
				if out[0].Err != nil {
					t.Errorf("%s is refused: %v", name, out[0].Err)
				}
			}
			var got []string
			for len(got) < len(want) {
				ds, err := r.Receive(t.Context(), 10)
				if err == nil {
					err = ack(t.Context(), r, ds...)
				}
				if err != nil {
					t.Fatalf("%s: %v came: %v", name, got, err)
				}
				for _, d := range ds {
					got = append(got, string(d.Message.Body))
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q came, want %q", name, got, want)
			}
		}
	})
}

// TestBadSettlements settles what is settled, and with receipts that are stale or
// of others: only the first is no error, and none has an effect.
func TestBadSettlements(t *testing.T) {
	bothDrivers(t, func(t *testing.T, c spi.Conn) {
		ctx := t.Context()
		s, err := c.NewSender(ctx, spi.SenderConfig{})
		if err != nil {
			t.Fatal(err)
		}
		open := func(group string) spi.Receiver {
			r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: group, Lease: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		take := func(r spi.Receiver) spi.Received {
			ds, err := r.Receive(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			return ds[0]
		}
		if _, err := send(ctx, s, message("q", 0, []byte("a")), message("q", 0, []byte("b"))); err != nil {
			t.Fatal(err)
		}
		first, second, other := open("g"), open("g"), open("other")
		settled := take(first)
		if err := ack(ctx, first, settled); err != nil {
			t.Fatal(err)
		}
		ways := map[string]func(spi.Receiver, spi.Receipt) error{
			"ack": func(r spi.Receiver, x spi.Receipt) error { return firstError(r.Ack(ctx, []spi.Receipt{x})) },
			"nack": func(r spi.Receiver, x spi.Receipt) error {
				return firstError(optional[spi.Nacker](r).Nack(ctx, []spi.Receipt{x}, 0))
			},
			"reject": func(r spi.Receiver, x spi.Receipt) error {
				return firstError(optional[spi.DeadLetterer](r).Reject(ctx, []spi.Receipt{x}, "bad"))
			},
			"extend": func(r spi.Receiver, x spi.Receipt) error {
				return firstError(optional[spi.Leaser](r).Extend(ctx, []spi.Receipt{x}, time.Hour))
			},
		}
		for name, way := range ways {
			if err := way(first, settled.Receipt); err != nil {
				t.Errorf("%s of what is settled: %v", name, err)
			}
		}
		held := take(first)
		for name, way := range ways {
			if err := way(second, held.Receipt); !errors.Is(err, om.CodeStaleReceipt) {
				t.Errorf("%s with the receipt of another receiver: %v", name, err)
			}
			if err := way(other, held.Receipt); err == nil {
				t.Errorf("%s with the receipt of another group is no error", name)
			}
		}
		if err := firstError(optional[spi.Nacker](first).Nack(ctx, receipts([]spi.Received{held}), 0)); err != nil {
			t.Fatal(err)
		}
		again := take(second)
		for name, way := range ways {
			if err := way(first, held.Receipt); !errors.Is(err, om.CodeStaleReceipt) {
				t.Errorf("%s with a stale receipt: %v", name, err)
			}
		}
		if again.Offset != held.Offset || again.Message.Ext.DeliveryCount != 2 {
			t.Errorf("offset %d comes as delivery %d, want offset %d as delivery 2", again.Offset, again.Message.Ext.DeliveryCount, held.Offset)
		}
		if err := ack(ctx, second, again); err != nil {
			t.Error(err)
		}
		for _, partition := range []int32{-1, 2, math.MaxInt32} {
			_, err := optional[spi.Streamer](c).ReadAt(ctx, "q", partition, 0, 1)
			_, err2 := optional[spi.Streamer](c).Resolve(ctx, "q", partition, om.Begin())
			if !errors.Is(err, om.CodeBadParameter) || !errors.Is(err2, om.CodeBadParameter) {
				t.Errorf("partition %d: %v, %v", partition, err, err2)
			}
		}
	})
}

// firstError returns the error of a call or of its first receipt.
func firstError(errs []error, err error) error {
	if err == nil && len(errs) > 0 {
		err = errs[0]
	}
	return err
}
