package auth

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const (
	// maxQuotaWait bounds the wait that Take asks for; beyond it it
	// refuses.
	maxQuotaWait = 5 * time.Second
	// idleUsers bounds the users without a connection whose rates are
	// remembered, so that connecting anew does not refill them.
	idleUsers = 16_384
)

// Quotas counts what users take, over all their connections, against the
// directory's quotas. A changed quota holds at once, except that connections
// that are there stay. All methods may be called concurrently and none blocks.
// Memory is bounded by the connections there are.
type Quotas struct {
	directory *Directory

	mu    sync.Mutex
	users map[string]*usage // with connections
	idle  *simplelru.LRU[string, *usage]
}

// usage is what one user takes.
type usage struct {
	connections int // guarded by Quotas.mu

	mu       sync.Mutex
	inFlight int
	messages *rate.Limiter
	bytes    *rate.Limiter
}

// NewQuotas returns the quotas of a directory, with nobody connected.
func NewQuotas(d *Directory) *Quotas {
	return &Quotas{directory: d, users: make(map[string]*usage), idle: newLRU[*usage](idleUsers)}
}

// Session is one connection of a user. Close it when the connection ends.
type Session struct {
	quotas *Quotas
	user   string
	usage  *usage

	held   int // of usage.inFlight, guarded by usage.mu
	closed bool
}

func (d *Directory) quota(user string) Quota {
	s := d.now.Load()
	if m := s.users[user]; m != nil && m.Quota != nil {
		return *m.Quota
	}
	return s.document.Quota
}

// Connect counts a connection. One too many is CodeServiceUnavailable, which is
// retryable.
func (q *Quotas) Connect(p *Principal) (*Session, error) {
	most := q.directory.quota(p.Name).Connections
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.users[p.Name]
	if u == nil {
		u, _ = q.idle.Get(p.Name)
		if u == nil {
			u = &usage{messages: newBucket(0), bytes: newBucket(0)}
		}
	}
	if most > 0 && u.connections >= most {
		return nil, om.NewError(om.CodeServiceUnavailable, "connect", "", "the user %q has %d connections, as many as its quota; close one or raise the quota", p.Name, most)
	}
	u.connections++
	q.users[p.Name] = u
	q.idle.Remove(p.Name)
	return &Session{quotas: q, user: p.Name, usage: u}, nil
}

// Take counts messages and bytes that the client publishes or gets, and returns
// how long to wait before going on with them; 0 is not at all. A batch is never
// too big: it is let through and the next one waits. When more than 5 s would
// have to be waited it counts nothing and returns CodeServiceUnavailable, which
// is retryable.
func (s *Session) Take(messages, bytes int) (time.Duration, error) {
	quota := s.quotas.directory.quota(s.user)
	if quota.MessagesPerSecond == 0 && quota.BytesPerSecond == 0 {
		return 0, nil
	}
	u := s.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	wait := max(owed(&u.messages, now, quota.MessagesPerSecond), owed(&u.bytes, now, quota.BytesPerSecond))
	if wait > maxQuotaWait {
		return 0, om.NewError(om.CodeServiceUnavailable, "quota", "", "the user %q is over its quota of %s; try again in %v, or raise the quota", s.user, quota.rates(), wait.Round(time.Second))
	}
	charge(u.messages, now, messages)
	charge(u.bytes, now, bytes)
	return wait, nil
}

// newBucket returns a full bucket; a rate of 0 is no bound.
func newBucket(perSecond int64) *rate.Limiter {
	if perSecond == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(perSecond))
}

// owed sets the rate and returns how long it takes until nothing is owed.
func owed(bucket **rate.Limiter, now time.Time, perSecond int64) time.Duration {
	l := *bucket
	switch was := l.Limit(); {
	case perSecond == 0 || was == rate.Inf:
		if perSecond != 0 || was != rate.Inf {
			*bucket = newBucket(perSecond)
		}
		return 0
	case was != rate.Limit(perSecond):
		l.SetLimitAt(now, rate.Limit(perSecond))
		l.SetBurstAt(now, int(perSecond))
	}
	seconds := -l.TokensAt(now) / float64(perSecond)
	return time.Duration(max(0, min(seconds, 1e9)) * float64(time.Second))
}

// charge takes n however much is there; the rest is owed.
func charge(l *rate.Limiter, now time.Time, n int) {
	if n <= 0 || l.Limit() == rate.Inf {
		return
	}
	if burst := l.Burst(); n > burst {
		l.SetBurstAt(now, n)
		defer l.SetBurstAt(now, burst)
	}
	l.ReserveN(now, n)
}

// Room returns how many more messages Hold would take now, and whether there is
// a bound at all.
func (s *Session) Room() (n int, bounded bool) {
	most := s.quotas.directory.quota(s.user).InFlight
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	return max(0, most-s.usage.inFlight), most > 0
}

// Hold counts n messages that are delivered and not settled. Too many are
// CodeMaxInFlight, which is retryable, and none is counted.
func (s *Session) Hold(n int) error {
	most := s.quotas.directory.quota(s.user).InFlight
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	switch {
	case s.closed:
		return om.NewError(om.CodeClosed, "receive", "", "the connection is closed")
	case most > 0 && n > most-s.usage.inFlight:
		return om.NewError(om.CodeMaxInFlight, "receive", "", "the user %q has %d unsettled messages and its quota is %d; settle some or raise the quota", s.user, s.usage.inFlight, most)
	}
	s.held += n
	s.usage.inFlight += n
	return nil
}

// Release gives back n messages of Hold, at most those this session holds.
func (s *Session) Release(n int) {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	n = max(0, min(n, s.held))
	s.held -= n
	s.usage.inFlight -= n
}

// Close gives back all that the session holds. Closing again does nothing.
func (s *Session) Close() {
	u := s.usage
	u.mu.Lock()
	if s.closed {
		u.mu.Unlock()
		return
	}
	s.closed = true
	u.inFlight -= s.held
	s.held = 0
	u.mu.Unlock()

	q := s.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	if u.connections--; u.connections == 0 {
		delete(q.users, s.user)
		q.idle.Add(s.user, u)
	}
}
