package auth

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Storage in memory whose next saves may fail.
type memory struct {
	mu      sync.Mutex
	content []byte
	base    []byte
	fail    error // of Save
	changed chan struct{}
}

func newMemory() *memory { return &memory{changed: make(chan struct{}, 1)} }

func (m *memory) Load(context.Context) (*Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.content == nil {
		return nil, fs.ErrNotExist
	}
	m.base = m.content
	return DecodeDocument(m.content)
}

func (m *memory) Save(_ context.Context, d *Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if !bytes.Equal(m.base, m.content) {
		return om.NewError(om.CodeStorageBusy, "save", "", "changed")
	}
	b, err := EncodeDocument(d)
	m.content, m.base = b, b
	return err
}

func (m *memory) Wait(ctx context.Context) error {
	select {
	case <-m.changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// world is everything that a server would have.
type world struct {
	t         *testing.T
	storage   *memory
	log       *logs
	audit     *Audit
	directory *Directory
	gate      *Gate
	auth      *Authenticator
	rights    *Authorizer
	quotas    *Quotas
}

// logs gathers what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

const (
	goodPassword = "correct horse battery"
	operatorFrom = "192.0.2.9:1"
	clientFrom   = "192.0.2.1:4711"
)

// testDecoy has the iterations of all users of the tests.
var testDecoy = sync.OnceValue(func() Verifier {
	v, err := NewVerifier(NewSecret("nobody's password"), MinIterations)
	if err != nil {
		panic(err)
	}
	return v
})

var operator = &Principal{Name: "operator", From: operatorFrom}

// newWorld has the user alice with a password and the user bob without one.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, storage: newMemory(), log: &logs{}}
	w.audit = NewAudit(w.log.logger())
	doc := &Document{Decoy: testDecoy()}
	w.must(doc.AddUser("alice", User{}))
	w.must(doc.SetPassword("alice", NewSecret(goodPassword)))
	w.must(doc.AddUser("bob", User{}))
	w.must(Create(t.Context(), w.storage, doc))
	var err error
	w.directory, err = OpenDirectory(t.Context(), w.storage, w.audit)
	w.must(err)
	t.Cleanup(w.directory.Close)
	w.gate = NewGate(GateConfig{})
	w.auth = NewAuthenticator(AuthenticatorConfig{Directory: w.directory, Gate: w.gate, Audit: w.audit})
	w.rights = NewAuthorizer(w.directory, w.audit)
	w.quotas = NewQuotas(w.directory)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) change(f func(d *Document) error) {
	w.t.Helper()
	w.must(w.directory.Change(w.t.Context(), operator, f))
}

func (w *world) login(user, password string) (*Principal, error) {
	return w.auth.Password(w.t.Context(), clientFrom, user, NewSecret(password))
}

func (w *world) alice() *Principal {
	w.t.Helper()
	p, err := w.login("alice", goodPassword)
	w.must(err)
	return p
}

func rule(t testing.TB, text string) Rule {
	t.Helper()
	r, err := ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t testing.TB, err error, code om.Code) {
	t.Helper()
	var e *om.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Helper()
		t.Fatalf("got %v, want %v", err, code)
	}
}
