// Package catalog is [spi.Admin] but groups for drivers of systems without
// namespaces: it holds the rules of names, namespaces and queues, and needs of
// the system only that it keeps entries.
package catalog

import (
	"cmp"
	"context"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Entry is a namespace, or a queue in one.
type Entry struct {
	Namespace string // never empty
	Queue     string // the queue's own name; empty for a namespace
	om.QueueConfig
}

// Store keeps entries. The default namespace is always there and never an entry.
type Store interface {
	// Make makes an entry; one that is there already gives CodeDestinationExists.
	Make(ctx context.Context, e Entry) error
	// Remove deletes an entry, of which the names are given; one that is not
	// there gives CodeDestinationNotFound.
	Remove(ctx context.Context, e Entry) error
	// Find returns an entry, of which the names are given; one that is not
	// there gives CodeDestinationNotFound.
	Find(ctx context.Context, e Entry) (Entry, error)
	// List returns the queues of a namespace, or for "" all namespaces, in any
	// order.
	List(ctx context.Context, namespace string) ([]Entry, error)
}

// Admin has all methods of spi.Admin but DeleteGroup. Embed it in the connection.
// Queues that it returns carry the long form of their name.
type Admin struct {
	Store Store
	// Errors tells the codes of the Store's errors where these are not of
	// *openmessaging.Error; nil where they are.
	Errors spi.Classifier
	// MaxPartitions is how many a queue may have; 0 is 1.
	MaxPartitions int
}

// is reports whether err has a code.
func (a *Admin) is(err error, code om.Code) bool {
	if err == nil || om.CodeOf(err) == code {
		return err != nil
	}
	return a.Errors != nil && a.Errors.Classify(err) == code
}

// CreateNamespace implements spi.Admin.
func (a *Admin) CreateNamespace(ctx context.Context, name string) error {
	const op = "create namespace"
	err := spi.CheckName(op, "namespace", name)
	if err == nil && name != om.DefaultNamespace {
		err = a.Store.Make(ctx, Entry{Namespace: name})
	}
	if name == om.DefaultNamespace || a.is(err, om.CodeDestinationExists) {
		return om.NewError(om.CodeNamespaceExists, op, name, "choose another name, or use the namespace that is there")
	}
	return err
}

// space checks that a namespace is there.
func (a *Admin) space(ctx context.Context, op, name string) error {
	if name == om.DefaultNamespace {
		return ctx.Err()
	}
	_, err := a.Store.Find(ctx, Entry{Namespace: name})
	if a.is(err, om.CodeDestinationNotFound) {
		return om.NewError(om.CodeNamespaceNotFound, op, name, "create it first")
	}
	return err
}

// DeleteNamespace implements spi.Admin.
func (a *Admin) DeleteNamespace(ctx context.Context, name string) error {
	const op = "delete namespace"
	queues, err := a.Queues(ctx, name)
	switch {
	case err != nil:
		return err
	case name == om.DefaultNamespace:
		return om.NewError(om.CodeBadParameter, op, name, "the default namespace stays")
	case len(queues) > 0:
		return om.NewError(om.CodeBadParameter, op, name, "it has %d queues; delete them first", len(queues))
	}
	return a.Store.Remove(ctx, Entry{Namespace: name})
}

// Namespaces implements spi.Admin.
func (a *Admin) Namespaces(ctx context.Context) ([]string, error) {
	found, err := a.Store.List(ctx, "")
	if err != nil {
		return nil, err
	}
	names := []string{om.DefaultNamespace}
	for _, e := range found {
		names = append(names, e.Namespace)
	}
	slices.Sort(names)
	return names, nil
}

// Queue returns the entry of a queue's name, of which it knows no more than the
// long form of its name. A name that names no queue gives
// CodeDestinationNotFound.
func Queue(op, name string) (e Entry, err error) {
	e.Namespace, e.Queue = om.SplitQueueName(name, om.DefaultNamespace)
	e.Name = om.JoinQueueName(e.Namespace, e.Queue)
	if e.Namespace == "" || e.Queue == "" {
		err = om.NewError(om.CodeDestinationNotFound, op, name, "there is no such queue; a name is queue, or namespace://queue")
	}
	return e, err
}

// CreateQueue implements spi.Admin.
func (a *Admin) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	const op = "create queue"
	e, _ := Queue(op, q.Name)
	if err := cmp.Or(spi.CheckName(op, "namespace", e.Namespace), spi.CheckName(op, "queue", e.Queue)); err != nil {
		return err
	}
	long := e.Name
	e.QueueConfig = q
	e.Name, e.Partitions = long, cmp.Or(q.Partitions, 1)
	if most := cmp.Or(a.MaxPartitions, 1); e.Partitions < 0 || e.Partitions > most {
		return om.NewError(om.CodeBadParameter, op, q.Name, "%d partitions are not in 1 to %d", e.Partitions, most)
	}
	if err := a.space(ctx, op, e.Namespace); err != nil {
		return err
	}
	return a.Store.Make(ctx, e)
}

// DeleteQueue implements spi.Admin.
func (a *Admin) DeleteQueue(ctx context.Context, name string) error {
	e, err := Queue("delete queue", name)
	if err != nil {
		return err
	}
	return a.Store.Remove(ctx, e)
}

// Queue implements spi.Admin.
func (a *Admin) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	e, err := Queue("describe queue", name)
	if err == nil {
		e, err = a.Store.Find(ctx, e)
	}
	return e.QueueConfig, err
}

// Queues implements spi.Admin.
func (a *Admin) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	if err := a.space(ctx, "list queues", namespace); err != nil {
		return nil, err
	}
	found, err := a.Store.List(ctx, namespace)
	if err != nil {
		return nil, err
	}
	queues := make([]om.QueueConfig, len(found))
	for i, e := range found {
		queues[i] = e.QueueConfig
	}
	slices.SortFunc(queues, func(a, b om.QueueConfig) int { return cmp.Compare(a.Name, b.Name) })
	return queues, nil
}
