package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// quietly returns a context that ends before anything else happens.
func (r *Receiver) quietly(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), time.Millisecond)
}

func TestR117_backoff(t *testing.T) {
	for end, finish := range map[string]func(*Receiver, Receipts) error{
		"nack": func(r *Receiver, rc Receipts) error {
			_, err := r.Nack(context.Background(), []Receipts{rc}, 0)
			return err
		},
		"lease": func(*Receiver, Receipts) error { time.Sleep(time.Minute); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &desk{T: t, Broker: testBroker(t, store.Options{Memory: true})}
			defer func() { must(t, d.Close()) }()
			must(t, d.CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
			r := d.receiver("g", time.Minute)
			must(t, d.ConfigureGroup(t.Context(), "q", "g", om.GroupConfig{MaxDeliveries: 5, Backoff: om.Backoff{0, time.Second, time.Hour}}))
			publishBodies(t, d.Broker, "key", "poison", "behind")
			publishBodies(t, d.Broker, "another", "free")
			var waits []time.Duration
			for i := range 5 {
				from := time.Now()
				spans, err := r.Receive(t.Context(), 1)
				must(t, err)
				if spans[0].Base != 0 || spans[0].Delivery != i+1 {
					t.Fatalf("%s: delivery %d is %+v", end, i+1, spans[0])
				}
				waits = append(waits, time.Since(from))
				must(t, finish(r, Receipts{0, spans[0].Lease, 0, 1}))
				synctest.Wait() // the end of a lease is counted
				if i == 1 {     // the key waits, others do not
					bodies, rs, _ := d.take(r)
					if fmt.Sprint(bodies) != "[free]" {
						t.Fatalf("%s: %v came", end, bodies)
					}
					d.ack(r, rs)
				}
			}
			if want := []time.Duration{0, 0, time.Second, time.Hour, time.Hour}; !cmp.Equal(waits, want) {
				t.Errorf("%s: waits %v, want %v", end, waits, want)
			}
			synctest.Wait()
			if dead := d.dead(); len(dead) != 1 || dead[0].Properties.GetInt64(om.PropertyDeadDeliveries, 0) != 5 {
				t.Errorf("%s: dead letters %v", end, dead)
			}
			if bodies, _, _ := d.take(r); fmt.Sprint(bodies) != "[behind]" {
				t.Errorf("%s: behind the dead letter came %v", end, bodies)
			}
		})
	}
}

func TestR117_what_holds_instead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, Broker: testBroker(t, store.Options{Memory: true})}
		defer func() { must(t, d.Close()) }()
		ctx := t.Context()
		must(t, d.CreateQueue(ctx, om.QueueConfig{Name: "q"}))
		r := d.receiver("g", time.Minute)
		must(t, d.ConfigureGroup(ctx, "q", "g", om.GroupConfig{Backoff: om.Backoff{time.Hour}}))
		publishBodies(t, d.Broker, "", "a")
		_, rs, _ := d.take(r)
		_, err := r.Nack(ctx, rs, time.Second)
		must(t, err)
		from := time.Now()
		_, err = r.Receive(ctx, 1)
		must(t, err)
		if waited := time.Since(from); waited != time.Second {
			t.Errorf("a nack with a delay of 1 s waited %v", waited)
		}
		must(t, r.Close(ctx))
		r = d.receiver("g", time.Minute)
		if bodies, _, _ := d.take(r); fmt.Sprint(bodies) != "[a]" {
			t.Errorf("after the receiver was closed %v came", bodies)
		}
	})
}

// TestR117_fewer: what was delivered too often already is dead as soon as the
// settings say so.
func TestR117_fewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, Broker: testBroker(t, store.Options{Memory: true})}
		defer func() { must(t, d.Close()) }()
		ctx := t.Context()
		must(t, d.CreateQueue(ctx, om.QueueConfig{Name: "q"}))
		r := d.receiver("g", time.Minute)
		publishBodies(t, d.Broker, "", "ready", "waits")
		for range 3 {
			_, rs, _ := d.take(r)
			_, err := r.Nack(ctx, rs[:1], 0)
			must(t, err)
			_, err = r.Nack(ctx, rs[1:], time.Second)
			must(t, err)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		_, rs, _ := d.take(r)
		_, err := r.Nack(ctx, rs[1:], time.Hour)
		must(t, err)
		_, err = r.Nack(ctx, rs[:1], 0)
		must(t, err)
		must(t, d.ConfigureGroup(ctx, "q", "g", om.GroupConfig{MaxDeliveries: 2}))
		synctest.Wait()
		if dead := d.dead(); len(dead) != 1 || string(dead[0].Body) != "ready" {
			t.Fatalf("dead letters %v", dead)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if dead := d.dead(); len(dead) != 2 || dead[1].Properties.GetInt64(om.PropertyDeadDeliveries, 0) != 4 {
			t.Errorf("dead letters %v", dead)
		}
	})
}

func TestR117_settings_are_durable(t *testing.T) {
	d := newDesk(t, om.QueueConfig{})
	ctx := t.Context()
	settings := func() om.GroupConfig {
		t.Helper()
		c, err := d.queue("q").Group("g")
		must(t, err)
		return c
	}
	if err := d.ConfigureGroup(ctx, "q", "g", om.GroupConfig{}); !errors.Is(err, om.CodeGroupNotFound) {
		t.Error(err)
	}
	must(t, d.receiver("g", time.Minute).Close(ctx))
	if got, want := settings(), (om.GroupConfig{MaxDeliveries: 16, Backoff: om.NoBackoff}); !cmp.Equal(got, want) {
		t.Errorf("before it is configured: %v", got)
	}
	for _, c := range []struct{ set, want om.GroupConfig }{
		{om.GroupConfig{}, om.GroupConfig{MaxDeliveries: 16, Backoff: om.DefaultBackoff}},
		{om.GroupConfig{MaxDeliveries: 17, Backoff: om.RocketMQBackoff}, om.GroupConfig{MaxDeliveries: 17, Backoff: om.RocketMQBackoff}},
		{om.GroupConfig{MaxDeliveries: 1, Backoff: om.Backoff{time.Microsecond}}, om.GroupConfig{MaxDeliveries: 1, Backoff: om.Backoff{time.Millisecond}}},
	} {
		must(t, d.ConfigureGroup(ctx, "q", "g", c.set))
		d.reopen()
		if got := settings(); !cmp.Equal(got, c.want) {
			t.Errorf("after a restart: %v, want %v", got, c.want)
		}
	}
	for _, bad := range []om.GroupConfig{{MaxDeliveries: -1}, {MaxDeliveries: 1001}, {Backoff: om.Backoff{-1}}, {Backoff: om.Backoff{41 * 24 * time.Hour}}, {Backoff: make(om.Backoff, 101)}} {
		if err := d.ConfigureGroup(ctx, "q", "g", bad); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	// A filter that changes later leaves the settings alone.
	_, err := d.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute, Filter: om.SQL("a = 1")})
	must(t, err)
	d.reopen()
	if got := settings(); got.MaxDeliveries != 1 {
		t.Errorf("after a new filter: %v", got)
	}
}
