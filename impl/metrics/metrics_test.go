package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched returns metrics of a broker in memory.
func watched(t *testing.T, queues int) (*Metrics, *broker.Broker) {
	t.Helper()
	m := New("1.2.3", queues)
	b, err := broker.Open(broker.Config{Store: store.Options{Memory: true}, OnCommit: m.Committed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	m.Watch(b, nil)
	return m, b
}

// series returns what is scraped, by name and labels as they are written.
func series(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func name(i int) string { return fmt.Sprintf("default://q%d", i) }

func create(t *testing.T, b *broker.Broker, n int) {
	t.Helper()
	for i := range n {
		if err := b.CreateQueue(context.Background(), om.QueueConfig{Name: name(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesAreConventional(t *testing.T) {
	m, b := watched(t, 10)
	create(t, b, 1)
	m.Published(name(0), 1, 1)
	m.Delivered(name(0), 1, 1)
	m.Settled(name(0), "ack", 1)
	m.Failed(om.CodeForbidden)
	m.Answered("Publish", time.Second)
	m.Streams("Publish", 1)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "oms_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestSeriesAreBounded has a thousand queues: the number of series must not grow
// with them, and the sums must be right nevertheless.
func TestSeriesAreBounded(t *testing.T) {
	m, b := watched(t, 10)
	create(t, b, 100)
	for i := range 1000 {
		m.Published(name(i), 2, 20)
		m.Settled(name(i), "reject", 1)
	}
	got := series(t, m)
	sum, own := 0.0, 0
	for s, v := range got {
		if strings.HasPrefix(s, "oms_published_messages_total{") {
			sum += v
			own++
		}
	}
	if own != 11 || sum != 2000 {
		t.Errorf("%d series with %v messages", own, sum)
	}
	if n := got["oms_settled_messages_total{action=reject,queue=other}"]; n != 990 {
		t.Errorf("%v were rejected in the other queues", n)
	}
	if len(got) > 300 {
		t.Errorf("%d series in all", len(got))
	}
	before := len(got)
	for i := range 1000 { // whatever clients do
		m.Failed(fmt.Errorf("text %d of a client", i))
		m.Settled(name(0), fmt.Sprintf("action %d", i), 1)
	}
	if after := len(series(t, m)); after > before+1 {
		t.Errorf("%d series became %d", before, after)
	}
}

// TestDeletedQueuesMakeRoom checks that a queue that is deleted gives its place to
// another, and loses its series.
func TestDeletedQueuesMakeRoom(t *testing.T) {
	m, b := watched(t, 1)
	create(t, b, 2)
	m.Published(name(0), 1, 1)
	if err := b.DeleteQueue(t.Context(), name(0)); err != nil {
		t.Fatal(err)
	}
	series(t, m) // the scrape that notices may still have them
	for s := range series(t, m) {
		if strings.Contains(s, name(0)) {
			t.Errorf("there is still %s", s)
		}
	}
	m.Published(name(1), 3, 3)
	if n := series(t, m)["oms_published_messages_total{queue="+name(1)+"}"]; n != 3 {
		t.Errorf("the next queue has %v", n)
	}
}

func TestWhatIsCounted(t *testing.T) {
	m, b := watched(t, 10)
	create(t, b, 1)
	m.Published(name(0), 3, 300)
	m.Delivered(name(0), 2, 200)
	m.Settled(name(0), "ack", 1)
	m.Failed(nil)
	m.Failed(fmt.Errorf("wrapped: %w", om.CodeForbidden))
	m.Failed(errors.New("something else"))
	m.Connected(1)
	m.Connected(1)
	m.Connected(-1)
	m.ConnectionRefused()
	m.Streams("Receive", 1)
	m.Answered("Ping", time.Millisecond)
	got := series(t, m)
	for s, want := range map[string]float64{
		"oms_published_messages_total{queue=default://q0}": 3, "oms_published_bytes_total{queue=default://q0}": 300,
		"oms_delivered_messages_total{queue=default://q0}": 2, "oms_delivered_bytes_total{queue=default://q0}": 200,
		"oms_settled_messages_total{action=ack,queue=default://q0}": 1, "oms_settled_messages_total{action=nack,queue=default://q0}": 0,
		fmt.Sprintf("oms_errors_total{code=%d}", om.CodeForbidden): 1, fmt.Sprintf("oms_errors_total{code=%d}", om.CodeOf(errors.New("x"))): 1,
		"oms_connections{}": 1, "oms_connections_refused_total{}": 1, "oms_streams{method=Receive}": 1, "oms_request_duration_seconds{method=Ping}": 1,
		"oms_queues{}": 1, "oms_ready{}": 1, "oms_build_info{version=1.2.3}": 1, "oms_queue_messages{queue=default://q0}": 0,
	} {
		if v, ok := got[s]; !ok || v != want {
			t.Errorf("%s is %v (%v), not %v", s, v, ok, want)
		}
	}
	if got["oms_commit_duration_seconds{}"] < 1 || got["oms_commit_duration_seconds{}"] != got["oms_commit_commands{}"] {
		t.Error("commits are not counted")
	}
}

// TestNilCountsNothing is for servers without metrics.
func TestNilCountsNothing(t *testing.T) {
	var m *Metrics
	m.Published("q", 1, 1)
	m.Delivered("q", 1, 1)
	m.Settled("q", "ack", 1)
	m.Failed(om.CodeForbidden)
	m.Answered("Ping", 1)
	m.Committed(1, 1)
	m.Connected(1)
	m.ConnectionRefused()
	m.Streams("Ping", 1)
}

// TestOperationsDocument compares what is scraped with what the document tells.
func TestOperationsDocument(t *testing.T) {
	content, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	m, b := watched(t, 10)
	create(t, b, 1)
	m.Failed(om.CodeForbidden)
	m.Answered("Publish", time.Second)
	m.Streams("Publish", 1)
	there := map[string]bool{"oms_logins_refused_total": true, "oms_actions_denied_total": true} // with users
	for s := range series(t, m) {
		name, _, _ := strings.Cut(s, "{")
		there[name] = true
		if strings.HasPrefix(name, "oms_") && !strings.Contains(string(content), "`"+name+"`") {
			t.Errorf("%s is not in the document", name)
		}
	}
	for _, name := range regexp.MustCompile(`\boms_[a-z_]+\b`).FindAllString(string(content), -1) {
		if !there[name] {
			t.Errorf("the document tells of %s, which is not there", name)
		}
	}
}

// TestReplyQueuesHaveNoSeries: they come and go, and would take the places of those
// that stay.
func TestReplyQueuesHaveNoSeries(t *testing.T) {
	m, _ := watched(t, 2)
	for i := range 5 {
		if m.queue(fmt.Sprint("default://", om.ReplyQueuePrefix, i)) != m.other {
			t.Error("a reply queue has a series of its own")
		}
	}
	if m.queue("default://orders") == m.other {
		t.Error("another queue has none")
	}
}
