package tck

import (
	"context"
	"fmt"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/spi"
)

var honestyCases = table{
	"R096": unsupportedClass,
	"G40":  capabilityHonest,
}

// undeclared are calls that a driver without the capability must refuse, at
// once and without effect.
func (t *trial) undeclared(q string) map[om.Capability]map[string]func() error {
	ap := t.AP()
	rs := ap.Resources()
	d := func() *om.Delivery {
		t.Send(t.Producer(), message(q, "probe"))
		return t.Receive(t.Pull([]string{q}, om.WithGroup(unique("probe"))))
	}
	return map[om.Capability]map[string]func() error{
		om.CapAdmin: {
			"CreateQueue":     func() error { return rs.CreateQueue(t.ctx, om.QueueConfig{Name: unique("tck-probe")}) },
			"Queues":          func() error { _, err := rs.Queues(t.ctx); return err },
			"CreateNamespace": func() error { return rs.CreateNamespace(t.ctx, unique("tck-probe")) },
		},
		om.CapAddPartitions: {"AddPartitions": func() error { return rs.AddPartitions(t.ctx, q, 2) }},
		om.CapAssigned: {"Bind": func() error {
			c, err := ap.NewPullConsumer(t.ctx, om.WithGroup(unique("tck-probe")), om.WithAllocation(allocation.Average()))
			if err != nil {
				return err
			}
			return c.Bind(t.ctx, q)
		}},
		om.CapMetadata: {"Partitions": func() error { _, err := rs.Partitions(t.ctx, q); return err }},
		om.CapStats:    {"Stats": func() error { _, err := rs.Stats(t.ctx, q); return err }},
		om.CapFind:     {"FindMessages": func() error { _, err := rs.FindMessages(t.ctx, q, om.MessageQuery{}); return err }},
		om.CapSeek: {
			"SeekGroup": func() error { return rs.SeekGroup(t.ctx, q, "tck", om.Begin()) },
			"From": func() error {
				_, err := t.Pull([]string{q}).Receive(t.ctx, om.From(q, 0, om.Begin()))
				return err
			},
		},
		om.CapStream:      {"NewStreamConsumer": func() error { _, err := ap.NewStreamConsumer(t.ctx); return err }},
		om.CapCancelDelay: {"CancelDelayed": func() error { return rs.CancelDelayed(t.ctx, q, "id") }},
		om.CapGroupConfig: {
			"ConfigureGroup": func() error { return rs.ConfigureGroup(t.ctx, q, "tck", om.GroupConfig{}) },
			"Group":          func() error { _, err := rs.Group(t.ctx, q, "tck"); return err },
		},
		om.CapRedrive:    {"Redrive": func() error { _, err := rs.Redrive(t.ctx, q, "tck", om.Redrive{}); return err }},
		om.CapFilter:     {"SetFilter": func() error { return rs.SetFilter(t.ctx, q, om.SQL("a = 1")) }},
		om.CapRouting:    {"Routes": func() error { _, err := rs.Routes(t.ctx); return err }},
		om.CapNack:       {"Nack": func() error { return d().Nack(t.ctx, 0) }},
		om.CapLease:      {"Extend": func() error { return d().Extend(t.ctx, t.Lease) }},
		om.CapDeadLetter: {"Reject": func() error { return d().Reject(t.ctx, "probe") }},
		om.CapDeduplication: {"CreateQueue": func() error {
			return rs.CreateQueue(t.ctx, om.QueueConfig{Name: unique("tck-probe"), Deduplication: om.Deduplication{Window: time.Minute}})
		}},
		om.CapFencing: {"NewProducer": func() error { _, err := ap.NewProducer(t.ctx, om.WithProducerID(unique("tck-probe"))); return err }},
		om.CapRequestReply: {
			"Request": func() error { _, err := t.Producer().Request(t.ctx, message(q, "probe")); return err },
			"CreateQueue": func() error {
				return rs.CreateQueue(t.ctx, om.QueueConfig{Name: unique("tck-probe"), Expires: time.Minute})
			},
		},
		om.CapTransacted: {"SendTransacted": func() error {
			_, err := t.Producer().SendTransacted(t.ctx, []*om.Message{message(q, "probe")})
			return err
		}},
		om.CapTransaction: {"Prepare": func() error {
			_, err := t.Producer(om.WithTransactionChecker(unknownYet)).Prepare(t.ctx, message(q, "probe"))
			return err
		}},
	}
}

// probe checks that what is not declared says unsupported, quickly.
func (t *trial) probe(c om.Capability, calls map[string]func() error) {
	for what, f := range calls {
		var err error
		if t.Ends(fmt.Sprintf("%s without capability %s", what, c), t.Arrive/2, func() { err = f() }) {
			t.Is(err, fmt.Sprintf("%s without capability %s", what, c), om.ErrUnsupported)
		}
	}
}

// probes are run instead of the cases whose capability is not declared.
var probes = func() table {
	all := make(table)
	for _, c := range []om.Capability{om.CapAddPartitions, om.CapAdmin, om.CapAssigned, om.CapMetadata, om.CapStats, om.CapFind, om.CapSeek, om.CapStream, om.CapCancelDelay, om.CapGroupConfig, om.CapRedrive, om.CapFilter, om.CapRouting,
		om.CapNack, om.CapLease, om.CapDeadLetter, om.CapDeduplication, om.CapFencing, om.CapRequestReply, om.CapTransacted, om.CapTransaction} {
		all[string(c)] = func(t *trial) { t.probe(c, t.undeclared(t.Queue())[c]) }
	}
	for c, ask := range asking {
		all[string(c)] = func(t *trial) {
			q := t.Queue()
			m := message(q, "probe")
			ask(m)
			t.probe(c, map[string]func() error{
				"a message that asks for it":                                func() error { _, err := t.Producer().Send(t.ctx, m); return err },
				"a message that asks for it, given to the driver directly,": func() error { return t.sendRaw(m) },
			})
			t.Nothing(t.Pull([]string{q}), "what is not supported must not be stored")
		}
	}
	return all
}()

func unsupportedClass(t *trial) {
	q := t.Queue()
	for c, calls := range t.undeclared(q) {
		if !t.Has(c) {
			t.probe(c, calls)
		}
	}
}

// capabilityHonest checks that what is declared has its interface, found
// through wrappers too, and that the driver declares the same always.
func capabilityHonest(t *trial) {
	q := t.Queue()
	conn := t.openRaw()
	s, err := conn.NewSender(t.ctx, spi.SenderConfig{})
	t.NoError(err, "new sender of the driver")
	r, err := conn.NewReceiver(t.ctx, receiverConfig(q, t.Lease))
	t.NoError(err, "new receiver of the driver")
	t.Cleanup(func(ctx context.Context) {
		_ = s.Close(ctx)
		_ = r.Close(ctx)
	})
	for c, has := range map[om.Capability]bool{
		om.CapAddPartitions: implements[spi.PartitionAdder](conn), om.CapAdmin: implements[spi.Admin](conn), om.CapMetadata: implements[spi.Describer](conn), om.CapStats: implements[spi.StatsReader](conn), om.CapFind: implements[spi.Finder](conn), om.CapSeek: implements[spi.Seeker](conn) && implements[spi.Streamer](conn),
		om.CapStream: implements[spi.Streamer](conn), om.CapCancelDelay: implements[spi.DelayCanceler](conn), om.CapGroupConfig: implements[spi.GroupConfigurer](conn), om.CapRedrive: implements[spi.Redriver](conn), om.CapFilter: implements[spi.Filterer](conn), om.CapRouting: implements[spi.Router](conn),
		om.CapRequestReply: implements[spi.Admin](conn), om.CapTransacted: implements[spi.TransactedSender](s), om.CapTransaction: implements[spi.Transactor](s), om.CapNack: implements[spi.Nacker](r),
		om.CapAssigned: implements[spi.Assignee](r), om.CapLease: implements[spi.Leaser](r), om.CapDeadLetter: implements[spi.DeadLetterer](r),
	} {
		if t.Has(c) && !has {
			t.Errorf("capability %s is declared, but its interface is missing", c)
		}
	}
	known := make(map[om.Capability]bool)
	for _, c := range t.caps {
		if known[c] {
			t.Errorf("capability %s is declared twice", c)
		}
		known[c] = true
	}
	for _, c := range conn.Capabilities() {
		if !t.Has(c) {
			t.Errorf("capability %s is declared by one connection and not by another", c)
		}
	}
	equal(t, "capabilities of two connections", len(conn.Capabilities()), len(t.caps))
}

// implements reports whether v has T, through a wrapper as applications use them.
func implements[T any](v any) bool {
	_, ok := spi.As[T](wrapper{v})
	return ok
}

type wrapper struct{ v any }

func (w wrapper) Unwrap() any { return w.v }
