package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// checkName holds the rules of names: 1 to MaxNameLength of the letters,
// digits and . _ - % | / ~ $, without "//", and for namespaces without "/".
func checkName(op, what, name string) error {
	bad := func(why string) error {
		return om.NewError(om.CodeBadParameter, op, name, "the %s's name %s; names are 1 to %d letters, digits and . _ - %% | / ~ $", what, why, MaxNameLength)
	}
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > MaxNameLength:
		return bad(fmt.Sprintf("has %d bytes", len(name)))
	case strings.Contains(name, "//"), what == "namespace" && strings.Contains(name, "/"):
		return bad(`holds a "/" where none may be`)
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-%|/~$", c) {
			return bad(fmt.Sprintf("holds %q", c))
		}
	}
	return nil
}

// queue returns the queue with a name.
func (s *System) queue(op, name string) (*queue, error) {
	namespace, short := om.SplitQueueName(name, om.DefaultNamespace)
	if q := s.queues[om.JoinQueueName(namespace, short)]; q != nil {
		return q, nil
	}
	if !s.namespaces[namespace] {
		return nil, noNamespace(op, name, namespace)
	}
	return nil, om.NewError(om.CodeDestinationNotFound, op, name, "no queue of that name is there; create it first")
}

func noNamespace(op, resource, namespace string) error {
	return om.NewError(om.CodeNamespaceNotFound, op, resource, "no namespace is named %q; create it first", namespace)
}

func (s *System) createQueue(c om.QueueConfig) error {
	const op = "create queue"
	namespace, name := om.SplitQueueName(c.Name, om.DefaultNamespace)
	c.Name = om.JoinQueueName(namespace, name)
	if err := checkName(op, "namespace", namespace); err != nil {
		return err
	}
	if err := checkName(op, "queue", name); err != nil {
		return err
	}
	if c.Partitions == 0 {
		c.Partitions = 1
	}
	if c.DeadLetterExpired {
		for _, needs := range []om.Capability{om.CapDeadLetter, om.CapExpire} {
			if err := s.need(needs, op, c.Name); err != nil {
				return err
			}
		}
	}
	if c.Partitions > 1 {
		if err := s.need(om.CapPartitions, op, c.Name); err != nil {
			return err
		}
	}
	if d := &c.Deduplication; *d != (om.Deduplication{}) {
		if err := s.need(om.CapDeduplication, op, c.Name); err != nil {
			return err
		}
		if d.Window <= 0 {
			return om.NewError(om.CodeBadParameter, op, c.Name, "the window %v of deduplication is not positive", d.Window)
		}
		if d.By == "" {
			d.By = om.PropertyDeduplicationID
		}
	}
	if err := s.checkExpires(op, c); err != nil {
		return err
	}
	switch {
	case c.Partitions < 0 || c.Partitions > MaxPartitions:
		return om.NewError(om.CodeBadParameter, op, c.Name, "%d partitions are not in 1 to %d", c.Partitions, MaxPartitions)
	case len(c.Description) > MaxDescription:
		return om.NewError(om.CodeBadParameter, op, c.Name, "the description has %d bytes, %d are the most", len(c.Description), MaxDescription)
	case !s.namespaces[namespace]:
		return noNamespace(op, c.Name, namespace)
	case s.queues[c.Name] != nil:
		return om.NewError(om.CodeDestinationExists, op, c.Name, "choose another name, or use the queue that is there")
	}
	s.addQueue(c)
	return nil
}

func (c *conn) CreateNamespace(ctx context.Context, name string) error {
	const op = "create namespace"
	if err := c.begin(ctx, om.CapAdmin, op, name); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if err := checkName(op, "namespace", name); err != nil {
		return err
	}
	if c.s.namespaces[name] {
		return om.NewError(om.CodeNamespaceExists, op, name, "choose another name, or use the namespace that is there")
	}
	c.s.namespaces[name] = true
	return nil
}

func (c *conn) DeleteNamespace(ctx context.Context, name string) error {
	const op = "delete namespace"
	if err := c.begin(ctx, om.CapAdmin, op, name); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if !c.s.namespaces[name] {
		return noNamespace(op, name, name)
	}
	if n := len(c.s.queuesOf(name)); n > 0 {
		return om.NewError(om.CodeBadParameter, op, name, "it still has %d queues; delete them first", n)
	}
	delete(c.s.namespaces, name)
	return nil
}

func (c *conn) Namespaces(ctx context.Context) ([]string, error) {
	if err := c.begin(ctx, om.CapAdmin, "list namespaces", ""); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	return slices.Sorted(maps.Keys(c.s.namespaces)), nil
}

func (c *conn) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	if err := c.begin(ctx, om.CapAdmin, "create queue", q.Name); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	return c.s.createQueue(q)
}

func (c *conn) DeleteQueue(ctx context.Context, name string) error {
	q, err := c.beginQueue(ctx, om.CapAdmin, "delete queue", name)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	q.remove()
	return nil
}

func (c *conn) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	q, err := c.beginQueue(ctx, om.CapAdmin, "describe queue", name)
	if err != nil {
		return om.QueueConfig{}, err
	}
	defer c.s.mu.Unlock()
	return q.config, nil
}

func (c *conn) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	const op = "list queues"
	if err := c.begin(ctx, om.CapAdmin, op, namespace); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	if !c.s.namespaces[namespace] {
		return nil, noNamespace(op, namespace, namespace)
	}
	return c.s.queuesOf(namespace), nil
}

func (s *System) queuesOf(namespace string) []om.QueueConfig {
	var out []om.QueueConfig
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if n, _ := om.SplitQueueName(name, ""); n == namespace {
			out = append(out, s.queues[name].config)
		}
	}
	return out
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	const op = "delete group"
	q, err := c.beginQueue(ctx, om.CapAdmin, op, queue)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	g := q.groups[group]
	if g == nil {
		return om.NewError(om.CodeGroupNotFound, op, queue, "the queue knows no group %q", group)
	}
	g.shut(&ending{om.CodeGroupNotFound, "the group has been deleted"})
	delete(q.groups, group)
	c.s.wake()
	return nil
}
