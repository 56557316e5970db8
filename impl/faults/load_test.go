package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// loadQueues are the queues of the kill tests, by number, with their
// partitions. Each has the groups of loadGroups.
var (
	loadQueues = []om.QueueConfig{{Name: "q0", Partitions: 1}, {Name: "q1", Partitions: 3}, {Name: "q2", Partitions: 2}}
	loadGroups = []string{"a", "b"}
)

const loadProducers = 4

// events is the child's side of the pipe. Every call writes whole lines at
// once, and returns when the parent can read them even if this process dies.
type events struct{ mu sync.Mutex }

func (e *events) print(lines string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := os.Stdout.WriteString(lines); err != nil {
		os.Exit(2) // the parent is gone
	}
}

func (e *events) fail(what string, err error) { e.print(fmt.Sprintf("error %s: %q\n", what, err)) }

// loadChild opens the store in FAULTS_PATH and sends and receives until it is
// killed. It prints:
//
//	opening, ready
//	sending  <producer> <queue> <partition> <first number> <count>            before Send
//	sent     <producer> <queue> <partition> <first number> <count> <offset>   after Send
//	acking   <group> <queue> <partition> <from> <to>                          before Ack
//	acked    <group> <queue> <partition> <from> <to>                          after Ack
//	error    <what>
func loadChild() error {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(os.Getenv(name), 10, 64)
		return n
	}
	var options []string
	if s := os.Getenv("FAULTS_OPTIONS"); s != "" {
		options = strings.Split(s, " ")
	}
	go func() {
		waitForParent()
		os.Exit(2)
	}()
	e := new(events)
	e.print("opening\n")
	ctx := context.Background()
	c, err := connect(ctx, os.Getenv("FAULTS_PATH"), options...)
	if err != nil {
		return err
	}
	admin := optional[spi.Admin](c)
	for _, q := range loadQueues {
		if err := admin.CreateQueue(ctx, q); err != nil && !errors.Is(err, om.CodeDestinationExists) {
			return err
		}
	}
	if len(options) == 0 { // with retention the route's commits would move what verify looks at
		if err := makeRoute(ctx, c); err != nil {
			return err
		}
	}
	e.print("ready\n")
	var wg sync.WaitGroup
	for i := range loadProducers {
		wg.Go(func() {
			p := producer{events: e, id: uint32(number("FAULTS_PRODUCER")) + uint32(i), rnd: newRand(number("FAULTS_SEED"), uint64(i))}
			if err := p.run(ctx, c); err != nil {
				e.fail("send", err)
			}
		})
	}
	for i, q := range loadQueues {
		for j, g := range loadGroups {
			wg.Go(func() {
				k := consumer{events: e, group: j, queue: i, rnd: newRand(number("FAULTS_SEED"), uint64(100+10*i+j))}
				if err := k.run(ctx, c, q.Name, g); err != nil {
					e.fail("receive", err)
				}
			})
		}
	}
	wg.Wait()
	return errors.New("the load has ended by itself")
}

// producer sends batches that go to one to three partitions.
type producer struct {
	*events
	id   uint32
	rnd  *rand.Rand
	next map[target]uint64
}

// target is a partition of a queue, by number.
type target struct{ queue, partition uint16 }

func (p *producer) run(ctx context.Context, c spi.Conn) error {
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	if err != nil {
		return err
	}
	p.next = make(map[target]uint64)
	for {
		var ms []*om.Message
		var tags []tag
		var intent strings.Builder
		for range 1 + p.rnd.IntN(3) {
			q := p.rnd.IntN(len(loadQueues))
			to := target{uint16(q), uint16(p.rnd.IntN(loadQueues[q].Partitions))}
			count := 1 + p.rnd.IntN(20)
			fmt.Fprintln(&intent, "sending", p.id, to.queue, to.partition, p.next[to]+1, count)
			for range count {
				p.next[to]++
				t := tag{p.id, to.queue, to.partition, p.next[to]}
				tags = append(tags, t)
				ms = append(ms, message(loadQueues[q].Name, int32(to.partition), t.body()))
			}
		}
		p.print(intent.String())
		out, err := send(ctx, s, ms...)
		if err != nil {
			return err
		}
		p.print(sentLines(tags, out))
	}
}

// sentLines tells of the messages of a call that were sent, in runs of one
// partition whose numbers and offsets follow each other.
func sentLines(tags []tag, out []spi.Outcome) string {
	var b strings.Builder
	for i := 0; i < len(tags); {
		first, base := tags[i], out[i].Offset
		n := 1
		for i+n < len(tags) && tags[i+n] == (tag{first.producer, first.queue, first.partition, first.number + uint64(n)}) && out[i+n].Offset == base+int64(n) {
			n++
		}
		fmt.Fprintln(&b, "sent", first.producer, first.queue, first.partition, first.number, n, base)
		i += n
	}
	return b.String()
}

// consumer acknowledges part of what it receives, in any order.
type consumer struct {
	*events
	group, queue int
	rnd          *rand.Rand
}

func (k *consumer) run(ctx context.Context, c spi.Conn, queue, group string) error {
	lease := time.Minute
	if k.group == 0 {
		lease = 50 * time.Millisecond // ends now and then
	}
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: queue, Group: group, Lease: lease})
	if err != nil {
		return err
	}
	for {
		ds, err := r.Receive(ctx, 1+k.rnd.IntN(200))
		if err != nil {
			return err
		}
		pieces := cut(k.rnd, ds)
		k.rnd.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		switch left := pieces[len(pieces)/2:]; k.rnd.IntN(3) {
		case 0:
		case 1:
			pieces = pieces[:len(pieces)/2]
			if _, err := optional[spi.Nacker](r).Nack(ctx, receipts(left[0]), 0); err != nil {
				return err
			}
		case 2:
			pieces = pieces[:len(pieces)/2]
		}
		for _, piece := range pieces {
			k.print(k.runs("acking", piece, nil))
			errs, err := r.Ack(ctx, receipts(piece))
			if err != nil {
				return err
			}
			for _, err := range errs {
				if err != nil && !errors.Is(err, om.CodeStaleReceipt) {
					return err
				}
			}
			k.print(k.runs("acked", piece, errs))
		}
	}
}

// cut cuts deliveries into pieces.
func cut(rnd *rand.Rand, ds []spi.Received) (pieces [][]spi.Received) {
	for len(ds) > 0 {
		n := 1 + rnd.IntN(min(len(ds), 50))
		pieces = append(pieces, ds[:n])
		ds = ds[n:]
	}
	return pieces
}

// runs tells of deliveries without an error, in runs of offsets.
func (k *consumer) runs(word string, ds []spi.Received, errs []error) string {
	var b strings.Builder
	for i := 0; i < len(ds); {
		if errs != nil && errs[i] != nil {
			i++
			continue
		}
		first := ds[i]
		n := 1
		for i+n < len(ds) && ds[i+n].Partition == first.Partition && ds[i+n].Offset == first.Offset+int64(n) && (errs == nil || errs[i+n] == nil) {
			n++
		}
		fmt.Fprintln(&b, word, k.group, k.queue, first.Partition, first.Offset, first.Offset+int64(n))
		i += n
	}
	return b.String()
}
