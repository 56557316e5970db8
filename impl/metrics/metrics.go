// Package metrics counts what the broker's server does, for Prometheus. It is
// the same for every protocol: a protocol's server tells [Metrics] what happens,
// and the program serves [Metrics.Registry].
//
// No label comes from clients without a bound: codes are those of the contract,
// and as many queues as [New] allows have series of their own; the others share
// the one named "other".
package metrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Other is the label of what has no series of its own.
const Other = "other"

// Metrics counts. All methods may be called concurrently and none blocks. A nil
// *Metrics counts nothing.
type Metrics struct {
	registry *prometheus.Registry

	commits     prometheus.Histogram
	commands    prometheus.Histogram
	requests    *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	connections prometheus.Gauge
	refused     prometheus.Counter
	streams     *prometheus.GaugeVec

	published, publishedBytes *prometheus.CounterVec
	delivered, deliveredBytes *prometheus.CounterVec
	settled                   *prometheus.CounterVec

	most   int
	mu     sync.Mutex // held to add and to remove queues
	queues sync.Map   // name → *queue
	count  int
	other  *queue
}

// queue is the series of a queue.
type queue struct {
	published, publishedBytes, delivered, deliveredBytes prometheus.Counter
	settled                                              map[string]prometheus.Counter
}

// actions are the values of the label action.
var actions = []string{"ack", "nack", "extend", "reject", "return"}

// seconds are the bounds of the histograms of time: from a commit on a fast disk
// to what somebody should look at.
var seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New returns metrics with series of their own for that many queues at the most,
// those that are seen first, and the usual ones about the process.
func New(version string, queues int) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), most: queues}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m.commits = histogram("oms_commit_duration_seconds", "Time that writing and syncing one commit took.", seconds)
	m.commands = histogram("oms_commit_commands", "Commands that one commit held.", prometheus.ExponentialBuckets(1, 4, 7))
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "oms_request_duration_seconds", Help: "Time until a request was answered; publish is until its messages were durable.", Buckets: seconds,
	}, []string{"method"})
	m.errors = counters("oms_errors_total", "Requests and streams that ended with an error, and chunks and settles that were refused, by status code.", "code")
	m.connections = prometheus.NewGauge(prometheus.GaugeOpts{Name: "oms_connections", Help: "Connections of clients that are open."})
	m.refused = prometheus.NewCounter(prometheus.CounterOpts{Name: "oms_connections_refused_total", Help: "Connections that were closed at once because there were too many."})
	m.streams = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "oms_streams", Help: "Streams of clients that are open."}, []string{"method"})
	m.published = counters("oms_published_messages_total", "Messages that were stored for clients.", "queue")
	m.publishedBytes = counters("oms_published_bytes_total", "Bytes of the chunks of these messages.", "queue")
	m.delivered = counters("oms_delivered_messages_total", "Messages that were sent to clients, redeliveries included.", "queue")
	m.deliveredBytes = counters("oms_delivered_bytes_total", "Bytes of the chunks of these messages.", "queue")
	m.settled = counters("oms_settled_messages_total", "Deliveries that clients settled, by what became of them.", "queue", "action")
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "oms_build_info", Help: "Always 1; the label tells the program's version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.commits, m.commands, m.requests, m.errors, m.connections, m.refused, m.streams,
		m.published, m.publishedBytes, m.delivered, m.deliveredBytes, m.settled, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.other = m.newQueue(Other)
	return m
}

// Registry returns what is served.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

func (m *Metrics) newQueue(name string) *queue {
	q := &queue{
		published: m.published.WithLabelValues(name), publishedBytes: m.publishedBytes.WithLabelValues(name),
		delivered: m.delivered.WithLabelValues(name), deliveredBytes: m.deliveredBytes.WithLabelValues(name),
		settled: make(map[string]prometheus.Counter, len(actions)),
	}
	for _, a := range actions {
		q.settled[a] = m.settled.WithLabelValues(name, a)
	}
	return q
}

// queue returns the series of a queue by its long name.
func (m *Metrics) queue(name string) *queue {
	if q, ok := m.queues.Load(name); ok {
		return q.(*queue)
	}
	if om.IsReplyQueue(name) { // they come and go
		return m.other
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if q, ok := m.queues.Load(name); ok {
		return q.(*queue)
	}
	if m.count >= m.most {
		return m.other
	}
	q := m.newQueue(name)
	m.queues.Store(name, q)
	m.count++
	return q
}

// forget removes the series of queues that are no more.
func (m *Metrics) forget(exists func(name string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queues.Range(func(key, _ any) bool {
		if name := key.(string); !exists(name) {
			m.queues.Delete(name)
			m.count--
			for _, v := range []*prometheus.CounterVec{m.published, m.publishedBytes, m.delivered, m.deliveredBytes, m.settled} {
				v.DeletePartialMatch(prometheus.Labels{"queue": name})
			}
		}
		return true
	})
}

// Published counts messages that are durable. The queue is one that exists, by
// its long name.
func (m *Metrics) Published(queue string, messages, bytes int) {
	if m != nil {
		q := m.queue(queue)
		q.published.Add(float64(messages))
		q.publishedBytes.Add(float64(bytes))
	}
}

// Delivered counts messages on their way to a client. The queue is one that
// exists, by its long name.
func (m *Metrics) Delivered(queue string, messages, bytes int) {
	if m != nil {
		q := m.queue(queue)
		q.delivered.Add(float64(messages))
		q.deliveredBytes.Add(float64(bytes))
	}
}

// Settled counts deliveries that were settled; action is ack, nack, extend,
// reject or return. The queue is one that exists, by its long name.
func (m *Metrics) Settled(queue, action string, messages int) {
	if m != nil {
		if c := m.queue(queue).settled[action]; c != nil {
			c.Add(float64(messages))
		}
	}
}

// Failed counts an error of this program by its code, nil for nothing.
func (m *Metrics) Failed(err error) {
	if m == nil || err == nil {
		return
	}
	m.errors.WithLabelValues(strconv.Itoa(int(om.CodeOf(err)))).Inc()
}

// Answered counts a request that took a time. The method is one that the server
// has.
func (m *Metrics) Answered(method string, took time.Duration) {
	if m != nil {
		m.requests.WithLabelValues(method).Observe(took.Seconds())
	}
}

// Committed counts a commit of the broker.
func (m *Metrics) Committed(commands int, took time.Duration) {
	if m != nil {
		m.commits.Observe(took.Seconds())
		m.commands.Observe(float64(commands))
	}
}

// Connected counts a connection that is opened, or with -1 one that is closed.
func (m *Metrics) Connected(n int) {
	if m != nil {
		m.connections.Add(float64(n))
	}
}

// ConnectionRefused counts a connection that is closed at once.
func (m *Metrics) ConnectionRefused() {
	if m != nil {
		m.refused.Inc()
	}
}

// Streams counts a stream that is opened, or with -1 one that is over. The
// method is one that the server has.
func (m *Metrics) Streams(method string, n int) {
	if m != nil {
		m.streams.WithLabelValues(method).Add(float64(n))
	}
}
