package memory

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Limits of the system, in bytes where nothing else is said. What is over them
// is refused with the status code named; without CapLimits there are none for
// messages.
const (
	MaxBody        = 4 << 20   // of a message, not compressed; CodeBodyTooLarge
	MaxProperties  = 256 << 10 // of a message, by Properties.Size; CodePropertiesTooLarge
	MaxHeader      = 64 << 10  // the texts in the headers of a message; CodeHeaderTooLarge
	MaxPartitions  = 1024      // partitions of a queue; CodeBadParameter
	MaxNameLength  = 255       // of names; CodeBadParameter
	MaxExpression  = 16 << 10  // of filters; CodeBadParameter
	MaxDescription = 4 << 10   // of a queue's description; CodeBadParameter
)

// Defaults of options.
const (
	DefaultMaxDeliveries      = 16
	DefaultTransactionTimeout = 5 * time.Second
)

// StoreHost is the host that stored messages name.
const StoreHost = "memory"

// defaults are the capabilities that a System has when it is not told which.
var defaults = om.Capabilities{
	om.CapAddPartitions, om.CapAdmin, om.CapAssigned, om.CapBroadcast, om.CapCancelDelay, om.CapCompression, om.CapDeduplication, om.CapDelay, om.CapDeadLetter, om.CapDeliveryCount, om.CapExpire, om.CapExtIDs,
	om.CapFencing, om.CapFilter, om.CapFind, om.CapGroupConfig, om.CapLease, om.CapLimits, om.CapMetadata, om.CapNack, om.CapNested, om.CapOrderKey, om.CapPartitions,
	om.CapPersistent, om.CapPriority, om.CapQoS1, om.CapQoS2, om.CapRedrive, om.CapRequestReply, om.CapRouting, om.CapSeek, om.CapStats,
	om.CapStoreInfo, om.CapStream, om.CapTransacted, om.CapTransaction,
}

// System is a messaging system in memory. It outlives its connections: a
// message that was sent and not acknowledged is still there after all of them
// have been closed. Its methods may be called concurrently.
type System struct {
	caps          om.Capabilities
	accounts      map[string]account // by id
	maxDeliveries int
	txTimeout     time.Duration
	prefix        string // of all ids

	mu           sync.Mutex    // guards all below and whatever belongs to the system
	changed      chan struct{} // closed by the next change; nil while nobody waits
	events       events
	lastEvent    uint64
	lastID       uint64
	stalls       int
	conns        map[*conn]bool
	namespaces   map[string]bool
	queues       map[string]*queue       // by long name
	routes       map[string]*route       // by name
	transactions map[string]*transaction // by id
	epochs       map[string]int          // by producer id
}

type account struct {
	key      string
	readOnly bool
}

// Option sets something for [New].
type Option func(*settings)

type settings struct {
	system *System
	queues []om.QueueConfig
}

// WithCapabilities has the system declare and do only these capabilities;
// without it, it has all but atomic-batch, which contradicts outcomes for
// each message (G27). CapAuth is decided by [WithAccount] alone. Without
// CapPersistent, Restart and Kill lose all messages, transactions and groups,
// but no queues.
func WithCapabilities(c ...om.Capability) Option {
	return func(s *settings) { s.system.caps = slices.Clone(c) }
}

// WithAccount lets only connections with the credentials of an account open;
// others get CodeUnauthorized. It brings CapAuth with it and may be repeated.
func WithAccount(id, key string) Option {
	return func(s *settings) { s.system.accounts[id] = account{key: key} }
}

// WithReadOnlyAccount is WithAccount for an account that may not send: it gets
// CodeForbidden, and nothing is stored.
func WithReadOnlyAccount(id, key string) Option {
	return func(s *settings) { s.system.accounts[id] = account{key: key, readOnly: true} }
}

// WithMaxDeliveries sets how often a group may be given a message. When the
// last of these deliveries ends without acknowledgement the message moves to
// the group's [openmessaging.DeadLetterQueue]. Default [DefaultMaxDeliveries]; 0 is without
// end. It needs CapDeadLetter.
func WithMaxDeliveries(n int) Option {
	return func(s *settings) { s.system.maxDeliveries = n }
}

// WithTransactionTimeout sets how long a transaction may stay open before the
// checker is asked, and asked again. Default [DefaultTransactionTimeout].
func WithTransactionTimeout(d time.Duration) Option {
	return func(s *settings) { s.system.txTimeout = d }
}

// WithQueues has the system begin with these queues, for tests without
// CapAdmin. The namespaces are made too. New panics when a configuration is
// refused.
func WithQueues(qs ...om.QueueConfig) Option {
	return func(s *settings) { s.queues = append(s.queues, qs...) }
}

// New returns a system with the namespace "default" and no queues.
func New(opts ...Option) *System {
	s := &System{
		caps: slices.Clone(defaults), accounts: map[string]account{},
		maxDeliveries: DefaultMaxDeliveries, txTimeout: DefaultTransactionTimeout, prefix: rand.Text(),
		conns:      map[*conn]bool{},
		namespaces: map[string]bool{om.DefaultNamespace: true},
		queues:     map[string]*queue{}, routes: map[string]*route{},
		transactions: map[string]*transaction{}, epochs: map[string]int{},
	}
	set := settings{system: s}
	for _, o := range opts {
		o(&set)
	}
	s.caps = slices.DeleteFunc(s.caps, func(c om.Capability) bool { return c == om.CapAuth })
	if len(s.accounts) > 0 {
		s.caps = append(s.caps, om.CapAuth)
	}
	for _, c := range set.queues {
		namespace, _ := om.SplitQueueName(c.Name, om.DefaultNamespace)
		s.namespaces[namespace] = true
		if err := s.createQueue(c); err != nil {
			panic(err)
		}
	}
	return s
}

// Driver returns a driver of that name whose connections lead to the system.
// It knows no URL options; hosts and region are not looked at.
func (s *System) Driver(name string) spi.Driver { return &driver{s, name} }

// Restart ends all connections, which from then on give CodeServiceUnavailable
// until they are closed. Leases end with them and what was not settled is
// delivered again; see [WithCapabilities] for a system that is not persistent.
// When it returns the system can be opened again.
func (s *System) Restart(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(time.Now())
	for c := range s.conns {
		c.shut(&ending{om.CodeServiceUnavailable, "the system was restarted; open a new connection"})
	}
	for _, q := range s.queues {
		q.beginCounting()
	}
	if !s.caps.Has(om.CapPersistent) {
		s.forget()
	}
	return nil
}

// Kill is Restart without warning. Since every call is done at once or not
// at all, nobody can tell the two apart.
func (s *System) Kill(ctx context.Context) error { return s.Restart(ctx) }

// Stall holds back every Send, Prepare, Commit and Rollback, before it
// has any effect, until resume is called or the call's context ends.
// Everything else goes on. Stalls add up; a second call of resume does nothing.
func (s *System) Stall(ctx context.Context) (resume func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalls++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stalls--
		s.wake()
	}), nil
}

func (s *System) flowing() bool { return s.stalls == 0 }

// forget loses what is not durable in a system without persistence. Offsets
// go on where they were (G34).
func (s *System) forget() {
	s.events = nil
	clear(s.transactions)
	for _, q := range s.queues {
		clear(q.groups)
		for _, p := range q.parts {
			p.begin, p.log = p.end(), nil
		}
	}
}

// newID returns an id that no System gives twice.
func (s *System) newID() string {
	s.lastID++
	return fmt.Sprintf("%s-%d", s.prefix, s.lastID)
}

// need refuses what belongs to a capability that is not declared.
func (s *System) need(c om.Capability, op, resource string) error {
	if s.caps.Has(c) {
		return nil
	}
	return om.NewError(om.CodeUnsupported, op, resource, "the system does not declare the capability %q", string(c))
}
