package oms

import (
	"context"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// resources implements openmessaging.Resources in the scope of one namespace.
type resources struct {
	ap        *accessPoint
	namespace string // empty for the default namespace
}

func (r *resources) Namespace(name string) om.Resources { return &resources{r.ap, name} }

// full returns the driver's name of a queue: that of the caller in the default
// namespace, "namespace://queue" in another.
func (r *resources) full(queue string) string {
	if r.namespace == "" || queue == "" {
		return queue
	}
	return om.JoinQueueName(om.SplitQueueName(queue, r.namespace))
}

// power finds an optional interface of the connection behind its capability.
func power[T any](ctx context.Context, a *accessPoint, op, resource string, c om.Capability, iface string) (T, error) {
	var none T
	if err := a.ready(ctx, op, resource); err != nil {
		return none, err
	}
	if !a.caps.Has(c) {
		return none, unsupported(op, resource, c)
	}
	t, ok := spi.As[T](a.conn)
	if !ok {
		return none, notHonest(op, resource, c, iface)
	}
	return t, nil
}

func (r *resources) admin(ctx context.Context, op, resource string) (spi.Admin, error) {
	return power[spi.Admin](ctx, r.ap, op, resource, om.CapAdmin, "Admin")
}

func (r *resources) describer(ctx context.Context, op, queue string) (spi.Describer, error) {
	return power[spi.Describer](ctx, r.ap, op, queue, om.CapMetadata, "Describer")
}

func (r *resources) router(ctx context.Context, op, name string) (spi.Router, error) {
	return power[spi.Router](ctx, r.ap, op, name, om.CapRouting, "Router")
}

// do calls the driver and wraps its error.
func (r *resources) do(err error, op, resource string, call func() error) error {
	if err != nil {
		return err
	}
	return r.ap.errs.wrap(call(), op, resource)
}

func (r *resources) CreateNamespace(ctx context.Context, name string) error {
	a, err := r.admin(ctx, "create namespace", name)
	return r.do(err, "create namespace", name, func() error { return a.CreateNamespace(ctx, name) })
}

func (r *resources) DeleteNamespace(ctx context.Context, name string) error {
	a, err := r.admin(ctx, "delete namespace", name)
	return r.do(err, "delete namespace", name, func() error { return a.DeleteNamespace(ctx, name) })
}

func (r *resources) Namespaces(ctx context.Context) (names []string, err error) {
	a, err := r.admin(ctx, "list namespaces", "")
	err = r.do(err, "list namespaces", "", func() (err error) { names, err = a.Namespaces(ctx); return })
	return names, err
}

func (r *resources) CreateQueue(ctx context.Context, c om.QueueConfig) error {
	const op = "create queue"
	c.Name = r.full(c.Name)
	a, err := r.admin(ctx, op, c.Name)
	if err == nil && c.Name == "" {
		err = badParameter(op, "", "the queue has no name")
	}
	for _, needs := range []om.Capability{om.CapExpire, om.CapDeadLetter} {
		if err == nil && c.DeadLetterExpired && !r.ap.caps.Has(needs) {
			err = unsupported(op, c.Name, needs)
		}
	}
	if err == nil && c.Deduplication != (om.Deduplication{}) && !r.ap.caps.Has(om.CapDeduplication) {
		err = unsupported(op, c.Name, om.CapDeduplication)
	}
	if err == nil && c.TransactionCheck != (om.TransactionCheck{}) && !r.ap.caps.Has(om.CapTransaction) {
		err = unsupported(op, c.Name, om.CapTransaction)
	}
	if err == nil && c.Expires != 0 && !r.ap.caps.Has(om.CapRequestReply) {
		err = unsupported(op, c.Name, om.CapRequestReply)
	}
	if err == nil && c.Partitions < 0 {
		err = badParameter(op, c.Name, "%d partitions; it must be positive, or 0 for 1", c.Partitions)
	}
	return r.do(err, op, c.Name, func() error { return a.CreateQueue(ctx, c) })
}

func (r *resources) DeleteQueue(ctx context.Context, name string) error {
	name = r.full(name)
	a, err := r.admin(ctx, "delete queue", name)
	return r.do(err, "delete queue", name, func() error { return a.DeleteQueue(ctx, name) })
}

func (r *resources) AddPartitions(ctx context.Context, queue string, total int) error {
	const op = "add partitions"
	queue = r.full(queue)
	a, err := power[spi.PartitionAdder](ctx, r.ap, op, queue, om.CapAddPartitions, "PartitionAdder")
	if err == nil && total < 1 {
		err = badParameter(op, queue, "%d partitions in all; it must be more than there are", total)
	}
	return r.do(err, op, queue, func() error { return a.AddPartitions(ctx, queue, total) })
}

func (r *resources) Queue(ctx context.Context, name string) (c om.QueueConfig, err error) {
	name = r.full(name)
	a, err := r.admin(ctx, "describe queue", name)
	err = r.do(err, "describe queue", name, func() (err error) { c, err = a.Queue(ctx, name); return })
	return c, err
}

func (r *resources) Queues(ctx context.Context) (qs []om.QueueConfig, err error) {
	namespace := r.namespace
	if namespace == "" {
		namespace = om.DefaultNamespace
	}
	a, err := r.admin(ctx, "list queues", namespace)
	err = r.do(err, "list queues", namespace, func() (err error) { qs, err = a.Queues(ctx, namespace); return })
	return qs, err
}

func (r *resources) DeleteGroup(ctx context.Context, queue, group string) error {
	queue = r.full(queue)
	a, err := r.admin(ctx, "delete group", queue)
	return r.do(err, "delete group", queue, func() error { return a.DeleteGroup(ctx, queue, group) })
}

func (r *resources) Partitions(ctx context.Context, queue string) (ps []om.PartitionInfo, err error) {
	queue = r.full(queue)
	d, err := r.describer(ctx, "list partitions", queue)
	err = r.do(err, "list partitions", queue, func() (err error) { ps, err = d.Partitions(ctx, queue); return })
	return ps, err
}

func (r *resources) Groups(ctx context.Context, queue string) (gs []om.GroupInfo, err error) {
	queue = r.full(queue)
	d, err := r.describer(ctx, "list groups", queue)
	err = r.do(err, "list groups", queue, func() (err error) { gs, err = d.Groups(ctx, queue); return })
	return gs, err
}

func (r *resources) Stats(ctx context.Context, queues ...string) (stats []om.QueueStats, err error) {
	const op = "read statistics"
	namespace := r.namespace
	if namespace == "" {
		namespace = om.DefaultNamespace
	}
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = r.full(q)
	}
	s, err := power[spi.StatsReader](ctx, r.ap, op, namespace, om.CapStats, "StatsReader")
	err = r.do(err, op, namespace, func() (err error) { stats, err = s.Stats(ctx, namespace, names); return })
	return stats, err
}

func (r *resources) FindMessages(ctx context.Context, queue string, q om.MessageQuery) (page om.MessagePage, err error) {
	const op = "find"
	queue = r.full(queue)
	f, err := power[spi.Finder](ctx, r.ap, op, queue, om.CapFind, "Finder")
	if err == nil && q.Delayed && !r.ap.caps.Has(om.CapDelay) {
		err = unsupported(op, queue, om.CapDelay)
	}
	if err == nil && q.DeadFor != "" && !r.ap.caps.Has(om.CapDeadLetter) {
		err = unsupported(op, queue, om.CapDeadLetter)
	}
	var found []spi.Received
	err = r.do(err, op, queue, func() (err error) { found, page.Next, err = f.FindMessages(ctx, queue, q); return })
	ds := unsettled(found)
	for i := range ds {
		page.Messages = append(page.Messages, &ds[i])
	}
	return page, err
}

func (r *resources) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	queue = r.full(queue)
	s, err := power[spi.Seeker](ctx, r.ap, "seek group", queue, om.CapSeek, "Seeker")
	return r.do(err, "seek group", queue, func() error { return s.SeekGroup(ctx, queue, group, p) })
}

func (r *resources) SetFilter(ctx context.Context, queue string, f om.Filter) error {
	queue = r.full(queue)
	s, err := power[spi.Filterer](ctx, r.ap, "set filter", queue, om.CapFilter, "Filterer")
	return r.do(err, "set filter", queue, func() error { return s.SetFilter(ctx, queue, f) })
}

func (r *resources) transactions(ctx context.Context, op, resource string) (spi.TransactionAdmin, error) {
	return power[spi.TransactionAdmin](ctx, r.ap, op, resource, om.CapTransaction, "TransactionAdmin")
}

func (r *resources) Transactions(ctx context.Context, queue string, max int) (list []om.TransactionInfo, err error) {
	queue = r.full(queue)
	a, err := r.transactions(ctx, "list transactions", queue)
	err = r.do(err, "list transactions", queue, func() (err error) { list, err = a.Transactions(ctx, queue, max); return })
	return list, err
}

func (r *resources) Transaction(ctx context.Context, id string) (t om.TransactionInfo, err error) {
	a, err := r.transactions(ctx, "show transaction", id)
	err = r.do(err, "show transaction", id, func() (err error) { t, err = a.Transaction(ctx, id); return })
	return t, err
}

func (r *resources) EndTransaction(ctx context.Context, id string, verdict om.TxVerdict) error {
	const op = "end transaction"
	a, err := r.transactions(ctx, op, id)
	if err == nil && verdict != om.TxCommit && verdict != om.TxRollback {
		err = badParameter(op, id, "the verdict %d is neither commit nor rollback", verdict)
	}
	return r.do(err, op, id, func() error { return a.EndTransaction(ctx, id, verdict) })
}

func (r *resources) configurer(ctx context.Context, op, queue string) (spi.GroupConfigurer, error) {
	return power[spi.GroupConfigurer](ctx, r.ap, op, queue, om.CapGroupConfig, "GroupConfigurer")
}

func (r *resources) ConfigureGroup(ctx context.Context, queue, group string, c om.GroupConfig) error {
	queue = r.full(queue)
	s, err := r.configurer(ctx, "configure group", queue)
	return r.do(err, "configure group", queue, func() error { return s.ConfigureGroup(ctx, queue, group, c) })
}

func (r *resources) Group(ctx context.Context, queue, group string) (c om.GroupConfig, err error) {
	queue = r.full(queue)
	s, err := r.configurer(ctx, "describe group", queue)
	err = r.do(err, "describe group", queue, func() (err error) { c, err = s.Group(ctx, queue, group); return })
	return c, err
}

func (r *resources) Redrive(ctx context.Context, queue, group string, m om.Redrive) (out []om.Redriven, err error) {
	const op = "redrive"
	queue = r.full(queue)
	s, err := power[spi.Redriver](ctx, r.ap, op, queue, om.CapRedrive, "Redriver")
	err = r.do(err, op, queue, func() (err error) { out, err = s.Redrive(ctx, queue, group, m); return })
	for i := range out {
		out[i].Err = r.ap.errs.wrap(out[i].Err, op, queue)
	}
	return out, err
}

func (r *resources) CancelDelayed(ctx context.Context, queue, messageID string) error {
	queue = r.full(queue)
	s, err := power[spi.DelayCanceler](ctx, r.ap, "cancel", queue, om.CapCancelDelay, "DelayCanceler")
	return r.do(err, "cancel", queue, func() error { return s.CancelDelayed(ctx, queue, messageID) })
}

func (r *resources) CreateRoute(ctx context.Context, c om.RouteConfig) error {
	c.Source, c.Target = r.full(c.Source), r.full(c.Target)
	s, err := r.router(ctx, "create route", c.Name)
	return r.do(err, "create route", c.Name, func() error { return s.CreateRoute(ctx, c) })
}

func (r *resources) UpdateRoute(ctx context.Context, c om.RouteConfig) error {
	c.Source, c.Target = r.full(c.Source), r.full(c.Target)
	s, err := r.router(ctx, "update route", c.Name)
	return r.do(err, "update route", c.Name, func() error { return s.UpdateRoute(ctx, c) })
}

func (r *resources) DeleteRoute(ctx context.Context, name string) error {
	s, err := r.router(ctx, "delete route", name)
	return r.do(err, "delete route", name, func() error { return s.DeleteRoute(ctx, name) })
}

func (r *resources) Routes(ctx context.Context) (rs []om.RouteConfig, err error) {
	s, err := r.router(ctx, "list routes", "")
	err = r.do(err, "list routes", "", func() (err error) { rs, err = s.Routes(ctx); return })
	return rs, err
}
