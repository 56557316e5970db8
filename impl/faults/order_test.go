package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// TestKillInOrder kills a process again and again that sends messages with keys,
// priorities, delays and expiry, and acknowledges them or gives them back with the
// group's backoff. Nothing is lost, early, delivered after it was acknowledged or
// had expired, or before an earlier one of its key, and no key has two in flight.
func TestKillInOrder(t *testing.T) {
	rounds := 12
	if *roundsFlag > 0 {
		rounds = *roundsFlag
	}
	const perStore = 6
	from := seed(t)
	var mu sync.Mutex
	total := map[string]int{}
	t.Run("kills", func(t *testing.T) {
		for first := 0; first < rounds; first += perStore {
			t.Run(fmt.Sprint(first+1), func(t *testing.T) {
				t.Parallel()
				o := &ordered{dir: t.TempDir(), rnd: newRand(from, uint64(first)), lines: map[string]*orderedLine{}, count: map[string]int{}}
				for i := first; i < min(first+perStore, rounds); i++ {
					if err := o.round(from + uint64(i)); err != nil {
						t.Fatalf("round %d: %v", i+1, err)
					}
				}
				if err := o.drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for word, n := range o.count {
					total[word] += n
				}
			})
		}
	})
	sum := 0
	for _, word := range []string{"sent", "got", "acked", "nacked"} {
		if total[word] == 0 {
			t.Errorf("nothing was %s", word)
		}
		sum += total[word]
	}
	t.Logf("%d operations, %d kills: %d sent, %d received, %d acknowledged, %d given back; %d came after the last kill, %d expired",
		sum, total["kill"], total["sent"], total["got"], total["acked"], total["nacked"], total["left"], total["expired"])
}

// ordered is what children said about a store with one queue and one group.
type ordered struct {
	dir   string
	rnd   *rand.Rand
	lines map[string]*orderedLine // by key
	count map[string]int          // by word
}

// orderedLine is the messages of a key; those without a key in the broker have
// one here as well, which begins with "-".
type orderedLine struct {
	sent, begun, acked map[int]bool
	expires            map[int]int64
}

// orderedMessage is what a body says.
type orderedMessage struct {
	key     string
	number  int
	due     int64 // milliseconds since 1970 UTC; 0: at once
	expires int64 // 0: never
}

func (m orderedMessage) String() string {
	return fmt.Sprint(m.key, " ", m.number, " ", m.due, " ", m.expires)
}

func parseOrdered(s string) (m orderedMessage, err error) {
	_, err = fmt.Sscan(s, &m.key, &m.number, &m.due, &m.expires)
	return m, err
}

// round lets a child work and kills it.
func (o *ordered) round(seed uint64) error {
	c, err := startChild("ordered", "FAULTS_PATH="+o.dir, fmt.Sprint("FAULTS_SEED=", seed))
	if err != nil {
		return err
	}
	giveUp := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
	defer giveUp.Stop()
	in := bufio.NewReader(c.out)
	for err == nil {
		var line string
		if line, err = in.ReadString('\n'); err != nil {
			break // also the half line of a killed child
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "ready" {
			time.AfterFunc(20*time.Millisecond+time.Duration(o.rnd.Int64N(int64(300*time.Millisecond))), func() { _ = c.Process.Kill() })
			o.count["kill"]++
			continue
		}
		if wrong := o.read(word, rest); wrong != nil {
			_ = c.Process.Kill()
			_ = c.Wait()
			return wrong
		}
	}
	if err := c.Wait(); c.ProcessState.Exited() {
		return fmt.Errorf("the child ended by itself: %v\n%s", err, c.tail())
	}
	return nil
}

func (o *ordered) read(word, rest string) error {
	if word == "error" {
		return errors.New("the child's " + rest)
	}
	m, err := parseOrdered(rest)
	if err != nil {
		return fmt.Errorf("the child said %q %q", word, rest)
	}
	o.count[word]++
	l := o.line(m)
	switch word {
	case "sending":
		l.expires[m.number] = m.expires
	case "sent":
		l.sent[m.number] = true
	case "got":
		return o.got(m)
	case "acking":
		l.begun[m.number] = true
	case "acked":
		l.acked[m.number] = true
	}
	return nil
}

func (o *ordered) line(m orderedMessage) *orderedLine {
	l := o.lines[m.key]
	if l == nil {
		l = &orderedLine{map[int]bool{}, map[int]bool{}, map[int]bool{}, map[int]int64{}}
		o.lines[m.key] = l
	}
	return l
}

// got judges a delivery that comes after all that was said before.
func (o *ordered) got(m orderedMessage) error {
	l := o.line(m)
	if l.acked[m.number] {
		return fmt.Errorf("%v is delivered after it was acknowledged", m)
	}
	if strings.HasPrefix(m.key, "-") {
		return nil
	}
	for n := range l.sent {
		if n < m.number && !l.begun[n] && !expiredBy(l.expires[n], 0) {
			return fmt.Errorf("%v is delivered before %d, which was not acknowledged", m, n)
		}
	}
	return nil
}

// expiredBy reports whether an instant has passed that long ago; 0 never comes.
func expiredBy(at int64, ago time.Duration) bool {
	return at != 0 && time.Since(time.UnixMilli(at)) > ago
}

// drain receives what is left, and finds every message that was sent.
func (o *ordered) drain(ctx context.Context) error {
	c, err := connect(ctx, o.dir)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "o", Group: "g", Lease: time.Hour})
	if err != nil {
		return err
	}
	defer r.Close(ctx)
	for {
		while, cancel := context.WithTimeout(ctx, 2*orderedDelay)
		ds, err := r.Receive(while, 100)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			break
		}
		if err != nil {
			return err
		}
		for _, d := range ds {
			m, err := checkOrdered(d)
			if err == nil {
				err = o.got(m)
			}
			if err != nil {
				return err
			}
			o.count["left"]++
			o.line(m).begun[m.number], o.line(m).acked[m.number] = true, true
		}
		if err := ack(ctx, r, ds...); err != nil {
			return err
		}
	}
	for key, l := range o.lines {
		for _, n := range slices.Sorted(maps.Keys(l.sent)) {
			switch {
			case l.acked[n] || l.begun[n]: // begun: the kill came after the commit
			case expiredBy(l.expires[n], 0):
				o.count["expired"]++
			default:
				return fmt.Errorf("%d of %s is lost", n, key)
			}
		}
	}
	return nil
}

// checkOrdered returns what a delivery says, and what is wrong with it by the clock.
func checkOrdered(d spi.Received) (orderedMessage, error) {
	const slack = 500 * time.Millisecond // from the broker's look at its clock to here
	m, err := parseOrdered(string(d.Message.Body))
	switch {
	case err != nil:
		return m, err
	case m.due > time.Now().UnixMilli():
		return m, fmt.Errorf("%v is early by %v", m, time.Until(time.UnixMilli(m.due)))
	case expiredBy(m.expires, slack):
		return m, fmt.Errorf("%v is delivered %v after it has expired", m, time.Since(time.UnixMilli(m.expires)))
	}
	return m, nil
}

// orderedDelay is the longest delay of the messages.
const orderedDelay = 300 * time.Millisecond

// orderedChild sends and receives until it is killed. It prints ready, and before
// and after each step a word and what the message says.
func orderedChild() error {
	go func() {
		waitForParent()
		os.Exit(2)
	}()
	ctx := context.Background()
	c, err := connect(ctx, os.Getenv("FAULTS_PATH"))
	if err != nil {
		return err
	}
	if err := optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: "o", Partitions: 3}); err != nil && !errors.Is(err, om.CodeDestinationExists) {
		return err
	}
	if err := optional[spi.Seeker](c).SeekGroup(ctx, "o", "none", om.End()); err != nil {
		return err
	}
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "o", Group: "g", Lease: time.Minute})
	if err != nil {
		return err
	}
	backoff := om.ExponentialBackoff(5*time.Millisecond, 20*time.Millisecond)
	if err := optional[spi.GroupConfigurer](c).ConfigureGroup(ctx, "o", "g", om.GroupConfig{Backoff: backoff}); err != nil {
		return err
	}
	from, _ := strconv.ParseUint(os.Getenv("FAULTS_SEED"), 10, 64)
	w := &orderedWork{events: new(events), inFlight: map[string]int{}}
	w.print("ready\n")
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			if err := w.send(ctx, c, newRand(from, uint64(i)), fmt.Sprintf("%d.%d", from, i)); err != nil {
				w.fail("send", err)
			}
		})
		all.Go(func() {
			one := r
			if i > 0 {
				if one, err = c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "o", Group: "g", Lease: time.Minute}); err != nil {
					w.fail("receiver", err)
					return
				}
			}
			if err := w.receive(ctx, one, newRand(from, uint64(10+i))); err != nil {
				w.fail("receive", err)
			}
		})
	}
	all.Wait()
	return errors.New("the work has ended by itself")
}

type orderedWork struct {
	*events
	mu       sync.Mutex
	inFlight map[string]int // by key: the message's number
}

// send sends batches with some keys of its own, each key's numbers ascending.
func (w *orderedWork) send(ctx context.Context, c spi.Conn, rnd *rand.Rand, name string) error {
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	if err != nil {
		return err
	}
	next := map[string]int{}
	for {
		var ms []*om.Message
		var said []orderedMessage
		var intent strings.Builder
		for range 1 + rnd.IntN(12) {
			now := time.Now().UTC().Truncate(time.Millisecond)
			o := orderedMessage{key: fmt.Sprint(name, ".", rnd.IntN(6))}
			m := om.NewMessage("o", nil)
			m.Version, m.BornHost, m.BornAt = om.SpecVersion, "host", now
			m.Ext.Priority = int8(rnd.IntN(14) - 1) // also ones that are out of range
			switch rnd.IntN(8) {
			case 0:
				o.key = "-" + o.key
				m.Ext.Delay = time.Duration(rnd.Int64N(orderedDelay.Milliseconds())) * time.Millisecond
				o.due = now.Add(m.Ext.Delay).UnixMilli()
			case 1:
				m.Ext.ExpireAt = now.Add(100*time.Millisecond + time.Duration(rnd.IntN(200))*time.Millisecond)
				o.expires = m.Ext.ExpireAt.UnixMilli()
				fallthrough
			default:
				m.Ext.MessageKey = o.key
			}
			next[o.key]++
			o.number = next[o.key]
			m.Body = []byte(o.String())
			ms, said = append(ms, m), append(said, o)
			fmt.Fprintln(&intent, "sending", o)
		}
		w.print(intent.String())
		if _, err := send(ctx, s, ms...); err != nil {
			return err
		}
		var done strings.Builder
		for _, o := range said {
			fmt.Fprintln(&done, "sent", o)
		}
		w.print(done.String())
	}
}

// receive acknowledges most of what comes and gives back the rest.
func (w *orderedWork) receive(ctx context.Context, r spi.Receiver, rnd *rand.Rand) error {
	for {
		ds, err := r.Receive(ctx, 1+rnd.IntN(30))
		if err != nil {
			return err
		}
		got := make([]orderedMessage, len(ds))
		for i, d := range ds {
			if got[i], err = checkOrdered(d); err != nil {
				return err
			}
			if err := w.hold(got[i]); err != nil {
				return err
			}
		}
		for i := range ds {
			w.letGo(got[i])
			if rnd.IntN(4) == 0 {
				if _, err := optional[spi.Nacker](r).Nack(ctx, receipts(ds[i:i+1]), 0); err != nil {
					return err
				}
				w.print(fmt.Sprintln("nacked", got[i]))
				continue
			}
			w.print(fmt.Sprintln("acking", got[i]))
			if err := ack(ctx, r, ds[i]); err != nil {
				return err
			}
			w.print(fmt.Sprintln("acked", got[i]))
		}
	}
}

// hold tells of a delivery, unless another one of its key is in flight.
func (w *orderedWork) hold(m orderedMessage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, ok := w.inFlight[m.key]; ok && !strings.HasPrefix(m.key, "-") {
		return fmt.Errorf("%v is delivered while %d of its key is in flight", m, n)
	}
	w.inFlight[m.key] = m.number
	w.print(fmt.Sprintln("got", m))
	return nil
}

func (w *orderedWork) letGo(m orderedMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.inFlight, m.key)
}
