package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Storage keeps a [Document]. One [Directory] uses it.
type Storage interface {
	// Load returns the document that is stored, checked; the caller owns
	// it. None stored matches fs.ErrNotExist.
	Load(ctx context.Context) (*Document, error)
	// Save replaces what is stored, durably and as a whole: on an error the
	// old one is still there, or the new one entirely. It keeps nothing of
	// d. When what is stored is not what the last Load or Save knew, it
	// returns CodeStorageBusy and does nothing.
	Save(ctx context.Context, d *Document) error
	// Wait returns nil when something else may be stored than the last Load
	// or Save knew, and the context's error when that ends first.
	Wait(ctx context.Context) error
}

// Create stores a first document, with a new decoy where it has none. When
// there is one already it fails with CodeBadParameter and does nothing.
func Create(ctx context.Context, s Storage, d *Document) error {
	if _, err := s.Load(ctx); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(badParameter("there is a directory already"), err)
	}
	d = d.Clone()
	d.Version = 1
	if d.Decoy.keys == nil {
		var err error
		if d.Decoy, err = NewVerifier(NewSecret(rand.Text()), 0); err != nil {
			return err
		}
	}
	if err := d.check(); err != nil {
		return err
	}
	return s.Save(ctx, d)
}

// Directory holds users, roles, rules and quotas in memory, and follows and
// alters what is stored. All methods may be called concurrently; who asks while
// it changes sees all of a change or nothing.
type Directory struct {
	storage Storage
	audit   *Audit
	mu      sync.Mutex // changes and reloads, one after the other
	now     atomic.Pointer[snapshot]
	stop    context.CancelFunc
	done    chan struct{}
}

// OpenDirectory loads what is stored and follows its changes until Close. A new
// version that is wrong is logged once, and the old one stays.
func OpenDirectory(ctx context.Context, s Storage, a *Audit) (*Directory, error) {
	doc, err := s.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &Directory{storage: s, audit: a, stop: stop, done: make(chan struct{})}
	d.now.Store(newSnapshot(doc))
	go d.follow(ctx)
	return d, nil
}

// Close ends the following and waits for its end; questions are still answered.
func (d *Directory) Close() {
	d.stop()
	<-d.done
}

// Document returns a copy of what holds now.
func (d *Directory) Document() *Document { return d.now.Load().document.Clone() }

// Change has change alter a copy of the document, checks, stores and then uses
// it, for those who are connected too. By is who wants it, for the audit.
// Change may be called several times, when somebody else changes what is stored
// at the same time; it must not call the directory. What it returns is
// returned, and nothing is changed then. Errors: CodeBadParameter for a
// document that breaks the rules; CodeStorageBusy, which is retryable; those of
// the storage.
func (d *Directory) Change(ctx context.Context, by *Principal, change func(*Document) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range 3 {
		old := d.now.Load().document
		doc := old.Clone()
		if err := change(doc); err != nil {
			return err
		}
		doc.Version, doc.Decoy = old.Version+1, old.Decoy
		if err := doc.check(); err != nil {
			return err
		}
		err := d.storage.Save(ctx, doc)
		if err == nil {
			d.use(doc, by)
			return nil
		}
		if !errors.Is(err, om.CodeStorageBusy) {
			return fmt.Errorf("directory: nothing is changed: %w", err)
		}
		if err := d.reload(ctx); err != nil {
			return fmt.Errorf("directory: nothing is changed: %w", err)
		}
	}
	return om.NewError(om.CodeStorageBusy, "directory", "", "somebody else changes it all the time; nothing is changed")
}

func (d *Directory) reload(ctx context.Context) error {
	doc, err := d.storage.Load(ctx)
	if err == nil {
		d.use(doc, &Principal{Name: "storage"})
	}
	return err
}

func (d *Directory) use(doc *Document, by *Principal) {
	old := d.now.Load()
	d.now.Store(newSnapshot(doc))
	d.audit.changed(by, changes(old.document, doc))
}

func (d *Directory) follow(ctx context.Context) {
	defer close(d.done)
	for {
		err := d.storage.Wait(ctx)
		if err == nil {
			d.mu.Lock()
			err = d.reload(ctx)
			d.mu.Unlock()
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.audit.log.LogAttrs(ctx, slog.LevelError, "the new directory cannot be used; the old one stays", slog.String("error", err.Error()))
			_ = pause(ctx, pollEvery)
		}
	}
}

// snapshot is a document in the form in which it is asked. Nothing in it
// changes.
type snapshot struct {
	document *Document
	users    map[string]*member
	roles    map[string]*rights
}

// member is a user in the form in which it is asked.
type member struct {
	*User
	stamps []uint64  // of the verifiers
	rights []*rights // of the user and of the roles
}

func newSnapshot(d *Document) *snapshot {
	s := &snapshot{document: d, users: make(map[string]*member, len(d.Users)), roles: make(map[string]*rights, len(d.Roles))}
	for name, r := range d.Roles {
		s.roles[name] = compile(r.Rules)
	}
	for name, u := range d.Users {
		m := &member{User: u, rights: []*rights{compile(u.Rules)}}
		for _, role := range u.Roles {
			m.rights = append(m.rights, s.roles[role])
		}
		for _, v := range u.Verifiers {
			m.stamps = append(m.stamps, v.stamp())
		}
		s.users[name] = m
	}
	return s
}

// verifiers returns what a login with a password is checked against, a decoy
// for who has none.
func (s *snapshot) verifiers(user string) []Verifier {
	instead := s.document.Decoy.decoy(user) // always: it takes time
	if m := s.users[user]; m != nil && len(m.Verifiers) > 0 {
		return m.Verifiers
	}
	return []Verifier{instead}
}

// refuses says why a principal is not logged in, "" when it is.
func (s *snapshot) refuses(p *Principal, now time.Time) string {
	if !p.Expires.IsZero() && !now.Before(p.Expires) {
		return "the " + string(p.Method) + " has expired"
	}
	m := s.users[p.Name]
	if m == nil {
		for _, role := range p.Roles {
			if s.roles[role] != nil {
				return ""
			}
		}
		return "there is no such user"
	}
	switch {
	case m.Disabled:
		return "the user is disabled"
	case !m.Expires.IsZero() && !now.Before(m.Expires):
		return "the user has expired"
	case p.stamp != 0 && !slices.Contains(m.stamps, p.stamp):
		return "the password is no longer the user's"
	}
	return ""
}
