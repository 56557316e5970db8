package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

func TestStall(t *testing.T) {
	bubble(t, func(f *fixture) {
		check, _ := asked()
		s := f.newSender(check)
		x := as[spi.Transactor](f, s)
		r := f.receiver("q", "g")
		f.send(msg("before"))
		_, id, err := x.Prepare(f.Context(), msg("tx"), om.TransactionCheck{})
		f.ok(err)
		resume, err := f.sys.Stall(f.Context())
		f.ok(err)
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := s.Send(ctx, []*om.Message{msg("no")}); return err },
			func(ctx context.Context) error {
				_, _, err := x.Prepare(ctx, msg("no"), om.TransactionCheck{})
				return err
			},
			func(ctx context.Context) error { return x.Commit(ctx, id) },
			func(ctx context.Context) error { return x.Rollback(ctx, id) },
		} {
			if err := call(f.within(time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		f.ack(r, f.gets(r, "before")...)
		done := make(chan bool)
		go func() {
			f.send(msg("after"))
			close(done)
		}()
		synctest.Wait()
		f.empty(r)
		resume()
		resume()
		<-done
		f.gets(r, "after")
		f.ok(x.Commit(f.Context(), id))
	})
}

func TestG33_restart(t *testing.T) {
	for _, c := range []struct {
		name string
		opts []memory.Option
		left []string
	}{
		{"persistent", nil, []string{"out", "waits", "new"}},
		{"not", []memory.Option{memory.WithCapabilities(om.CapAdmin, om.CapPartitions)}, []string{"new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(f *fixture) {
				r := f.receiver("q", "g")
				f.send(msg("done"), msg("out"), msg("waits"))
				ds := f.gets(r, "done", "out")
				f.ack(r, ds[0])
				resume, err := f.sys.Stall(f.Context())
				f.ok(err)
				blocked := make(chan error)
				go func() {
					_, err := f.receiver("q", "idle").Receive(f.Context(), 9)
					if err == nil {
						_, err = f.sender.Send(f.Context(), []*om.Message{msg("lost")})
					}
					blocked <- err
				}()
				synctest.Wait()
				f.ok(f.sys.Restart(f.Context()))
				resume()
				f.is(<-blocked, om.CodeServiceUnavailable)
				_, err = r.Ack(f.Context(), receipts(ds[1]))
				f.is(err, om.CodeServiceUnavailable)
				f.ok(r.Close(f.Context()))
				f.ok(f.conn.Close(f.Context()))
				_, err = f.sender.Send(f.Context(), []*om.Message{msg("lost")})
				f.is(err, om.CodeClosed)

				f.conn = open(f.T, f.sys)
				f.sender = f.newSender(nil)
				if out := f.send(msg("new")); out[0].Offset != 3 {
					t.Errorf("offset %d", out[0].Offset)
				}
				again := f.receiver("q", "g")
				f.gets(again, c.left...)
				f.empty(again)
			}, c.opts...)
		})
	}
}
