package remote_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// TestR128_live: a producer whose sends overlap and a consumer go on while
// another client adds partitions. The messages of each key come in the order in
// which they were sent, each once.
func TestR128_live(t *testing.T) {
	const keys, each = 8, 400
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	ctx := t.Context()
	connect := func() om.AccessPoint {
		ap, err := oms.Open(ctx, remote.URL(m.address))
		must(t, err)
		t.Cleanup(func() { must(t, ap.Close(context.WithoutCancel(ctx))) })
		return ap
	}
	ap, other := connect(), connect()
	must(t, ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "live", Partitions: 2}))
	p, err := ap.NewProducer(ctx)
	must(t, err)
	c, err := other.NewPullConsumer(ctx, om.WithGroup("g"))
	must(t, err)
	must(t, c.Bind(ctx, "live"))

	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		futures := make([]*om.Future[om.SendResult], 0, keys*each)
		for i := range each {
			if i%(each/10) == 0 {
				if err := other.Resources().AddPartitions(ctx, "live", 2+i*10/each); err != nil {
					t.Error(err)
				}
			}
			for k := range keys {
				m := om.NewMessage("live", fmt.Append(nil, i))
				m.Ext.MessageKey = fmt.Sprint("key ", k)
				futures = append(futures, p.SendAsync(ctx, m))
			}
		}
		for _, f := range futures {
			if _, err := f.Wait(ctx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	next := map[string]int{}
	for range keys * each {
		d, err := c.Receive(ctx)
		must(t, err)
		if want := fmt.Sprint(next[d.Ext.MessageKey]); string(d.Body) != want {
			t.Fatalf("%s: got %s instead of %s", d.Ext.MessageKey, d.Body, want)
		}
		next[d.Ext.MessageKey]++
		must(t, d.Ack(ctx))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
