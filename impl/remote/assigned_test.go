package remote_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// TestR142_reconnect: a member whose connection breaks loses its partitions at
// once and comes back with its id. Nothing is lost, and a partition's new
// messages come in order.
func TestR142_reconnect(t *testing.T) {
	const partitions, each = 4, 300
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	p := newProxy(t, m.address)
	ctx := t.Context()
	connect := func(address string) om.AccessPoint {
		ap, err := oms.Open(ctx, remote.URL(address))
		must(t, err)
		t.Cleanup(func() { must(t, ap.Close(context.WithoutCancel(ctx))) })
		return ap
	}
	direct := connect(m.address)
	must(t, direct.Resources().CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: partitions}))
	var mu sync.Mutex
	next, lost, all := map[int32]int{}, 0, make(chan struct{})
	left := partitions * each
	joined := make(chan string, 1000)
	member := func(ap om.AccessPoint, id string) {
		c, err := ap.NewPushConsumer(ctx, om.WithGroup("g"), om.WithAllocation(allocation.Sticky()), om.WithMember(id, map[string]string{"rack": id}),
			om.WithConcurrency(4), om.WithOnError(func(error) {}), om.WithRebalanceListener(om.RebalanceListener{
				Assigned: func(string, []int32) { joined <- id },
				Lost: func(string, []int32) {
					mu.Lock()
					defer mu.Unlock()
					lost++
				},
			}))
		must(t, err)
		must(t, c.Bind(ctx, func(_ context.Context, d *om.Delivery) error {
			var n int
			_, err := fmt.Sscan(string(d.Body), &n)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil || n > next[d.Partition]:
				t.Errorf("partition %d: %q comes when %d is expected", d.Partition, d.Body, next[d.Partition])
			case n == next[d.Partition]:
				next[d.Partition]++
				if left--; left == 0 {
					close(all)
				}
			}
			return nil
		}, "q"))
	}
	cut := func() {
		for len(joined) > 0 {
			<-joined
		}
		p.cut()
	}
	wait := func(id string) {
		t.Helper()
		for {
			select {
			case got := <-joined:
				if got == id {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s gets no partitions", id)
			}
		}
	}
	member(connect(p.Addr().String()), "far")
	wait("far")
	member(direct, "near")
	wait("near")
	sender, err := direct.NewProducer(ctx)
	must(t, err)
	send := func(from, to int) {
		var ms []*om.Message
		for i := from; i < to; i++ {
			for n := range partitions {
				msg := om.NewMessage("q", fmt.Append(nil, i))
				msg.Ext.Partition = om.Some(int32(n))
				ms = append(ms, msg)
			}
		}
		_, err := sender.SendBatch(ctx, ms)
		must(t, err)
	}
	send(0, each/3)
	cut()
	send(each/3, 2*each/3)
	wait("far")
	cut()
	send(2*each/3, each)
	wait("far")
	select {
	case <-all:
	case <-time.After(30 * time.Second):
		t.Fatalf("%d messages are missing", left)
	}
	mu.Lock()
	defer mu.Unlock()
	if lost < 2 {
		t.Errorf("the member has lost its partitions %d times, its connection broke twice", lost)
	}
	infos, err := direct.Resources().Groups(ctx, "q")
	must(t, err)
	if g := infos[0]; len(g.Members) != 2 || g.Members[0].ID != "far" || g.Members[0].Labels["rack"] != "far" || len(g.Members[0].Partitions) == 0 || g.Members[0].Address == "" {
		t.Errorf("the members are %+v", g.Members)
	}
}
