package spi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

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
	for _, name := range []string{"", "twice"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a driver named %q was taken", name)
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
