package remote_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// TestLostAnswers loses answers and connections while messages are sent: every
// message lies there once, and where its sender was told.
func TestLostAnswers(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	p := newProxy(t, m.address)
	c := open(t, config(t, remote.URL(p.Addr().String())))
	c.createQueue(3)
	var mu sync.Mutex
	told := make(map[string]om.SendResult)
	var senders sync.WaitGroup
	for i := range 8 {
		s := c.sender()
		senders.Go(func() {
			for k := range 40 {
				ms := []*om.Message{message(fmt.Sprintf("%d-%d-a", i, k), ""), message(fmt.Sprintf("%d-%d-b", i, k), "key")}
				for len(ms) > 0 {
					outs, err := s.Send(c.ctx, ms)
					if om.Retryable(err) {
						continue // it was never sent
					}
					if err != nil {
						t.Error(err)
						return
					}
					var again []*om.Message
					mu.Lock()
					for i, o := range outs {
						switch {
						case om.Retryable(o.Err):
							again = append(again, ms[i])
						case o.Err != nil:
							t.Error(o.Err)
						default:
							told[string(ms[i].Body)] = o.SendResult
						}
					}
					mu.Unlock()
					ms = again
				}
			}
		})
	}
	sent := make(chan struct{})
	go func() {
		senders.Wait()
		close(sent)
	}()
	breaks := 0
	for over := false; !over; breaks++ {
		p.deaf.Store(rand.IntN(3) > 0)
		select {
		case <-sent:
			over = true
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
		}
		p.cut()
		p.deaf.Store(false)
		select {
		case <-sent:
			over = true
		case <-time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond):
		}
	}
	t.Logf("%d breaks", breaks)
	stored := make(map[string]int)
	direct := open(t, config(t, remote.URL(m.address)))
	for _, d := range direct.all() {
		body := string(d.Message.Body)
		if stored[body]++; stored[body] > 1 {
			t.Errorf("%s lies there twice", body)
		}
		if r := told[body]; r.Partition != d.Partition || r.Offset != d.Offset || r.MessageID != d.Message.MessageID {
			t.Errorf("%s lies at %d/%d as %s, its sender was told %+v", body, d.Partition, d.Offset, d.Message.MessageID, r)
		}
	}
	if len(stored) != 8*40*2 {
		t.Errorf("%d messages are stored, %d were sent", len(stored), 8*40*2)
	}
}

// TestAnswerLostInRestart has the answer lost and the server started again
// before the chunk is sent again.
func TestAnswerLostInRestart(t *testing.T) {
	m := newMachine(t, store.Options{Path: t.TempDir() + "/store", Reserve: 128 << 20}, server.Options{})
	p := newProxy(t, m.address)
	c := open(t, config(t, remote.URL(p.Addr().String())))
	c.createQueue(1)
	s := c.sender()
	c.send(s, message("warm", ""))
	p.deaf.Store(true)
	sent := make(chan error, 1)
	go func() {
		outs, err := s.Send(c.ctx, []*om.Message{message("doubt", "")})
		if err == nil && outs[0].Offset != 1 {
			err = fmt.Errorf("told offset %d", outs[0].Offset)
		}
		sent <- err
	}()
	q, err := m.broker.Queue("test", "q")
	c.must(err)
	c.must(q.Await(c.ctx, 0, 1)) // stored, and nobody was told
	c.must(m.restart(c.ctx))
	p.deaf.Store(false)
	p.cut()
	c.must(<-sent)
	if n := len(open(t, config(t, remote.URL(m.address))).all()); n != 2 {
		t.Errorf("%d messages are stored", n)
	}
}

func TestSendGivesUpWithItsContext(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	p := newProxy(t, m.address)
	c := open(t, config(t, remote.URL(p.Addr().String())))
	c.createQueue(1)
	s := c.sender()
	c.send(s, message("warm", ""))
	p.deaf.Store(true)
	ctx, cancel := context.WithTimeout(c.ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.Send(ctx, []*om.Message{message("x", "")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := s.Send(c.ctx, []*om.Message{message("y", "")})
		waits <- err
	}()
	c.must(c.Close(c.ctx))
	if err := <-waits; !errors.Is(err, om.ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Send(c.ctx, []*om.Message{message("z", "")}); !errors.Is(err, om.ErrClosed) {
		t.Error(err)
	}
}

// TestPartitionsChange makes a queue anew with more partitions, behind the back
// of a sender that knows the old ones.
func TestPartitionsChange(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(2)
	s := c.sender()
	keys := []string{"a", "b", "c", "d", "e", "f", "g"}
	batch := func() (ms []*om.Message) {
		for _, k := range keys {
			ms = append(ms, message(k, k))
		}
		return ms
	}
	c.send(s, batch()...)
	admin := open(t, config(t, remote.URL(m.address)))
	c.must(admin.Conn.(spi.Admin).DeleteQueue(c.ctx, "q"))
	outs, err := s.Send(c.ctx, batch())
	c.must(err)
	if !errors.Is(outs[0].Err, om.CodeDestinationNotFound) {
		t.Errorf("the queue is gone: %v", outs[0].Err)
	}
	admin.createQueue(2)
	c.send(s, batch()...)
	c.must(admin.Conn.(spi.Admin).DeleteQueue(c.ctx, "q"))
	admin.createQueue(5)
	for i, o := range c.send(s, batch()...) {
		if want := chunk.Partition(keys[i], 5); o.Partition != want {
			t.Errorf("key %s lies in partition %d, want %d", keys[i], o.Partition, want)
		}
	}
	if n := len(c.all()); n != len(keys) {
		t.Errorf("%d messages are stored, %d were sent", n, len(keys))
	}
}

func TestBigMessages(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	s := c.sender()
	biggest := message(string(make([]byte, 16<<20)), "")
	c.send(s, biggest, message("small", ""))
	outs, err := s.Send(c.ctx, []*om.Message{message(string(make([]byte, 16<<20+1)), ""), message("beside it", "")})
	c.must(err)
	if !errors.Is(outs[0].Err, om.CodeBodyTooLarge) || outs[1].Err != nil {
		t.Error(outs)
	}
	r := c.receiver()
	if got := c.receive(r, 1); len(got[0].Message.Body) != 16<<20 {
		t.Errorf("%d bytes", len(got[0].Message.Body))
	}
}
