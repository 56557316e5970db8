package auth

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	// auditBurst and auditEvery bound the lines about one address or user.
	auditBurst = 10
	auditEvery = 10 * time.Second
	// auditKeys bounds the addresses and users that are remembered.
	auditKeys = 4096
	// auditAll bounds the lines about all refusals, a second.
	auditAll = 200
	// maxChanges bounds the lines about one change of the directory.
	maxChanges = 1000
)

// Audit logs what matters for security, a line each:
//
//	login refused   who from how why          by address: 10 at once, then one every 10 s
//	action denied   who from verb resource why   by user: the same
//	rights changed  who from change
//
// Lines that are left out are counted: "left_out" of the next line about the
// same address or user. No line holds a secret. All methods may be called
// concurrently.
type Audit struct {
	log             *slog.Logger
	refused, denied atomic.Uint64

	mu     sync.Mutex
	recent *simplelru.LRU[string, *recent]
	all    *rate.Limiter
}

// recent is what was logged about an address or user.
type recent struct {
	lines   *rate.Limiter
	leftOut uint64
}

// NewAudit returns an audit that writes to log; nil means slog.Default().
func NewAudit(log *slog.Logger) *Audit {
	if log == nil {
		log = slog.Default()
	}
	return &Audit{log: log, recent: newLRU[*recent](auditKeys), all: rate.NewLimiter(auditAll, auditAll)}
}

func newLRU[V any](size int) *simplelru.LRU[string, V] {
	l, err := simplelru.NewLRU[string, V](size, nil)
	if err != nil {
		panic(err) // size is a positive constant
	}
	return l
}

// LoginsRefused returns how many logins were refused since the start.
func (a *Audit) LoginsRefused() uint64 { return a.refused.Load() }

// ActionsDenied returns how many actions were denied since the start.
func (a *Audit) ActionsDenied() uint64 { return a.denied.Load() }

// may reports whether a line about key may be written, and how many were left
// out before it.
func (a *Audit) may(key string) (leftOut uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, found := a.recent.Get(key)
	if !found {
		r = &recent{lines: rate.NewLimiter(rate.Every(auditEvery), auditBurst)}
		a.recent.Add(key, r)
	}
	if !r.lines.Allow() || !a.all.Allow() {
		r.leftOut++
		return 0, false
	}
	leftOut, r.leftOut = r.leftOut, 0
	return leftOut, true
}

func (a *Audit) loginRefused(method Method, from, user, why string) {
	a.refused.Add(1)
	if n, ok := a.may("from " + source(from)); ok {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "login refused", slog.String("who", short(user)), slog.String("from", short(from)),
			slog.String("how", string(method)), slog.String("why", why), slog.Uint64("left_out", n))
	}
}

func (a *Audit) actionDenied(p *Principal, v Verb, r Resource, why string) {
	a.denied.Add(1)
	if n, ok := a.may("user " + p.Name); ok {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "action denied", slog.String("who", short(p.Name)), slog.String("from", short(p.From)),
			slog.String("verb", v.String()), slog.String("resource", short(r.String())), slog.String("why", why), slog.Uint64("left_out", n))
	}
}

func (a *Audit) changed(by *Principal, changes []string) {
	for i, change := range changes {
		if i == maxChanges {
			change = fmt.Sprintf("and %d more", len(changes)-i)
		}
		a.log.LogAttrs(context.Background(), slog.LevelInfo, "rights changed", slog.String("who", short(by.Name)), slog.String("from", short(by.From)), slog.String("change", change))
		if i == maxChanges {
			return
		}
	}
}

// changes tells what makes the difference between two documents, without
// secrets.
func changes(old, now *Document) (out []string) {
	if old.Decoy.Encode() != now.Decoy.Encode() {
		out = append(out, "decoy changed")
	}
	if old.Quota != now.Quota {
		out = append(out, fmt.Sprintf("quota of all: %+v", now.Quota))
	}
	for name, both := range pairs(old.Roles, now.Roles) {
		out = append(out, difference("role "+name, both[0], both[1], describeRole)...)
	}
	for name, both := range pairs(old.Users, now.Users) {
		out = append(out, difference("user "+name, both[0], both[1], describeUser)...)
	}
	return out
}

// difference compares what describe tells of a user or role before and after.
func difference[T any](what string, old, now *T, describe func(*T) []string) (out []string) {
	var before, after []string
	switch {
	case now == nil:
		return []string{what + ": deleted"}
	case old == nil:
		out = append(out, what+": added")
	default:
		before = describe(old)
	}
	after = describe(now)
	for _, s := range before {
		if !slices.Contains(after, s) {
			out = append(out, what+": no longer: "+s)
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			out = append(out, what+": now: "+s)
		}
	}
	return out
}

func describeRole(r *Role) (all []string) {
	for _, rule := range r.Rules {
		all = append(all, rule.String())
	}
	return all
}

func describeUser(u *User) []string {
	all := describeRole(&Role{Rules: u.Rules})
	for _, v := range u.Verifiers {
		all = append(all, fmt.Sprintf("password %08x", uint32(v.stamp())))
	}
	for _, role := range u.Roles {
		all = append(all, "role "+role)
	}
	if u.Disabled {
		all = append(all, "disabled")
	}
	if !u.Expires.IsZero() {
		all = append(all, "expires "+u.Expires.Format(time.RFC3339))
	}
	if u.Quota != nil {
		all = append(all, fmt.Sprintf("quota %+v", *u.Quota))
	}
	return all
}

// pairs yields what two maps have under the same key, sorted by it.
func pairs[V any](a, b map[string]V) iter.Seq2[string, [2]V] {
	return func(yield func(string, [2]V) bool) {
		keys := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
		slices.Sort(keys)
		for _, k := range slices.Compact(keys) {
			if !yield(k, [2]V{a[k], b[k]}) {
				return
			}
		}
	}
}
