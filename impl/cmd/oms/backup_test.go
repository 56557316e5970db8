package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// load sends messages and consumes some of them until it is stopped.
type load struct {
	t        *testing.T
	ap       om.AccessPoint
	mu       sync.Mutex
	sent     map[string]bool // acknowledged by the broker
	settled  map[string]bool // acknowledged to the broker
	progress chan struct{}
	stop     context.CancelFunc
	running  sync.WaitGroup
}

func startLoad(t *testing.T, url string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ap, err := oms.Open(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 3}); err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, ap: ap, sent: map[string]bool{}, settled: map[string]bool{}, progress: make(chan struct{}, 1), stop: stop}
	for i := range 3 {
		l.running.Go(func() { l.send(ctx, i) })
	}
	l.running.Go(func() { l.consume(ctx) })
	return l
}

func (l *load) note(in map[string]bool, body []byte) {
	l.mu.Lock()
	in[string(body[:10])] = true
	l.mu.Unlock()
	select {
	case l.progress <- struct{}{}:
	default:
	}
}

func (l *load) send(ctx context.Context, worker int) {
	p, err := l.ap.NewProducer(ctx)
	if err != nil {
		l.t.Error(err)
		return
	}
	for i := 0; ctx.Err() == nil; i++ {
		size := 0
		if i == 3 {
			size = 3 << 20 // so that the backup has several parts
		}
		body := append(fmt.Appendf(nil, "%d-%08d", worker, i), make([]byte, size)...)
		if _, err := p.Send(ctx, om.NewMessage("q", body)); err == nil {
			l.note(l.sent, body)
		} else if ctx.Err() == nil {
			l.t.Error(err)
			return
		}
	}
}

func (l *load) consume(ctx context.Context) {
	c, err := l.ap.NewPullConsumer(ctx, om.WithGroup("g"))
	if err == nil {
		err = c.Bind(ctx, "q")
	}
	for err == nil {
		var d *om.Delivery
		if d, err = c.Receive(ctx); err == nil {
			if err = d.Ack(ctx); err == nil {
				l.note(l.settled, d.Body)
			}
		}
	}
	if ctx.Err() == nil {
		l.t.Error(err)
	}
}

// until waits for some more messages and returns what was acknowledged so far.
func (l *load) until(sent, settled int) (map[string]bool, map[string]bool) {
	l.t.Helper()
	for {
		l.mu.Lock()
		enough := len(l.sent) >= sent && len(l.settled) >= settled
		s, d := maps.Clone(l.sent), maps.Clone(l.settled)
		l.mu.Unlock()
		if enough {
			return s, d
		}
		select {
		case <-l.progress:
		case <-l.t.Context().Done():
			l.t.Fatal("the load has stopped")
		}
	}
}

func (l *load) end() {
	l.stop()
	l.running.Wait()
	if err := l.ap.Close(context.Background()); err != nil {
		l.t.Error(err)
	}
}

// bodies are the first ten bytes of each line.
func bodies(t *testing.T, out string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for line := range strings.Lines(out) {
		body := line[:10]
		if all[body] {
			t.Errorf("%s is there twice", body)
		}
		all[body] = true
	}
	return all
}

// TestBackupUnderLoad copies a broker while it is sent to and consumed from. What
// was acknowledged before is in the copy, once, and what was settled before is
// settled there.
func TestBackupUnderLoad(t *testing.T) {
	dir := t.TempDir()
	r := startDev(t, "--path", filepath.Join(dir, "a"))
	l := startLoad(t, r.url)
	sent, settled := l.until(300, 100)
	file, restored := filepath.Join(dir, "file.oms"), filepath.Join(dir, "b")
	code, stdout, stderr := command(t, "backup", "--url", r.url, "--to", file, "--json")
	var made backupJSON
	if err := json.Unmarshal([]byte(stdout), &made); err != nil || code != 0 || stderr != "" {
		t.Fatalf("status %d: %s%s", code, stdout, stderr)
	}
	if made.Messages < int64(len(sent)) || made.Parts < 2 {
		t.Errorf("%d messages were acknowledged; the backup: %s", len(sent), stdout)
	}
	l.until(len(sent)+200, len(settled)+1) // the broker goes on
	l.end()
	r.end()

	code, stdout, stderr = command(t, "restore", file, "--path", restored)
	if code != 0 || stderr != "" || !strings.Contains(stdout, count(made.Messages)+" messages") {
		t.Fatalf("status %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := command(t, "store", "check", restored); code != 0 {
		t.Fatalf("status %d: %s%s", code, stdout, stderr)
	}
	url := badger.URL(restored)
	code, stdout, stderr = command(t, "message", "browse", "q", "-n", "0", "--url", url)
	if code != 0 {
		t.Fatalf("status %d: %s", code, stderr)
	}
	there := bodies(t, stdout)
	for body := range sent {
		if !there[body] {
			t.Errorf("%s was acknowledged before the backup and is not in it", body)
		}
	}
	code, stdout, stderr = command(t, "consume", "q", "-g", "g", "--exit-at-end", "--url", url)
	if code != 0 {
		t.Fatalf("status %d: %s", code, stderr)
	}
	left := bodies(t, stdout)
	for body := range settled {
		if left[body] {
			t.Errorf("%s was settled before the backup and comes again", body)
		}
	}
	if len(left) == 0 || len(there) != int(made.Messages) {
		t.Errorf("%d of %d messages are left to consume, the backup had %d", len(left), len(there), made.Messages)
	}
}

func TestBackupOfAFolder(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "a"), filepath.Join(dir, "file.oms")
	r := startDev(t, "--path", path)
	sendAndReceive(t, r.url, true)
	code, _, stderr := command(t, "backup", "--path", path, "--to", file)
	if code != 1 || !strings.Contains(stderr, "is held by process") {
		t.Errorf("a store in use: status %d: %s", code, stderr)
	}
	r.end()
	code, stdout, stderr := command(t, "backup", "--path", path, "--to", file)
	if code != 0 || !strings.Contains(stdout, "1 message and") || stderr != "" {
		t.Fatalf("status %d: %s%s", code, stdout, stderr)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "cut"), whole[:len(whole)/2], 0o600))
	changed := bytes.Clone(whole)
	changed[bytes.Index(changed, []byte("kept"))] ^= 1
	must(os.WriteFile(filepath.Join(dir, "changed"), changed, 0o600))
	must(os.Mkdir(filepath.Join(dir, "full"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "full", "mine"), nil, 0o600))
	before, err := os.ReadDir(dir)
	must(err)
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		args []string
		code int
		part string
	}{
		{[]string{"backup", "--path", path}, 2, "--to says into which file"},
		{[]string{"backup", "--path", path, "--to", file}, 2, "is there already"},
		{[]string{"backup", "--path", path, "--to", in("missing/x")}, 1, "no such file"},
		{[]string{"backup", "--path", path, "--url", "oms:oms://h:1/r", "--to", in("x")}, 2, "goes with neither"},
		{[]string{"backup", "--path", in("full"), "--to", in("x")}, 2, "holds no store"},
		{[]string{"restore", file}, 2, "--path says into which folder"},
		{[]string{"restore", in("nothing"), "--path", in("x")}, 2, "no such file"},
		{[]string{"restore", in("cut"), "--path", in("x")}, 1, "the backup is damaged"},
		{[]string{"restore", in("changed"), "--path", in("x")}, 1, "the backup is damaged"},
		{[]string{"restore", file, "--path", in("full")}, 2, "choose an empty or a new folder"},
	} {
		code, _, stderr := command(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.part) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d: %s", c.args, code, stderr)
		}
	}
	after, err := os.ReadDir(dir)
	must(err)
	if len(after) != len(before) {
		t.Errorf("something is left behind: %v", after)
	}
	if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, whole) {
		t.Errorf("the backup was changed, %v", err)
	}
}

// TestBrokenBackup checks that a backup which ends too early leaves nothing, and
// that a file which somebody else has made meanwhile stays his.
func TestBrokenBackup(t *testing.T) {
	errBroken := errors.New("broken off")
	for name, c := range map[string]struct {
		parts func(to string, f func(store.Part) error) error
		part  string
		left  int
	}{
		"broken off": {func(_ string, f func(store.Part) error) error {
			return errors.Join(f(store.Part{Entries: 1, Data: make([]byte, 100)}), errBroken)
		}, "broken off", 0},
		"taken": {func(to string, _ func(store.Part) error) error { return os.WriteFile(to, []byte("his"), 0o600) }, "exists", 1},
	} {
		dir := t.TempDir()
		to := filepath.Join(dir, "file.oms")
		closed := false
		shot := &snapshot{
			commit: 1,
			parts: func(_ context.Context, f func(store.Part) error) (store.Summary, error) {
				return store.Summary{}, c.parts(to, f)
			},
			close: func() error { closed = true; return nil },
		}
		cmd := backupCommand()
		cmd.SetOut(io.Discard)
		err := backup(t.Context(), cmd, shot, to, false)
		left, readErr := os.ReadDir(dir)
		if readErr != nil || err == nil || !strings.Contains(err.Error(), "no backup was made") || !strings.Contains(err.Error(), c.part) || len(left) != c.left || !closed {
			t.Errorf("%s: %v, %v is left, %v, closed %v", name, err, left, readErr, closed)
		}
	}
}

// liar is a server whose backups are wrong.
type liar struct {
	wirepb.UnimplementedAdminServiceServer
	answers []*wirepb.BackupResponse
}

func (l *liar) Backup(_ *wirepb.BackupRequest, stream grpc.ServerStreamingServer[wirepb.BackupResponse]) error {
	for _, a := range l.answers {
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	return nil
}

func TestBackupOverABadWire(t *testing.T) {
	begin := &wirepb.BackupResponse{Response: &wirepb.BackupResponse_Begin{Begin: &wirepb.BackupBegin{Commit: 1}}}
	damaged := &wirepb.BackupResponse{Response: &wirepb.BackupResponse_Part{Part: &wirepb.BackupPart{Entries: 1, Data: []byte("x"), Sum: 1}}}
	for name, c := range map[string]struct {
		answers []*wirepb.BackupResponse
		part    string
	}{
		"nothing":  {nil, "does not begin"},
		"no begin": {[]*wirepb.BackupResponse{damaged}, "does not begin"},
		"no end":   {[]*wirepb.BackupResponse{begin}, "before the backup was complete"},
		"damage":   {[]*wirepb.BackupResponse{begin, damaged}, "was damaged on its way"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		wirepb.RegisterAdminServiceServer(s, &liar{answers: c.answers})
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		shot, err := remoteSnapshot(t.Context(), cc)
		if err == nil {
			_, err = shot.parts(t.Context(), func(store.Part) error { return nil })
		}
		if err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v", name, err)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// TestDelaysAreBackedUp checks that a message which was not due yet becomes due in
// the copy.
func TestDelaysAreBackedUp(t *testing.T) {
	dir := t.TempDir()
	r := startDev(t, "--path", filepath.Join(dir, "a"))
	file, restored := filepath.Join(dir, "file.oms"), filepath.Join(dir, "b")
	if code, _, stderr := command(t, "queue", "create", "q", "--url", r.url); code != 0 {
		t.Fatal(stderr)
	}
	var out, errs bytes.Buffer
	in := strings.NewReader(`{"body":"later","delay_ms":500}` + "\n")
	if code := runWith(t.Context(), []string{"publish", "q", "--json", "--url", r.url}, in, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	if code, _, stderr := command(t, "backup", "--to", file, "--url", r.url); code != 0 {
		t.Fatal(stderr)
	}
	r.end()
	if code, _, stderr := command(t, "restore", file, "--path", restored); code != 0 {
		t.Fatal(stderr)
	}
	code, stdout, stderr := command(t, "consume", "q", "-g", "g", "-n", "1", "--url", badger.URL(restored))
	if code != 0 || stdout != "later\n" {
		t.Errorf("status %d: %s%s", code, stdout, stderr)
	}
}
