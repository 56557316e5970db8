package remote_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/tck"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformanceInMemory(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	tck.Run(t, tck.Target{URL: remote.URL(m.address)})
}

func TestConformanceOnDisk(t *testing.T) {
	parent := t.TempDir()
	m := newMachine(t, store.Options{Path: filepath.Join(parent, "store"), RetainBytes: 256 << 20}, server.Options{}) // small files, which kill copies
	tck.Run(t, tck.Target{
		URL:    remote.URL(m.address),
		Faults: tck.Faults{Restart: m.restart, Kill: m.kill},
	})
}

// machine runs a server on an address of its own, which can be restarted and
// killed. The server belongs to no goroutine of a caller: the kit looks for what
// its cases leave behind.
type machine struct {
	t       testing.TB
	address string
	store   store.Options
	options server.Options
	orders  chan func()

	broker *broker.Broker
	server *server.Server
	served chan error
	kills  int
}

func newMachine(t testing.TB, st store.Options, o server.Options) *machine {
	t.Helper()
	m := &machine{t: t, address: "127.0.0.1:0", store: st, options: o, orders: make(chan func())}
	var all sync.WaitGroup
	all.Go(func() {
		for f := range m.orders {
			f()
		}
	})
	t.Cleanup(func() {
		m.do(func() error { return m.stop(true) })
		close(m.orders)
		all.Wait()
	})
	if err := m.do(m.start); err != nil {
		t.Fatal(err)
	}
	return m
}

// do has the machine's own goroutine do something.
func (m *machine) do(f func() error) error {
	done := make(chan error, 1)
	m.orders <- func() { done <- f() }
	return <-done
}

func (m *machine) start() error {
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.Open(broker.Config{Store: m.store, Logger: quiet})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", m.address)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	m.address = l.Addr().String()
	o := m.options
	o.Broker = b
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.Drain == 0 {
		o.Drain = 100 * time.Millisecond
	}
	m.broker, m.server, m.served = b, server.New(o), make(chan error, 1)
	go func() { m.served <- m.server.Serve(l) }()
	return nil
}

func (m *machine) stop(gently bool) error {
	var err error
	if gently {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = m.server.Shutdown(ctx)
	} else {
		m.server.Stop()
	}
	return errors.Join(err, <-m.served, m.broker.Close())
}

func (m *machine) restart(context.Context) error {
	return m.do(func() error {
		if err := m.stop(true); err != nil {
			return err
		}
		return m.start()
	})
}

// kill goes on with the files as they are at this moment, while the store is
// open: what a process leaves that is killed.
func (m *machine) kill(context.Context) error {
	return m.do(func() error {
		m.kills++
		next := filepath.Join(filepath.Dir(m.store.Path), "killed-"+strconv.Itoa(m.kills))
		if err := os.CopyFS(next, os.DirFS(m.store.Path)); err != nil {
			return err
		}
		if err := m.stop(false); err != nil {
			return err
		}
		m.store.Path = next
		return m.start()
	})
}
