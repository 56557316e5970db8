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
	open     = describe("oms_transactions_open", "Transactions of prepared messages that have not ended.")
	parked   = describe("oms_transactions_parked", "Transactions that were rolled back after the last check and wait for people.")
	messages = describe("oms_queue_messages", "Messages that are stored.", "queue")
	lag      = describe("oms_queue_lag_messages", "Messages that the queue's consumer groups have not settled, summed over the groups.", "queue")
	inFlight = describe("oms_queue_in_flight_messages", "Messages delivered and not settled, summed over the groups.", "queue")
	expired  = describe("oms_queue_expired_messages", "Messages that expired before a group got them, summed over the groups.", "queue")
	lost     = describe("oms_queue_lost_messages", "Messages that retention removed before a group had settled them, summed over the groups.", "queue")

	members     = describe("oms_queue_members", "Members of the queue's assigned groups, summed over the groups.", "queue")
	generations = describe("oms_queue_generations", "How often members or partitions of the queue's assigned groups have changed, summed over the groups that have members.", "queue")
	unowned     = describe("oms_queue_unowned_partitions", "Partitions that no member has, in assigned groups that have members, summed over the groups.", "queue")

	delayed  = describe("oms_queue_delayed_messages", "Messages that are not due yet.", "queue")
	prepared = describe("oms_queue_prepared_messages", "Messages whose transactions have not ended.", "queue")
	waiting  = describe("oms_queue_waiting_messages", "Messages that were given back and are not delivered again before a delay is over, summed over the groups.", "queue")
	dead     = describe("oms_queue_dead_messages", "Dead letters of the queue's groups that were not redriven.", "queue")
	oldest   = describe("oms_queue_oldest_seconds", "For how long the oldest message has been stored that a group has not settled.", "queue")
)

// The last one is the greatest of several, the others add up.
var perQueue = [...]*prometheus.Desc{messages, lag, inFlight, expired, lost, members, generations, unowned, delayed, prepared, waiting, dead, oldest}

// values are those of perQueue.
type values [len(perQueue)]float64

func (v *values) add(other values) {
	last := len(v) - 1
	greatest := max(v[last], other[last])
	for i := range v {
		v[i] += other[i]
	}
	v[last] = greatest
}

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
	for _, d := range append([]*prometheus.Desc{ready, stored, free, reserve, queues, open, parked}, perQueue[:]...) {
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
	o, p := c.broker.TransactionCounts()
	gauge(open, float64(o))
	gauge(parked, float64(p))
	names := make(map[string]bool, len(all))
	for _, q := range all {
		names[q.Name()] = true
	}
	c.m.forget(func(name string) bool { return names[name] })
	var rest values
	for _, q := range all {
		v, err := state(q)
		if err != nil {
			continue // just deleted, or the store refuses, which oms_ready tells
		}
		if c.m.queue(q.Name()) == c.m.other {
			rest.add(v)
			continue
		}
		for i, d := range perQueue {
			gauge(d, v[i], q.Name())
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

// state returns the values of a queue.
func state(q *broker.Queue) (v values, err error) {
	s, err := q.Stats()
	v = values{0: float64(s.Depth), 8: float64(s.Delayed), 9: float64(s.Prepared)}
	for _, g := range s.Groups {
		v.add(values{
			1: float64(g.Lag), 2: float64(g.InFlight), 3: float64(g.Expired), 4: float64(g.Lost),
			10: float64(g.Waiting), 11: float64(g.Dead), 12: g.OldestAge.Seconds(),
		})
	}
	for _, g := range q.Groups() {
		v[5] += float64(len(g.Members))
		v[6] += float64(g.Generation)
		for _, p := range g.Partitions {
			if len(g.Members) > 0 && p.Owner == "" {
				v[7]++
			}
		}
	}
	return v, err
}
