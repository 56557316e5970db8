package spi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

type driver struct{ name string }

func (d driver) Info() spi.Info                                   { return spi.Info{Name: d.name} }
func (driver) Open(context.Context, spi.Config) (spi.Conn, error) { return nil, nil }

func TestR048_unknown_driver(t *testing.T) {
	var r spi.Registry
	_, err := r.Lookup("kafka")
	if !errors.Is(err, om.CodeDriverUnavailable) || !strings.Contains(err.Error(), "known: none") {
		t.Error(err)
	}
	r.Register(driver{"nats"})
	r.Register(driver{"badger"})
	_, err = r.Lookup("kafka")
	if !errors.Is(err, om.CodeDriverUnavailable) || !strings.Contains(err.Error(), "known: badger, nats") {
		t.Error(err)
	}
	if d, err := r.Lookup("nats"); d != (driver{"nats"}) || err != nil {
		t.Error(d, err)
	}
}

func TestRegisterPanics(t *testing.T) {
	for name, part := range map[string]string{"": "without a name", "twice": `two drivers are named "twice"`} {
		func() {
			defer func() {
				if told := fmt.Sprint(recover()); !strings.Contains(told, part) {
					t.Errorf("a driver named %q: %s", name, told)
				}
			}()
			var r spi.Registry
			r.Register(driver{"twice"})
			r.Register(driver{name})
		}()
	}
}

type pinging struct {
	spi.Conn
	told string
}

func (p *pinging) Ping(context.Context) error { return errors.New(p.told) }

type overriding struct {
	spi.ConnWrapper
}

func (overriding) Ping(context.Context) error { return errors.New("wrapper") }

func TestG40_powers_are_found_through_wrappers(t *testing.T) {
	inner := &pinging{told: "inner"}
	wrapped := spi.ConnWrapper{Conn: spi.ConnWrapper{Conn: inner}}
	p, ok := spi.As[spi.Pinger](wrapped)
	if !ok || p.Ping(t.Context()).Error() != "inner" {
		t.Error("not found behind two wrappers")
	}
	p, ok = spi.As[spi.Pinger](overriding{spi.ConnWrapper{Conn: inner}})
	if !ok || p.Ping(t.Context()).Error() != "wrapper" {
		t.Error("the wrapper's own method is not found first")
	}
	if _, ok := spi.As[spi.Admin](wrapped); ok {
		t.Error("found what is not there")
	}
	if _, ok := spi.As[spi.Pinger](nil); ok {
		t.Error("found in nil")
	}
	if _, ok := spi.As[spi.Nacker](spi.ReceiverWrapper{}); ok {
		t.Error("found in an empty wrapper")
	}
	if _, ok := spi.As[spi.Transactor](spi.SenderWrapper{}); ok {
		t.Error("found in an empty wrapper")
	}
}

func TestRegistryIsConcurrent(t *testing.T) {
	var r spi.Registry
	var all sync.WaitGroup
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("d%02d", i)
		want = append(want, name)
		all.Go(func() {
			r.Register(driver{name})
			if _, err := r.Lookup(name); err != nil {
				t.Error(err)
			}
			_ = r.Names()
		})
	}
	all.Wait()
	if got := r.Names(); !slices.Equal(got, want) {
		t.Errorf("Names = %v", got)
	}
}

type nacking struct{ spi.Receiver }

func (nacking) Nack(context.Context, []spi.Receipt, time.Duration) ([]error, error) {
	return nil, om.NewError(om.CodeUnsupported, "nack", "q", "")
}

type preparing struct{ spi.Sender }

func (preparing) Prepare(context.Context, *om.Message) (spi.Outcome, string, error) {
	return spi.Outcome{}, "tx", nil
}
func (preparing) Commit(context.Context, string) error   { return nil }
func (preparing) Rollback(context.Context, string) error { return nil }

func TestG40_powers_of_senders_and_receivers(t *testing.T) {
	n, ok := spi.As[spi.Nacker](spi.ReceiverWrapper{Receiver: spi.ReceiverWrapper{Receiver: nacking{}}})
	if !ok {
		t.Fatal("Nacker not found behind two wrappers")
	}
	if _, err := n.Nack(t.Context(), nil, 0); !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, om.ErrUnsupported) {
		t.Errorf("the error lost its class on the way: %v", err)
	}
	x, ok := spi.As[spi.Transactor](spi.SenderWrapper{Sender: spi.SenderWrapper{Sender: preparing{}}})
	if !ok {
		t.Fatal("Transactor not found behind two wrappers")
	}
	if _, id, err := x.Prepare(t.Context(), nil); id != "tx" || err != nil {
		t.Error(id, err)
	}
}

func TestG39_credentials_do_not_show(t *testing.T) {
	c := spi.Credentials{AccountID: "alice", AccountKey: "s3cret", Token: "t0ken"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "with", c, "at", &c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("opened", "with", c, "at", &c)
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprint(&c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%s %q %x %d", c, c, c, c),
		fmt.Sprintf("%+v", []spi.Credentials{c}), fmt.Errorf("with %v", c).Error(), log.String(),
	} {
		if strings.Contains(shown, c.AccountKey) || strings.Contains(shown, c.Token) || !strings.Contains(shown, "alice") {
			t.Errorf("shown as %s", shown)
		}
	}
}
