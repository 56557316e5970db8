package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/broker"
)

// collector asks the broker at each scrape.
type collector struct {
	m      *Metrics
	broker *broker.Broker
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	ready    = describe("oms_ready", "1 when the broker accepts messages, else 0.")
	stored   = describe("oms_store_bytes", "About how many bytes the store takes up.")
	free     = describe("oms_store_free_bytes", "Bytes that are free where the store lies; 0 in memory.")
	reserve  = describe("oms_store_reserve_bytes", "Free bytes below which messages are refused; 0 in memory.")
	queues   = describe("oms_queues", "Queues that exist.")
	messages = describe("oms_queue_messages", "Messages that are stored.", "queue")
	lag      = describe("oms_queue_lag_messages", "Messages that the queue's consumer groups have not settled, summed over the groups.", "queue")
	inFlight = describe("oms_queue_in_flight_messages", "Messages delivered and not settled, summed over the groups.", "queue")
	expired  = describe("oms_queue_expired_messages", "Messages that expired before a group got them, summed over the groups.", "queue")
	lost     = describe("oms_queue_lost_messages", "Messages that retention removed before a group had settled them, summed over the groups.", "queue")
)

var perQueue = []*prometheus.Desc{messages, lag, inFlight, expired, lost}

// Watch adds what is asked of a broker, and of an audit when it is not nil, at
// each scrape. It is called once.
func (m *Metrics) Watch(b *broker.Broker, a *auth.Audit) {
	m.registry.MustRegister(&collector{m, b})
	if a == nil {
		return
	}
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "oms_logins_refused_total", Help: "Logins that were refused."},
			func() float64 { return float64(a.LoginsRefused()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "oms_actions_denied_total", Help: "Actions that were denied because a right was missing."},
			func() float64 { return float64(a.ActionsDenied()) }),
	)
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range append([]*prometheus.Desc{ready, stored, free, reserve, queues}, perQueue...) {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := 1.0
	if c.broker.Ready() != nil {
		up = 0
	}
	gauge(ready, up)
	gauge(stored, float64(c.broker.Stored()))
	if f, r, err := c.broker.Free(); err == nil {
		gauge(free, float64(f))
		gauge(reserve, float64(r))
	}
	all := c.queues()
	gauge(queues, float64(len(all)))
	names := make(map[string]bool, len(all))
	for _, q := range all {
		names[q.Name()] = true
	}
	c.m.forget(func(name string) bool { return names[name] })
	var rest [5]float64
	for _, q := range all {
		values := state(q)
		if c.m.queue(q.Name()) == c.m.other {
			for i, v := range values {
				rest[i] += v
			}
			continue
		}
		for i, d := range perQueue {
			gauge(d, values[i], q.Name())
		}
	}
	for i, d := range perQueue {
		gauge(d, rest[i], Other)
	}
}

// queues returns all queues.
func (c *collector) queues() (all []*broker.Queue) {
	for _, ns := range c.broker.Namespaces() {
		some, err := c.broker.Queues(ns)
		if err == nil { // else the namespace was just deleted
			all = append(all, some...)
		}
	}
	return all
}

// state returns the values of perQueue for a queue.
func state(q *broker.Queue) (values [5]float64) {
	for _, p := range q.PartitionInfos() {
		values[0] += float64(p.End - p.Begin)
	}
	for _, g := range q.Groups() {
		values[1] += float64(g.Lag)
		values[2] += float64(g.InFlight)
		values[3] += float64(g.Expired)
		values[4] += float64(g.Lost)
	}
	return values
}
