package auth

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// GateConfig bounds what those who have not logged in may take. Zero fields
// mean the defaults.
type GateConfig struct {
	Pending           int           // connections without a login, of all addresses; 1024
	PendingPerAddress int           // and of one address; 64
	LoginTime         time.Duration // from connecting to having logged in; 10 s
	Failures          int           // failed logins of an address or user before each further one costs a wait; 5
	MaxWait           time.Duration // the longest wait; waits double from 1 s; 1 min
}

const (
	gateKeys = 16_384           // addresses, users and known pairs that are remembered, each
	forgetIn = 15 * time.Minute // without a failure, failures are forgotten
)

// Gate stands before the login: it bounds how many connections have not logged
// in and for how long, and makes guessing slow. An address is an IPv4 address
// or an IPv6 network of 64 bits; a peer's port does not matter. All methods may
// be called concurrently, none blocks, memory is bounded.
//
// After GateConfig.Failures failed logins from one address, or for one user
// from anywhere, further ones must wait, whether the user exists or not. So
// that nobody can be locked out by failing in his name, a user at an address
// where he has logged in before is counted apart.
type Gate struct {
	config GateConfig

	mu       sync.Mutex
	pending  map[string]int // by address
	total    int
	failures *simplelru.LRU[string, *failures] // by address, by user
	known    *simplelru.LRU[string, *failures] // by user at an address
}

// failures counts the failed logins of an address or user.
type failures struct {
	count int
	last  time.Time
}

// NewGate returns a gate with nobody before it.
func NewGate(c GateConfig) *Gate {
	c.Pending = cmp.Or(c.Pending, 1024)
	c.PendingPerAddress = cmp.Or(c.PendingPerAddress, 64)
	c.LoginTime = cmp.Or(c.LoginTime, 10*time.Second)
	c.Failures = cmp.Or(c.Failures, 5)
	c.MaxWait = cmp.Or(c.MaxWait, time.Minute)
	return &Gate{config: c, pending: make(map[string]int), failures: newLRU[*failures](gateKeys), known: newLRU[*failures](gateKeys)}
}

// source returns what a remote address counts as.
func source(from string) string {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		port, err := netip.ParseAddrPort(from)
		if err != nil {
			return short(from)
		}
		addr = port.Addr()
	}
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		net, _ := addr.Prefix(64) // fits every IPv6 address
		return net.String()
	}
	return addr.String()
}

// Enter lets in a connection that has not logged in; from is its remote address
// as net.Addr prints it. The context ends after GateConfig.LoginTime: close the
// connection then. Call leave when the client has logged in or the connection
// is closed; calling it again does nothing. Too many connections are
// CodeServiceUnavailable, which is retryable.
func (g *Gate) Enter(ctx context.Context, from string) (login context.Context, leave func(), err error) {
	address := source(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.config.Pending || g.pending[address] >= g.config.PendingPerAddress {
		return nil, nil, om.NewError(om.CodeServiceUnavailable, "connect", "", "too many connections have not logged in yet; try again later")
	}
	g.total++
	g.pending[address]++
	login, cancel := context.WithTimeoutCause(ctx, g.config.LoginTime,
		om.NewError(om.CodeTimeout, "login", "", "there was no login within %v", g.config.LoginTime))
	return login, sync.OnceFunc(func() {
		cancel()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		if g.pending[address]--; g.pending[address] == 0 {
			delete(g.pending, address)
		}
	}), nil
}

func pair(user, address string) string { return address + " " + user }

// check returns how long a login must wait: 0 for not at all. User may be "".
func (g *Gate) check(from, user string) time.Duration {
	address, user := source(from), short(user)
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.known.Get(pair(user, address)); ok {
		return g.wait(f)
	}
	var longest time.Duration
	for _, key := range []string{"address " + address, "user " + user} {
		if f, ok := g.failures.Peek(key); ok {
			longest = max(longest, g.wait(f))
		}
	}
	return longest
}

// wait returns what is left of the wait after the last failure.
func (g *Gate) wait(f *failures) time.Duration {
	over := f.count - g.config.Failures
	if over < 0 {
		return 0
	}
	wait := g.config.MaxWait
	if over < 30 {
		wait = min(wait, time.Second<<over)
	}
	return max(0, wait-time.Since(f.last))
}

// failed counts a login that was refused. User may be "".
func (g *Gate) failed(from, user string) {
	address, user := source(from), short(user)
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.known.Get(pair(user, address)); ok {
		f.add()
		return
	}
	keys := []string{"address " + address}
	if user != "" {
		keys = append(keys, "user "+user)
	}
	for _, key := range keys {
		f, ok := g.failures.Get(key)
		if !ok {
			f = new(failures)
			g.failures.Add(key, f)
		}
		f.add()
	}
}

func (f *failures) add() {
	if time.Since(f.last) > forgetIn {
		f.count = 0
	}
	f.count++
	f.last = time.Now()
}

// succeeded remembers that the user has logged in from there. It takes back no
// failures: others may have guessed.
func (g *Gate) succeeded(from, user string) {
	key := pair(user, source(from))
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.known.Get(key); !ok {
		g.known.Add(key, new(failures))
	}
}
