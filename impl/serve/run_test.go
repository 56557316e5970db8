package serve

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/metrics"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestRunRefuses(t *testing.T) {
	a := newAuthority(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		change func(*Loaded)
		part   string
	}{
		"everywhere without TLS":   {func(l *Loaded) { l.Listen = "0.0.0.0:0" }, "so it needs TLS"},
		"everywhere without users": {func(l *Loaded) { l.Listen = "0.0.0.0:0"; a.secured(l) }, "there are no users yet"},
		"a port that is taken":     {func(l *Loaded) { l.Listen = taken.Addr().String() }, "listen: "},
		"an admin port taken":      {func(l *Loaded) { l.Admin.Listen = taken.Addr().String() }, "admin.listen: "},
		"no file of users":         {func(l *Loaded) { l.Auth.File = filepath.Join(t.TempDir(), "none") }, "make it with a first user: init_admin"},
		"a file of users for all":  {func(l *Loaded) { l.Auth.File = open(t, 0o644) }, "mode"},
		"rules without users":      {func(l *Loaded) { a.secured(l); l.TLS.ClientCA, l.Auth.Certificates = a.ca(), []string{"cn:*"} }, "there are no users or roles yet"},
		"a password that is short": {func(l *Loaded) {
			l.InitAdmin, l.InitAdminPassword = "root", "file:"+write(t, filepath.Join(t.TempDir(), "p"), "hunter2")
		}, "init_admin"},
	} {
		l := &Loaded{Config: Defaults()}
		l.Memory, l.Listen, l.Admin.Listen = true, "127.0.0.1:0", ""
		c.change(l)
		m, err := run(t, l)
		var config *ConfigError
		switch {
		case err == nil:
			t.Errorf("%s: it serves at %s", name, m.address)
		case !errors.As(err, &config) || !strings.Contains(err.Error(), c.part):
			t.Errorf("%s: %q is not in %v", name, c.part, err)
		case strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the error tells it: %v", name, err)
		}
	}
}

// open writes a file of users with a mode.
func open(t *testing.T, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.yaml")
	if err := auth.Create(t.Context(), auth.NewFile(path), new(auth.Document)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInsecureIsSaid(t *testing.T) {
	m := start(t, func(l *Loaded) { l.Listen, l.Insecure, l.InitAdmin = "0.0.0.0:0", true, "" })
	_, port, err := net.SplitHostPort(m.address)
	m.must(err)
	m.address = net.JoinHostPort("127.0.0.1", port)
	m.must(m.open().Resources().CreateNamespace(t.Context(), "anybody"))
	contains(t, m.log.String(), "level=WARN", "anyone may do anything")
}

// TestUsersStayInTheStore makes a user, and starts again without saying so.
func TestUsersStayInTheStore(t *testing.T) {
	dir := t.TempDir()
	begin := func(admin string) *machine {
		return start(t, func(l *Loaded) { l.Memory, l.Path, l.InitAdmin = false, dir, admin })
	}
	m := begin("root")
	m.addUser(m.security(), "bob", userKey, "allow publish queue:q")
	m.withQueues("q")
	m.end()
	m = begin("")
	if _, err := m.dial(); om.CodeOf(err) != om.CodeUnauthorized {
		t.Errorf("everybody gets in: %v", err)
	}
	_, err := m.producer(m.open(as("bob", userKey)), once()).Send(t.Context(), om.NewMessage("q", nil))
	m.must(err)
	m.end()
	m = begin("root") // who is there stays as he is
	m.open(as("root", rootKey))
	if strings.Contains(m.log.String(), "a user with all rights was made") {
		t.Error("root was made twice")
	}
	m.end()
	m = begin("rescue") // whose password nobody knows is replaced
	m.open(as("rescue", rootKey))
}

// oneInHand returns a message of a queue q that a consumer has and did not settle.
func (m *machine) oneInHand() *om.Delivery {
	m.Helper()
	m.withQueues("q")
	ap := m.open(as("root", rootKey))
	_, err := m.producer(ap).Send(m.Context(), om.NewMessage("q", nil))
	m.must(err)
	c, err := ap.NewPullConsumer(m.Context(), om.WithGroup("g"))
	m.must(err)
	m.must(c.Bind(m.Context(), "q"))
	d, err := c.Receive(m.Context())
	m.must(err)
	return d
}

// TestHealth follows the three answers from before the start to after the end.
func TestHealth(t *testing.T) {
	m := &machine{T: t}
	a, err := openAdmin(Admin{Listen: "127.0.0.1:0"}, metrics.New("", 1), slog.New(slog.DiscardHandler))
	m.must(err)
	m.admin = a.listener.Addr().String()
	for path, want := range map[string]int{"/livez": 200, "/startupz": 503, "/readyz": 503, "/metrics": 200, "/": 404} {
		if status, body := m.get(path); status != want || want == 503 && body != "the server is starting\n" {
			t.Errorf("%s before the start: %d %s", path, status, body)
		}
	}
	a.close(t.Context())

	m = start(t, func(l *Loaded) { l.Drain = time.Minute })
	for _, path := range []string{"/livez", "/startupz", "/readyz"} {
		if status, body := m.get(path); status != 200 || body != "ok\n" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	r, err := http.Post("http://"+m.admin+"/livez", "text/plain", strings.NewReader("x"))
	m.must(err)
	m.must(r.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Error(r.Status)
	}
	d := m.oneInHand()
	m.stop()
	m.until("it is not ready any more", func() bool {
		status, body := m.get("/readyz")
		return status == 503 && body == "the server is shutting down\n"
	})
	if status, _ := m.get("/livez"); status != 200 {
		t.Error("it is killed while it drains")
	}
	m.must(d.Ack(t.Context())) // what it has may be settled
	m.end()
	contains(t, m.log.String(), "msg=stopping", "msg=stopped")
}

func TestProfilesAreForThisMachine(t *testing.T) {
	m := start(t, nil)
	if status, body := m.get("/debug/pprof/goroutine?debug=1"); status != 200 || !strings.Contains(body, "goroutine profile") {
		t.Error(status, body)
	}
	served := localOnly(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for from, want := range map[string]int{
		"127.0.0.1:1": 200, "[::1]:1": 200, "[::ffff:127.0.0.1]:1": 200, "10.0.0.1:1": 403, "[fe80::1%eth0]:1": 403, "0.0.0.0:1": 403, "": 403, "@": 403,
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/debug/pprof/", nil)
		r.RemoteAddr = from
		served.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %q: %d", from, w.Code)
		}
	}
	if r, err := http.Get("http://" + m.address + "/debug/pprof/"); err == nil && r.StatusCode == 200 {
		t.Error("profiles are on the listener for clients")
	}
}

func TestMetricsOfAServer(t *testing.T) {
	m := start(t, nil)
	m.withQueues("q")
	ap := m.open(as("root", rootKey))
	for range 3 {
		_, err := m.producer(ap).Send(t.Context(), om.NewMessage("q", []byte("x")))
		m.must(err)
	}
	c, err := ap.NewPullConsumer(t.Context(), om.WithGroup("g"))
	m.must(err)
	m.must(c.Bind(t.Context(), "q"))
	d, err := c.Receive(t.Context())
	m.must(err)
	m.must(d.Ack(t.Context()))
	if _, err := m.dial(as("root", "not root's secret")); err == nil {
		t.Error("anybody gets in")
	}
	_, body := m.get("/metrics")
	contains(t, body,
		"oms_published_messages_total{queue=\"default://q\"} 3\n", "oms_delivered_messages_total{queue=\"default://q\"} ",
		"oms_settled_messages_total{action=\"ack\",queue=\"default://q\"} 1\n", "oms_queue_lag_messages{queue=\"default://q\"} 2\n",
		"oms_logins_refused_total 1\n", "oms_ready 1\n", "oms_streams{method=\"Receive\"} 1\n", "oms_commit_duration_seconds_count ", "go_goroutines ", "process_resident_memory_bytes ")
}

// TestConfigurationIsReadAgain changes the file while the server runs.
func TestConfigurationIsReadAgain(t *testing.T) {
	const base = "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\ninit_admin: root\n"
	file := write(t, filepath.Join(t.TempDir(), "oms.yaml"), base+"log: {level: info}\n")
	m := start(t, func(l *Loaded) {
		fresh, err := Load(Source{File: file})
		if err != nil {
			t.Fatal(err)
		}
		*l = *fresh
		l.Memory = true
	})
	if strings.Contains(m.log.String(), "level=DEBUG") {
		t.Fatal("the level was debug")
	}
	write(t, file, base+"log: {level: loud}\n")
	m.hangup <- struct{}{}
	m.until("the bad file is refused", func() bool { return strings.Contains(m.log.String(), "the old one stays") })
	write(t, file, base+"log: {level: debug}\ndrain: 9s\n")
	m.hangup <- struct{}{}
	m.until("the good one is read", func() bool { return strings.Contains(m.log.String(), "these settings hold from the next start on") })
	contains(t, m.log.String(), "settings=[drain]")
	m.open(as("root", rootKey))
	write(t, file, base+"log: {level: debug}\nhost: elsewhere\n") // nobody says so
	m.until("the file is looked at", func() bool { return strings.Contains(m.log.String(), "settings=[host]") })
	write(t, file, base+"log: {level: warn}\n")
	m.hangup <- struct{}{}
	m.hangup <- struct{}{} // the first one is done
	quiet := len(m.log.String())
	m.open(as("root", rootKey))
	m.hangup <- struct{}{}
	if said := m.log.String()[quiet:]; strings.Contains(said, "level=INFO") || strings.Contains(said, "level=DEBUG") {
		t.Error(said)
	}
}

// TestCertificatesAreReadAgain replaces the certificate of a server that has
// connections.
func TestCertificatesAreReadAgain(t *testing.T) {
	a := newAuthority(t)
	m := start(t, a.secured)
	m.ca = a.ca()
	old := m.open(as("root", rootKey))
	shown := func() string {
		c, err := tls.Dial("tcp", m.address, &tls.Config{RootCAs: pool(t, a.ca()), ServerName: "localhost", NextProtos: []string{"h2"}})
		m.must(err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if name := shown(); name != "server" {
		t.Fatal(name)
	}
	cert, key := a.issue("next", "the next one")
	for from, to := range map[string]string{cert: "server.pem", key: "server.key"} {
		m.must(os.Rename(from, filepath.Join(a.dir, to)))
	}
	m.until("the new certificate is shown", func() bool { return shown() == "the next one" })
	m.must(old.Resources().CreateNamespace(t.Context(), "undisturbed"))
}

// TestNoSecretIsTold logs in with good and bad secrets of all kinds, and looks
// for them in everything that is told.
func TestNoSecretIsTold(t *testing.T) {
	a := newAuthority(t)
	i := newIssuer(t)
	m := start(t, func(l *Loaded) {
		a.secured(l)
		l.Auth.Tokens.Keys, l.Auth.Tokens.Issuer, l.Auth.Tokens.Audience = i.file, issuerName, "oms"
	})
	m.ca = a.ca()
	const wrong = "hunter2 is wrong here"
	good, forged := i.token(nil), i.token(nil)+"x"
	var told strings.Builder
	for _, o := range []struct{ account, key, token string }{
		{"root", rootKey, ""}, {"root", wrong, ""}, {"nobody", wrong, ""}, {"", "", good}, {"", "", forged}, {"ro\x00ot", wrong, ""},
	} {
		option := as(o.account, o.key)
		if o.token != "" {
			option = withToken(o.token)
		}
		ap, err := m.dial(option)
		if err != nil {
			told.WriteString(err.Error() + "\n")
			continue
		}
		m.must(ap.Close(t.Context()))
	}
	m.addUser(m.security(), "bob", userKey, "allow publish queue:q")
	m.end()
	told.WriteString(m.log.String())
	for _, secret := range []string{rootKey, userKey, wrong, good, forged} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("root:" + secret))} {
			if strings.Contains(told.String(), form) {
				t.Errorf("%q is told:\n%s", form, told.String())
			}
		}
	}
	if strings.Contains(told.String(), "SCRAM-SHA-256$") {
		t.Error("a verifier is told")
	}
}

// TestStopIsNotHeldUp stops a server whose client keeps what it has.
func TestStopIsNotHeldUp(t *testing.T) {
	m := start(t, func(l *Loaded) { l.Drain = 50 * time.Millisecond })
	m.oneInHand()
	m.end()
}
