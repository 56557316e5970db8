package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Keys of state values.
const (
	keyIDs       = "ids"
	keyNamespace = "ns/" // + name
	keyQueue     = "q/"  // + queue id
	keyGroup     = "g/"  // + queue id, name
	keyProgress  = "p/"  // + queue id, partition, group name
	keyRoute     = "r/"  // + name
	keyCursors   = "rc/" // + route name
	keySetting   = "s/"  // + name
	keySlot      = "t/"  // + level, start
	keyDelayed   = "d/"  // + queue id
	keyEpoch     = "e/"  // + producer id
	keyHalf      = "x/"  // + transaction id
	keyHalfLog   = "h"
)

// idsRecord counts what must never be used twice.
type idsRecord struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Queue    uint64
	Log      uint64
	Epoch    uint32
	Open     bool // until the broker is closed in good order
}

func (r idsRecord) put(tx *transaction) { tx.batch.Put(keyIDs, encode(r)) }

// queueRecord is the stored form of a queue.
type queueRecord struct {
	ID          uint64       `msgpack:"id"`
	Namespace   string       `msgpack:"namespace"`
	Name        string       `msgpack:"name"`
	Partitions  int          `msgpack:"partitions"`
	FirstLog    uint64       `msgpack:"first_log"` // the logs of the first partitions have consecutive numbers; see growthRecord
	Created     int64        `msgpack:"created"`   // milliseconds since 1970 UTC
	Description string       `msgpack:"description,omitempty"`
	Filter      filterRecord `msgpack:"filter,omitempty"`
	Priorities  bool         `msgpack:"priorities,omitempty"` // messages with priorities were sent to it

	DeadLetterExpired bool                 `msgpack:"dead_letter_expired,omitempty"`
	Deduplication     *deduplicationRecord `msgpack:"deduplication,omitempty"`
	Check             om.TransactionCheck  `msgpack:"check,omitempty"` // durations in nanoseconds
	Growth            []growthRecord       `msgpack:"growth,omitempty"`
	Expires           int64                `msgpack:"expires,omitempty"` // milliseconds
	Used              int64                `msgpack:"used,omitempty"`    // milliseconds since 1970 UTC; of one that expires, see Queue.use
	Owner             string               `msgpack:"owner,omitempty"`   // of a reply queue
}

// deduplicationRecord is the stored form of om.Deduplication.
type deduplicationRecord struct {
	By     string `msgpack:"by"`
	Window int64  `msgpack:"window"` // milliseconds
	Log    uint64 `msgpack:"log"`    // of ids
}

// encode encodes a record; records always can be encoded.
func encode(v any) []byte {
	data, err := msgpack.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("bug: %T cannot be encoded: %v", v, err))
	}
	return data
}

// openBroker begins a new life of the broker.
type openBroker struct{}

func (*openBroker) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids.Epoch == 0 {
		b.namespaces[om.DefaultNamespace] = true
		tx.batch.Put(keyNamespace+om.DefaultNamespace, nil)
	}
	b.ids.Epoch++
	b.ids.Open = true
	b.epoch = b.ids.Epoch
	b.ids.put(tx)
	return nil
}

// closeBroker ends a life in good order.
type closeBroker struct{}

func (*closeBroker) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids.Open = false
	b.ids.put(tx)
	return nil
}

type createNamespace struct{ Name string }

func (c *createNamespace) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.namespaces[c.Name] {
		return om.NewError(om.CodeNamespaceExists, "create namespace", c.Name, "")
	}
	if len(b.namespaces) >= MaxNamespaces {
		return om.NewError(om.CodeMaxNamespaces, "create namespace", c.Name, "%d are the most; delete one that is not needed", MaxNamespaces)
	}
	b.namespaces[c.Name] = true
	tx.batch.Put(keyNamespace+c.Name, nil)
	return nil
}

type deleteNamespace struct{ Name string }

func (c *deleteNamespace) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.namespaces[c.Name] {
		return om.NewError(om.CodeNamespaceNotFound, "delete namespace", c.Name, "")
	}
	queues := 0
	for _, q := range b.queues {
		if q.record.Namespace == c.Name {
			queues++
		}
	}
	if queues > 0 {
		return om.NewError(om.CodeBadRequest, "delete namespace", c.Name, "it still has %d queues; delete them first", queues)
	}
	delete(b.namespaces, c.Name)
	tx.batch.Delete(keyNamespace + c.Name)
	return nil
}

type createQueue struct {
	Namespace, Name, Description string
	Partitions                   int
	DeadLetterExpired            bool
	Deduplication                om.Deduplication
	Check                        om.TransactionCheck
	Expires                      int64 // milliseconds
	Owner                        string
}

func (c *createQueue) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return c.create(b, tx)
}

// create creates the queue; Broker.mu is held.
func (c *createQueue) create(b *Broker, tx *transaction) error {
	full := om.JoinQueueName(c.Namespace, c.Name)
	switch {
	case !b.namespaces[c.Namespace]:
		return om.NewError(om.CodeNamespaceNotFound, "create queue", full, "create the namespace first")
	case b.queues[full] != nil:
		return om.NewError(om.CodeDestinationExists, "create queue", full, "")
	case len(b.queues) >= MaxQueues:
		return om.NewError(om.CodeMaxQueues, "create queue", full, "%d are the most; delete one that is not needed", MaxQueues)
	case om.IsReplyQueue(full) && b.replyQueues(c.Owner) >= MaxReplyQueues:
		return om.NewError(om.CodeMaxQueues, "create queue", full, "%d reply queues of one user are the most; close producers that are not needed, or wait until those of dead ones expire", MaxReplyQueues)
	}
	b.ids.Queue++
	r := queueRecord{
		ID: b.ids.Queue, Namespace: c.Namespace, Name: c.Name, Description: c.Description,
		Partitions: c.Partitions, FirstLog: b.ids.Log + 1, Created: tx.now, DeadLetterExpired: c.DeadLetterExpired, Check: c.Check,
		Expires: c.Expires, Owner: c.Owner,
	}
	if r.Expires > 0 {
		r.Used = tx.now
	}
	b.ids.Log += uint64(c.Partitions)
	for i := range c.Partitions {
		tx.batch.CreateLog(r.FirstLog + uint64(i))
	}
	b.ids.put(tx)
	if d := c.Deduplication; d.Window != 0 {
		r.Deduplication = &deduplicationRecord{By: d.By, Window: d.Window.Milliseconds(), Log: b.newLog(tx)}
	}
	tx.batch.Put(r.key(), encode(r))
	b.addQueue(r)
	return nil
}

func (r queueRecord) key() string { return fmt.Sprintf("%s%016x", keyQueue, r.ID) }

// delayedKey is of the number of the queue's delayed messages.
func (q *Queue) delayedKey() string { return fmt.Sprintf("%s%016x", keyDelayed, q.record.ID) }

type deleteQueue struct{ Queue string }

func (c *deleteQueue) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[c.Queue]
	if q == nil {
		return notFound("delete queue", c.Queue)
	}
	q.remove(tx)
	return nil
}

// remove deletes the queue with all that belongs to it; Broker.mu is held.
func (q *Queue) remove(tx *transaction) {
	b := q.b
	q.mu.Lock()
	q.deleted = true
	for _, g := range q.groups {
		g.remove(tx)
	}
	for _, r := range b.routes {
		if r.source == q || r.target == q {
			r.remove(tx)
		}
	}
	q.wakeReaders()
	q.mu.Unlock()
	for _, p := range q.list() {
		tx.batch.RemoveLog(p.log)
		delete(b.logs, p.log)
	}
	if d := q.record.Deduplication; d != nil {
		tx.batch.RemoveLog(d.Log)
	}
	delete(b.queues, q.name)
	b.forgetExpiring(q)
	tx.batch.Delete(q.record.key())
	tx.delays(q)
}

// addQueue makes the queue of a record known. b.mu is held or not needed yet.
func (b *Broker) addQueue(r queueRecord) *Queue {
	q := &Queue{
		b: b, record: r, name: om.JoinQueueName(r.Namespace, r.Name),
		groups:  make(map[string]*group),
		waiting: make(map[*group]bool),
		urgent:  r.Priorities,
	}
	q.partitions.Store(new([]*partition))
	for i := range r.Partitions {
		b.addPartition(q, r.log(i))
	}
	b.queues[q.name] = q
	b.addExpiring(q)
	return q
}

// resolve splits and checks a queue's name and returns its long form.
func resolve(op, name string) (namespace, queue, full string, err error) {
	namespace, queue = om.SplitQueueName(name, om.DefaultNamespace)
	if err := checkName(op, "namespace", namespace); err != nil {
		return "", "", "", err
	}
	if err := checkName(op, "queue", queue); err != nil {
		return "", "", "", err
	}
	return namespace, queue, om.JoinQueueName(namespace, queue), nil
}

// CreateNamespace creates a namespace.
func (b *Broker) CreateNamespace(ctx context.Context, name string) error {
	if err := checkName("create namespace", "namespace", name); err != nil {
		return err
	}
	return b.submit(ctx, &createNamespace{name})
}

// DeleteNamespace deletes a namespace without queues.
func (b *Broker) DeleteNamespace(ctx context.Context, name string) error {
	return b.submit(ctx, &deleteNamespace{name})
}

// Namespaces lists the namespaces, sorted.
func (b *Broker) Namespaces() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Sorted(maps.Keys(b.namespaces))
}

// CreateQueue creates a queue; the name is "queue" or "namespace://queue".
func (b *Broker) CreateQueue(ctx context.Context, c om.QueueConfig) error {
	return b.CreateQueueOf(ctx, "", c)
}

// CreateQueueOf is CreateQueue for a user. Only a reply queue keeps who made it.
func (b *Broker) CreateQueueOf(ctx context.Context, user string, c om.QueueConfig) error {
	namespace, name, full, err := resolve("create queue", c.Name)
	if err != nil {
		return err
	}
	if strings.Contains(name, "//") {
		return om.NewError(om.CodeBadParameter, "create queue", full, "%q is for dead-letter queues, which are made by the first dead letter", deadMark)
	}
	if c.Partitions == 0 {
		c.Partitions = 1
	}
	if c.Partitions < 0 || c.Partitions > MaxPartitions {
		return om.NewError(om.CodeBadParameter, "create queue", full, "%d partitions are not in 1 to %d", c.Partitions, MaxPartitions)
	}
	if len(c.Description) > MaxDescription {
		return om.NewError(om.CodeBadParameter, "create queue", full, "the description has %d bytes, %d are the most", len(c.Description), MaxDescription)
	}
	if err := checkDeduplication("create queue", full, &c.Deduplication); err != nil {
		return err
	}
	if _, err := checkTransaction("create queue", full, c.TransactionCheck); err != nil {
		return err
	}
	if err := checkExpires("create queue", full, c); err != nil {
		return err
	}
	if !om.IsReplyQueue(full) {
		user = ""
	}
	return b.submit(ctx, &createQueue{
		Namespace: namespace, Name: name, Partitions: c.Partitions, Description: c.Description, Deduplication: c.Deduplication, DeadLetterExpired: c.DeadLetterExpired,
		Check: c.TransactionCheck, Expires: c.Expires.Milliseconds(), Owner: user,
	})
}

// DeleteQueue deletes a queue with its messages and groups.
func (b *Broker) DeleteQueue(ctx context.Context, name string) error {
	_, _, full, err := resolve("delete queue", name)
	if err != nil {
		return err
	}
	return b.submit(ctx, &deleteQueue{full})
}

// Queue returns a queue by name.
func (b *Broker) Queue(op, name string) (*Queue, error) {
	namespace, _, full, err := resolve(op, name)
	if err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if q := b.queues[full]; q != nil {
		return q, nil
	}
	if !b.namespaces[namespace] {
		return nil, om.NewError(om.CodeNamespaceNotFound, op, full, "no namespace is named %q", namespace)
	}
	return nil, notFound(op, full)
}

// Queues lists the queues of a namespace, sorted by name.
func (b *Broker) Queues(namespace string) ([]*Queue, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if !b.namespaces[namespace] {
		return nil, om.NewError(om.CodeNamespaceNotFound, "list queues", namespace, "")
	}
	var out []*Queue
	for _, q := range b.queues {
		if q.record.Namespace == namespace {
			out = append(out, q)
		}
	}
	slices.SortFunc(out, func(a, b *Queue) int { return strings.Compare(a.name, b.name) })
	return out, nil
}
