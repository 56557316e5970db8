package broker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Config says how a broker is opened.
type Config struct {
	// Store says where the data lies and how much of it is kept.
	Store store.Options
	// Host is the store host that consumers are told. Default os.Hostname.
	Host string
	// Logger gets what concerns no single call. Default slog.Default().
	Logger *slog.Logger
	// OnCommit, when set, is told after each commit how many commands it held
	// and how long writing and syncing took. Commits wait for it.
	OnCommit func(commands int, took time.Duration)
}

// Broker is an open broker. All methods may be called concurrently.
type Broker struct {
	store   *store.Store
	host    string
	log     *slog.Logger
	commits *committer
	pending *semaphore.Weighted
	epoch   uint32 // how often the store was opened; fences receipts of earlier lives
	memory  bool
	told    func(commands int, took time.Duration) // of commits
	recent  recent                                 // the committer's own
	timers  *timers
	ahead   ahead
	halves  *halves
	expiry  *expiry

	mu         sync.RWMutex
	namespaces map[string]bool
	queues     map[string]*Queue // by "namespace://queue"
	logs       map[uint64]logOwner
	routes     map[string]*route
	settings   map[string]*setting
	ids        idsRecord

	epochsMu sync.RWMutex
	epochs   map[string]epochRecord // by producer id; only the committer changes it

	ctx    context.Context // of what runs in the background
	cancel context.CancelFunc

	closing sync.Once
	closed  chan struct{}
	done    sync.WaitGroup
}

// logOwner tells which partition a log of the store is.
type logOwner struct {
	queue     *Queue
	partition int
}

// Open opens the store and takes up its state. A new store has the namespace
// "default" and no queues.
func Open(cfg Config) (*Broker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Host == "" {
		cfg.Host, _ = os.Hostname()
	}
	if cfg.Host == "" {
		cfg.Host = "localhost"
	}
	cfg.Store.Logger = cfg.Logger
	st, err := store.Open(cfg.Store)
	if err != nil {
		return nil, storeError(err, "open", cfg.Store.Path)
	}
	b := &Broker{
		store: st, host: cfg.Host, log: cfg.Logger, memory: cfg.Store.Memory, told: cfg.OnCommit,
		pending:    semaphore.NewWeighted(pendingBytes),
		namespaces: make(map[string]bool),
		queues:     make(map[string]*Queue),
		logs:       make(map[uint64]logOwner),
		routes:     make(map[string]*route),
		settings:   make(map[string]*setting),
		epochs:     make(map[string]epochRecord),
		closed:     make(chan struct{}),
		timers:     newTimers(cfg.Store.RetainBytes),
		ahead:      ahead{first: make(map[*partition]firstHeld)},
		halves:     newHalves(cfg.Store.RetainBytes),
		expiry:     newExpiry(),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.commits = newCommitter(b)
	if err := b.load(); err != nil {
		b.cancel()
		return nil, errors.Join(storeError(err, "open", cfg.Store.Path), st.Close())
	}
	b.awaitAhead()
	b.suspect()
	b.done.Go(b.commits.run)
	if cfg.Store.RetainAge > 0 {
		b.done.Go(func() { b.tick(cfg.Store.RetainAge) })
	}
	if err := b.submit(context.Background(), &openBroker{}); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	for _, r := range b.routes {
		b.startRoute(r)
	}
	b.done.Go(func() { b.runMoves(b.ctx) })
	b.done.Go(func() { b.runTimers(b.ctx) })
	b.done.Go(func() { b.runChecks(b.ctx) })
	b.done.Go(func() { b.runExpiry(b.ctx) })
	return b, nil
}

// tick lets retention by age act while nothing is sent.
func (b *Broker) tick(age time.Duration) {
	t := time.NewTicker(min(max(age/16, time.Second), time.Minute))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.commits.enqueue(&pending{cmd: &retainTick{}})
		case <-b.closed:
			return
		}
	}
}

// Close ends all receivers, commits what was submitted, and closes the store.
// Closing twice is a no-op.
func (b *Broker) Close() (err error) {
	b.closing.Do(func() {
		b.mu.RLock()
		queues := slices.Collect(maps.Values(b.queues))
		b.mu.RUnlock()
		for _, q := range queues {
			q.closeReceivers()
		}
		b.commits.enqueue(&pending{cmd: &closeBroker{}})
		close(b.closed)
		b.cancel()
		b.commits.stop()
		b.done.Wait()
		for _, q := range queues {
			q.stopTimers()
		}
		err = storeError(b.store.Close(), "close", "")
	})
	return err
}

func (b *Broker) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

// Err returns why the broker accepts nothing any more, nil while it does.
func (b *Broker) Err() error { return storeError(b.store.Err(), "commit", "") }

// Ready returns why the broker accepts no messages now, nil when it does.
func (b *Broker) Ready() error {
	if err := b.Err(); err != nil {
		return err
	}
	return storeError(b.store.Room(0, false), "send", "")
}

// Stored returns about how many bytes the store takes up.
func (b *Broker) Stored() int64 { return b.store.Size() }

// Free returns the bytes that are free where the store lies, and the reserve
// below which messages are refused. Both are 0 in memory.
func (b *Broker) Free() (free, reserve int64, err error) {
	free, reserve, err = b.store.Free()
	return free, reserve, storeError(err, "free", "")
}

// Host returns the store host that consumers are told.
func (b *Broker) Host() string { return b.host }

// StoreID returns the identity of the store, empty in memory.
func (b *Broker) StoreID() string { return b.store.ID() }

// Capabilities returns what the broker does beyond the core. It is durable
// unless it lies in memory.
func (b *Broker) Capabilities() om.Capabilities {
	all := om.Capabilities{
		om.CapPersistent,
		om.CapAddPartitions, om.CapAdmin, om.CapAssigned, om.CapBroadcast, om.CapCancelDelay, om.CapCompression, om.CapDeadLetter, om.CapDeduplication, om.CapDelay, om.CapDeliveryCount, om.CapExpire, om.CapExtIDs, om.CapFencing, om.CapFilter, om.CapFind, om.CapGroupConfig, om.CapLease, om.CapLimits, om.CapMetadata,
		om.CapNack, om.CapNested, om.CapOrderKey, om.CapPartitions, om.CapPriority, om.CapQoS1, om.CapQoS2, om.CapRedrive, om.CapRequestReply, om.CapRouting, om.CapSeek, om.CapStats, om.CapStoreInfo, om.CapStream,
		om.CapTransacted, om.CapTransaction,
	}
	if b.memory {
		return all[1:]
	}
	return all
}

// Ping makes an empty commit and so tells whether the broker can store.
func (b *Broker) Ping(ctx context.Context) error { return b.submit(ctx, &ping{}) }

// submit has a command applied and committed and waits for that. When ctx ends
// first the command may still be applied.
func (b *Broker) submit(ctx context.Context, cmd command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return await(ctx, []*pending{b.commits.submit(cmd)})
}

// await waits for commands and returns the first error.
func await(ctx context.Context, waits []*pending) (err error) {
	for _, p := range waits {
		select {
		case e := <-p.done:
			err = cmp.Or(err, e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// storeError gives an error of the store a status code.
func storeError(err error, op, resource string) error {
	var e *om.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	code := om.CodeStorageError
	switch {
	case errors.Is(err, store.ErrCorrupt):
		code = om.CodeStorageCorrupt
	case errors.Is(err, store.ErrFull):
		code = om.CodeStorageBusy
	case errors.Is(err, store.ErrClosed):
		code = om.CodeClosed
	case errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrFormat):
		code = om.CodeDriverUnavailable
	}
	return om.NewError(code, op, resource, "%w", err)
}

var errClosed = om.NewError(om.CodeClosed, "broker", "", "the broker is closed")
