package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The models are met with 30 random histories each; -rapid.checks says how many.
func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "30")
	goleak.VerifyTestMain(m)
}

// TestScripts runs the scripts in testdata against a broker in memory, each in
// a bubble with a clock of its own. After a change of behaviour
//
//	go test ./impl/broker -run TestScripts -rewrite
//
// writes the output anew.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			defer s.close()
			datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string { return s.run(d) })
		})
	})
}

type script struct {
	t         *testing.T
	b         *Broker
	ctx       context.Context
	receivers map[string]*Receiver
	mu        sync.Mutex          // guards deliver
	deliver   map[string]Receipts // by the name that receive printed
	waiting   map[string]chan string
	sequence  uint64
}

func testBroker(t testing.TB, o store.Options) *Broker {
	t.Helper()
	b, err := Open(Config{Store: o, Host: "host", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newScript(t *testing.T) *script {
	return &script{
		t: t, b: testBroker(t, store.Options{Memory: true}), ctx: context.Background(),
		receivers: map[string]*Receiver{}, deliver: map[string]Receipts{}, waiting: map[string]chan string{},
	}
}

func (s *script) close() {
	if err := s.b.Close(); err != nil {
		s.t.Error(err)
	}
	for name, c := range s.waiting {
		s.t.Errorf("%s was never waited for: %s", name, <-c)
	}
}

// run executes a verb; see testdata for what they are.
func (s *script) run(d *datadriven.TestData) string {
	verbs := map[string]func(*datadriven.TestData) string{
		"create-namespace": func(d *datadriven.TestData) string { return said(s.b.CreateNamespace(s.ctx, word(d, 0))) },
		"delete-namespace": func(d *datadriven.TestData) string { return said(s.b.DeleteNamespace(s.ctx, word(d, 0))) },
		"namespaces":       func(*datadriven.TestData) string { return strings.Join(s.b.Namespaces(), " ") },
		"create-queue": func(d *datadriven.TestData) string {
			return said(s.b.CreateQueue(s.ctx, om.QueueConfig{Name: word(d, 0), Partitions: number(d, "partitions", 1)}))
		},
		"delete-queue": func(d *datadriven.TestData) string { return said(s.b.DeleteQueue(s.ctx, word(d, 0))) },
		"queues":       s.queues,
		"partitions":   s.partitions,
		"groups":       s.groups,
		"seek":         s.seek,
		"delete-group": func(d *datadriven.TestData) string { return said(s.b.DeleteGroup(s.ctx, word(d, 0), word(d, 1))) },
		"publish":      s.publish,
		"receiver":     s.receiver,
		"receive":      s.receive,
		"waits":        s.waits,
		"close":        func(d *datadriven.TestData) string { return said(s.receivers[word(d, 0)].Close(s.ctx)) },
		"ack":          s.ack,
		"nack":         s.nack,
		"extend":       s.extend,
		"read":         s.read,
		"trim":         s.trim,
		"set-filter":   s.setFilter,
		"create-route": func(d *datadriven.TestData) string { return said(s.b.CreateRoute(s.ctx, s.route(d))) },
		"update-route": func(d *datadriven.TestData) string { return said(s.b.UpdateRoute(s.ctx, s.route(d))) },
		"delete-route": func(d *datadriven.TestData) string { return said(s.b.DeleteRoute(s.ctx, word(d, 0))) },
		"routes":       s.routes,
		"advance":      s.advance,
	}
	verb := verbs[d.Cmd]
	if verb == nil {
		d.Fatalf(s.t, "no verb is named %s", d.Cmd)
	}
	return verb(d)
}

// said is the short form of an error.
func said(err error) string {
	var e *om.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return fmt.Sprintf("%d %s: %v", int(e.Code), e.Code, e.Err)
	}
	return err.Error()
}

func words(d *datadriven.TestData) (out []string) {
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			out = append(out, a.Key)
		}
	}
	return out
}

func word(d *datadriven.TestData, i int) string {
	if w := words(d); i < len(w) {
		return w[i]
	}
	return ""
}

func text(d *datadriven.TestData, key, def string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return def
}

func number(d *datadriven.TestData, key string, def int) int {
	n, err := strconv.Atoi(text(d, key, strconv.Itoa(def)))
	if err != nil {
		panic(err)
	}
	return n
}

func duration(d *datadriven.TestData, key string, def time.Duration) time.Duration {
	v, err := time.ParseDuration(text(d, key, def.String()))
	if err != nil {
		panic(err)
	}
	return v
}

func (s *script) queues(d *datadriven.TestData) string {
	queues, err := s.b.Queues(word(d, 0))
	if err != nil {
		return said(err)
	}
	var out []string
	for _, q := range queues {
		out = append(out, fmt.Sprintf("%s %d", q.Name(), q.Partitions()))
	}
	return strings.Join(out, "\n")
}

func (s *script) partitions(d *datadriven.TestData) string {
	q, err := s.b.Queue("describe", word(d, 0))
	if err != nil {
		return said(err)
	}
	var out []string
	for _, p := range q.PartitionInfos() {
		out = append(out, fmt.Sprintf("%d: %d to %d", p.Partition, p.Begin, p.End))
	}
	return strings.Join(out, "\n")
}

func (s *script) groups(d *datadriven.TestData) string {
	synctest.Wait() // for what is settled without anybody waiting
	q, err := s.b.Queue("describe", word(d, 0))
	if err != nil {
		return said(err)
	}
	var out []string
	for _, g := range q.Groups() {
		line := fmt.Sprintf("%s: consumers %d, lag %d, in flight %d, lost %d, redelivered %d;", g.Group, g.Consumers, g.Lag, g.InFlight, g.Lost, g.Redelivered)
		for _, p := range g.Partitions {
			line += fmt.Sprintf(" %d at %d", p.Partition, p.Cursor)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func (s *script) seek(d *datadriven.TestData) string {
	p, err := om.ParsePosition(text(d, "to", "begin"))
	if ago := duration(d, "ago", 0); ago > 0 {
		p = om.AtTime(time.Now().Add(-ago))
	}
	if err != nil {
		return said(err)
	}
	return said(s.b.SeekGroup(s.ctx, word(d, 0), word(d, 1), p))
}

// publish sends one chunk; each further word and each line of the input is a
// message. Then it lets routes copy.
func (s *script) publish(d *datadriven.TestData) string {
	q, err := s.b.Queue("send", word(d, 0))
	if err != nil {
		return said(err)
	}
	var b chunk.Builder
	b.Reset(1, s.sequence, "born", om.SpecVersion, time.Now())
	for _, line := range slices.Concat(words(d)[1:], slices.Collect(strings.Lines(d.Input))) {
		m := parseMessage(line)
		m.BornAt = time.Now()
		b.Add(m)
		s.sequence++
	}
	a := []Append{{Queue: q, Partition: int32(number(d, "partition", 0)), Chunk: b.Finish()}}
	if err := s.b.Publish(s.ctx, a); err != nil {
		return said(err)
	}
	if a[0].Err != nil {
		return said(a[0].Err)
	}
	synctest.Wait()
	return fmt.Sprintf("from %d", a[0].Base)
}

func (s *script) receiver(d *datadriven.TestData) string {
	p, err := om.ParsePosition(text(d, "start", "begin"))
	if err != nil {
		return said(err)
	}
	r, err := s.b.NewReceiver(s.ctx, ReceiverConfig{
		Queue: text(d, "queue", "q"), Group: text(d, "group", "g"), Start: p, Lease: duration(d, "lease", 30*time.Second),
		Filter: om.Filter{Type: text(d, "filter-type", ""), Expression: text(d, "filter", "")},
	})
	if err != nil {
		return said(err)
	}
	s.receivers[word(d, 0)] = r
	return "ok"
}

// receive prints partition/offset, body and number of the delivery. With
// "background" the answer comes by the verb waits.
func (s *script) receive(d *datadriven.TestData) string {
	name := word(d, 0)
	limit, timeout := number(d, "max", 10), duration(d, "timeout", time.Second)
	work := func() string {
		ctx, cancel := context.WithTimeout(s.ctx, timeout)
		defer cancel()
		spans, err := s.receivers[name].Receive(ctx, limit)
		if err != nil {
			return said(err)
		}
		return s.print(name, spans)
	}
	if word(d, 1) != "background" {
		return work()
	}
	answer := make(chan string, 1)
	s.waiting[name] = answer
	go func() { answer <- work() }()
	synctest.Wait()
	select {
	case got := <-answer:
		answer <- got
		return "answered at once"
	default:
		return "waits"
	}
}

func (s *script) waits(d *datadriven.TestData) string {
	synctest.Wait()
	c := s.waiting[word(d, 0)]
	select {
	case got := <-c:
		delete(s.waiting, word(d, 0))
		return got
	default:
		return "still waits"
	}
}

func (s *script) print(name string, spans []Span) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, sp := range spans {
		ms := make([]om.Message, sp.Count)
		if _, err := chunk.Decode(sp.Chunk, sp.Header, sp.Skip, ms); err != nil {
			s.t.Fatal(err)
		}
		for i, m := range ms {
			offset := sp.Base + int64(i)
			line := fmt.Sprintf("%d/%d %s", sp.Partition, offset, printable(m.Body)) + attributes(&m)
			if sp.Delivery > 0 {
				line += fmt.Sprintf(" delivery %d", sp.Delivery)
				s.deliver[fmt.Sprintf("%s:%d/%d:%d", name, sp.Partition, offset, sp.Delivery)] = Receipts{sp.Partition, sp.Lease, offset, offset + 1}
			}
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// receipts reads "partition/offset:delivery" words.
func (s *script) receipts(d *datadriven.TestData) (rs []Receipts) {
	for _, w := range words(d)[1:] {
		if !strings.Contains(w, ":") {
			w += ":1"
		}
		rc, ok := s.deliver[word(d, 0)+":"+w]
		if !ok {
			d.Fatalf(s.t, "%s received no %s", word(d, 0), w)
		}
		rs = append(rs, rc)
	}
	return rs
}

func settledAs(errs []error, err error) string {
	if err != nil {
		return said(err)
	}
	var out []string
	for i, e := range errs {
		if e != nil {
			out = append(out, fmt.Sprintf("%d: %d", i, int(om.CodeOf(e))))
		}
	}
	if out == nil {
		return "ok"
	}
	return strings.Join(out, "\n")
}

func (s *script) ack(d *datadriven.TestData) string {
	return settledAs(s.receivers[word(d, 0)].Ack(s.ctx, s.receipts(d)))
}

func (s *script) nack(d *datadriven.TestData) string {
	return settledAs(s.receivers[word(d, 0)].Nack(s.ctx, s.receipts(d), duration(d, "delay", 0)))
}

func (s *script) extend(d *datadriven.TestData) string {
	return settledAs(s.receivers[word(d, 0)].Extend(s.ctx, s.receipts(d), duration(d, "lease", time.Minute)))
}

func (s *script) read(d *datadriven.TestData) string {
	q, err := s.b.Queue("read", word(d, 0))
	if err != nil {
		return said(err)
	}
	p, err := om.ParsePosition(text(d, "from", "begin"))
	if err != nil {
		return said(err)
	}
	offset, err := q.Resolve(int32(number(d, "partition", 0)), p)
	if err != nil {
		return said(err)
	}
	spans, err := q.Read(s.ctx, int32(number(d, "partition", 0)), offset, number(d, "max", 10))
	if err != nil {
		return said(err)
	}
	return s.print("", spans)
}

// trim drops what lies below an offset, as retention does.
func (s *script) trim(d *datadriven.TestData) string {
	q, err := s.b.Queue("trim", word(d, 0))
	if err != nil {
		return said(err)
	}
	p := q.list()[number(d, "partition", 0)]
	return said(s.b.submit(s.ctx, &trim{Starts: map[uint64]int64{p.log: int64(number(d, "below", 0))}}))
}

func (s *script) advance(d *datadriven.TestData) string {
	v, err := time.ParseDuration(word(d, 0))
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	time.Sleep(v)
	synctest.Wait()
	return "ok"
}
