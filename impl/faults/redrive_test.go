package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

const (
	reworkMessages = 400
	reworkRounds   = 12
)

// TestKillWhileRedriving kills a process that rejects messages, acknowledges
// some and redrives the dead ones, again and again: in the end every message was
// handled, and none after it was acknowledged.
func TestKillWhileRedriving(t *testing.T) {
	rnd := newRand(seed(t), 0)
	dir := t.TempDir()
	sendNumbered(t, dir)
	rounds := reworkRounds
	if *roundsFlag > 0 {
		rounds = *roundsFlag
	}
	w := &rework{acked: map[int]bool{}}
	for i := range rounds {
		if err := w.round(dir, rnd); err != nil {
			t.Fatalf("round %d: %v", i+1, err)
		}
	}
	c := mustConnect(t, dir)
	if err := w.drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d acknowledged before the last kill; %d redriven", w.before, reworkMessages, w.redriven)
	if w.redriven == 0 || len(w.acked) != reworkMessages {
		t.Errorf("%d redriven, %d acknowledged", w.redriven, len(w.acked))
	}
}

func sendNumbered(t *testing.T, dir string) {
	c, err := connect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := optional[spi.Admin](c).CreateQueue(t.Context(), om.QueueConfig{Name: "q", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSender(t.Context(), spi.SenderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range reworkMessages {
		if _, err := send(t.Context(), s, message("q", int32(i%2), []byte(strconv.Itoa(i)))); err != nil {
			t.Fatal(err)
		}
	}
}

// rework is what the children said.
type rework struct {
	acked            map[int]bool // for sure
	begun            []int        // some of them were killed meanwhile
	redriven, before int
}

// round lets a child work and kills it.
func (w *rework) round(dir string, rnd *rand.Rand) error {
	c, err := startChild("rework", "FAULTS_PATH="+dir, fmt.Sprintf("FAULTS_SEED=%d", rnd.Uint64()))
	if err != nil {
		return err
	}
	kill := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	in := bufio.NewScanner(c.out)
	for in.Scan() {
		if in.Text() == "ready" {
			kill.Reset(time.Duration(rnd.Int64N(int64(150 * time.Millisecond))))
			continue
		}
		if err := w.hear(in.Text()); err != nil {
			_ = c.Process.Kill()
			_ = c.Wait()
			return err
		}
	}
	_ = c.Wait()
	if c.ProcessState.Exited() {
		return fmt.Errorf("the child ended by itself: %s", c.tail())
	}
	return nil
}

// hear takes in a line of a child.
func (w *rework) hear(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(rest)
	switch word {
	case "got":
		if w.acked[n] {
			return fmt.Errorf("message %d was acknowledged and is delivered again", n)
		}
	case "acking":
		w.begun = append(w.begun, n)
	case "acked":
		w.acked[n] = true
	case "redriven":
		w.redriven += n
	default:
		return fmt.Errorf("the child said %q", line)
	}
	return nil
}

// drain handles what is left, each once.
func (w *rework) drain(ctx context.Context, c spi.Conn) error {
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
	if err != nil {
		return err
	}
	defer r.Close(ctx)
	w.before = len(w.acked)
	got := map[int]bool{}
	for {
		out, err := optional[spi.Redriver](c).Redrive(ctx, "q", "g", om.Redrive{})
		if err != nil {
			return err
		}
		w.redriven += len(out)
		left, err := undelivered(ctx, c, "q", "g")
		if err != nil {
			return err
		}
		if left == 0 && len(out) == 0 {
			break
		}
		while, cancel := context.WithTimeout(ctx, time.Second)
		ds, err := r.Receive(while, 100)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue // what is left was on its way to the dead-letter queue
		}
		if err != nil {
			return err
		}
		for _, d := range ds {
			n, err := strconv.Atoi(string(d.Message.Body))
			if err != nil || w.acked[n] || got[n] {
				return fmt.Errorf("message %d comes again after it was acknowledged: %v", n, err)
			}
			got[n] = true
		}
		if err := ack(ctx, r, ds...); err != nil {
			return err
		}
	}
	for _, n := range w.begun {
		w.acked[n] = true // the kill came after the commit, or it is among got
	}
	for n := range got {
		w.acked[n] = true
	}
	for n := range reworkMessages {
		if !w.acked[n] {
			return fmt.Errorf("message %d is lost", n)
		}
	}
	return nil
}

// reworkChild rejects most of what it receives, and redrives it.
func reworkChild() error {
	go func() {
		waitForParent()
		os.Exit(2)
	}()
	ctx := context.Background()
	c, err := connect(ctx, os.Getenv("FAULTS_PATH"))
	if err != nil {
		return err
	}
	from, _ := strconv.ParseUint(os.Getenv("FAULTS_SEED"), 10, 64)
	rnd := newRand(from, 1)
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	if err != nil {
		return err
	}
	e := new(events)
	e.print("ready\n")
	go func() {
		for {
			out, err := optional[spi.Redriver](c).Redrive(ctx, "q", "g", om.Redrive{Max: 7})
			if err != nil {
				e.fail("redrive", err)
				return
			}
			e.print(fmt.Sprintln("redriven", len(out)))
		}
	}()
	for {
		ds, err := r.Receive(ctx, 1+rnd.IntN(20))
		if err != nil {
			return err
		}
		for _, d := range ds {
			e.print("got " + string(d.Message.Body) + "\n")
		}
		if rnd.IntN(6) > 0 {
			if _, err := optional[spi.DeadLetterer](r).Reject(ctx, receipts(ds), "not now"); err != nil {
				return err
			}
			continue
		}
		for _, d := range ds[:1] {
			e.print("acking " + string(d.Message.Body) + "\n")
			if err := ack(ctx, r, d); err != nil {
				return err
			}
			e.print("acked " + string(d.Message.Body) + "\n")
		}
		if _, err := optional[spi.Nacker](r).Nack(ctx, receipts(ds[1:]), 0); err != nil {
			return err
		}
	}
}

// TestPoison: a message that kills the process of its handler every time goes
// to the dead-letter queue, and the others are handled. The process holds one
// message at a time: what it holds when it is killed counts as delivered.
func TestPoison(t *testing.T) {
	const tries = 4
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.Open(broker.Config{Store: store.Options{Memory: true}, Logger: quiet})
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s := server.New(server.Options{Broker: b, Logger: quiet})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() {
		s.Stop()
		must(errors.Join(<-served, b.Close()))
	}()
	ap, err := oms.Open(ctx, remote.URL(l.Addr().String()))
	must(err)
	defer func() { must(ap.Close(context.Background())) }()
	must(ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "q"}))
	must(ap.Resources().SeekGroup(ctx, "q", "g", om.Begin()))
	must(ap.Resources().ConfigureGroup(ctx, "q", "g", om.GroupConfig{MaxDeliveries: tries, Backoff: om.NoBackoff}))
	p, err := ap.NewProducer(ctx)
	must(err)
	_, err = p.SendBatch(ctx, []*om.Message{om.NewMessage("q", []byte("poison")), om.NewMessage("q", []byte("good"))})
	must(err)
	killed := 0
	for {
		c, err := startChild("poison", "FAULTS_URL="+remote.URL(l.Addr().String()))
		must(err)
		giveUp := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
		err = c.Wait()
		giveUp.Stop()
		if err == nil {
			break // nothing is left
		}
		if killed++; killed > tries || c.ProcessState.Exited() {
			t.Fatalf("child %d ended with %v: %s", killed, err, c.tail())
		}
	}
	dead, err := ap.Resources().Redrive(ctx, "q", "g", om.Redrive{DryRun: true, Filter: om.SQL(fmt.Sprintf("$deadDeliveries = %d", tries))})
	must(err)
	groups, err := ap.Resources().Groups(ctx, "q")
	must(err)
	if len(dead) != 1 || killed != tries || groups[0].Lag != 0 {
		t.Errorf("%d dead letters, %d children killed, %d messages left", len(dead), killed, groups[0].Lag)
	}
}

// TestPoisonEmbedded is TestPoison with the broker in the process that is killed.
// The first life is not known to have ended badly, and its delivery not counted.
func TestPoisonEmbedded(t *testing.T) {
	const tries = 4
	dir := t.TempDir()
	c := mustConnect(t, dir)
	ctx := t.Context()
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	err = errors.Join(err, optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: "q"}),
		optional[spi.Seeker](c).SeekGroup(ctx, "q", "g", om.Begin()),
		optional[spi.GroupConfigurer](c).ConfigureGroup(ctx, "q", "g", om.GroupConfig{MaxDeliveries: tries, Backoff: om.NoBackoff}))
	if err == nil {
		_, err = send(ctx, s, message("q", 0, []byte("poison")), message("q", 0, []byte("good")))
	}
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	for killed := 0; ; {
		child, err := startChild("poison", "FAULTS_URL="+badger.URL(dir))
		if err != nil {
			t.Fatal(err)
		}
		giveUp := time.AfterFunc(deadline, func() { _ = child.Process.Kill() })
		err = child.Wait()
		giveUp.Stop()
		if err == nil {
			break // nothing is left
		}
		if killed++; killed > tries+1 || child.ProcessState.Exited() {
			t.Fatalf("child %d ended with %v: %s", killed, err, child.tail())
		}
	}
	c = mustConnect(t, dir)
	dead, err := optional[spi.Redriver](c).Redrive(ctx, "q", "g", om.Redrive{DryRun: true, Filter: om.SQL(fmt.Sprintf("$deadDeliveries = %d", tries))})
	if err != nil || len(dead) != 1 {
		t.Errorf("%d dead letters, %v", len(dead), err)
	}
	if left, err := undelivered(ctx, c, "q", "g"); err != nil || left != 0 {
		t.Errorf("%d messages are left, %v", left, err)
	}
}

// poisonChild handles messages one at a time until none is left, and is killed
// by poison.
func poisonChild() error {
	ctx := context.Background()
	ap, err := oms.Open(ctx, os.Getenv("FAULTS_URL"))
	if err != nil {
		return err
	}
	c, err := ap.NewPushConsumer(ctx, om.WithGroup("g"), om.WithConcurrency(1), om.WithPrefetch(1))
	if err != nil {
		return err
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	handle := func(_ context.Context, d *om.Delivery) error {
		if string(d.Body) == "poison" {
			_ = self.Kill()
			select {}
		}
		return nil
	}
	if err := c.Bind(ctx, handle, "q"); err != nil {
		return err
	}
	for lag := int64(1); lag > 0; {
		groups, err := ap.Resources().Groups(ctx, "q")
		if err != nil {
			return err
		}
		lag = groups[0].Lag
		<-time.After(10 * time.Millisecond)
	}
	return ap.Close(ctx)
}
