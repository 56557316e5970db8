package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// client speaks SCRAM by itself, so that it can also lie.
type client struct {
	user, password, gs2, binding, nonce string
	first, server                       string
}

func newClient(user, password string) *client {
	return &client{user: user, password: password, gs2: "n,,", nonce: "clientnonce"}
}

func (c *client) begin() string {
	c.first = "n=" + c.user + ",r=" + c.nonce
	return c.gs2 + c.first
}

func parts(message string) (nonce string, salt []byte, iterations int) {
	f := strings.Split(message, ",")
	salt, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(f[1], "s="))
	iterations, _ = strconv.Atoi(strings.TrimPrefix(f[2], "i="))
	return strings.TrimPrefix(f[0], "r="), salt, iterations
}

func sum(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// end returns the final message and the signature that the server must show.
func (c *client) end(server string) (message, signature string) {
	nonce, salt, iterations := parts(server)
	return c.endWith(server, nonce, salt, iterations)
}

func (c *client) endWith(server, nonce string, salt []byte, iterations int) (message, signature string) {
	salted, _ := pbkdf2.Key(sha256.New, c.password, salt, iterations, 32)
	key := sum(salted, "Client Key")
	stored := sha256.Sum256(key)
	bare := "c=" + base64.StdEncoding.EncodeToString([]byte(c.gs2+c.binding)) + ",r=" + nonce
	message = c.first + "," + server + "," + bare
	proof := sum(stored[:], message)
	for i := range proof {
		proof[i] ^= key[i]
	}
	b64 := base64.StdEncoding.EncodeToString
	return bare + ",p=" + b64(proof), "v=" + b64(sum(sum(salted, "Server Key"), message))
}

func (w *world) scram() *Conversation {
	w.t.Helper()
	c, err := w.auth.Scram(clientFrom, nil)
	w.must(err)
	return c
}

// run has a client log in.
func (w *world) run(c *client) (*Principal, string, error) {
	w.t.Helper()
	conversation := w.scram()
	reply, p, err := conversation.Step([]byte(c.begin()))
	if err != nil || p != nil {
		return p, string(reply), err
	}
	c.server = string(reply)
	final, signature := c.end(c.server)
	reply, p, err = conversation.Step([]byte(final))
	if err == nil && string(reply) != signature {
		w.t.Errorf("the server's signature is %q, want %q", reply, signature)
	}
	return p, string(reply), err
}

func TestScram(t *testing.T) {
	w := newWorld(t)
	p, _, err := w.run(newClient("alice", goodPassword))
	if err != nil || p.Name != "alice" || p.Method != ByScram || p.From != clientFrom {
		t.Fatalf("%+v, %v", p, err)
	}
	w.must(w.rights.Check(p))
	for _, c := range []*client{newClient("alice", "wrong password"), newClient("nobody", goodPassword), newClient("bob", goodPassword), newClient("bob", "")} {
		_, reply, err := w.run(c)
		wantCode(t, err, om.CodeUnauthorized)
		if reply != scram.ErrInvalidProof {
			t.Errorf("%s: %s", c.user, reply)
		}
	}
}

// TestScramWithLibrary has the library's client as judge, with a name that is
// escaped.
func TestScramWithLibrary(t *testing.T) {
	w := newWorld(t)
	w.change(func(d *Document) error {
		return errors.Join(d.AddUser("a=b", User{}), d.SetPassword("a=b", NewSecret(goodPassword)))
	})
	c, err := scram.SHA256.NewClient("a=b", goodPassword, "")
	w.must(err)
	conversation, server := c.NewConversation(), w.scram()
	var reply []byte
	var p *Principal
	message := ""
	for !conversation.Done() {
		message, err = conversation.Step(string(reply))
		w.must(err)
		if message != "" {
			reply, p, err = server.Step([]byte(message))
			w.must(err)
		}
	}
	if !conversation.Valid() || p == nil || p.Name != "a=b" {
		t.Errorf("%+v", p)
	}
}

// TestNobodyLearnsWhoIsThere compares what a stranger sees of a user who is
// there and of those who are not.
func TestNobodyLearnsWhoIsThere(t *testing.T) {
	w := newWorld(t)
	shape := func(user string) (string, string, string) {
		c := newClient(user, "wrong password")
		_, reply, err := w.run(c)
		_, salt, iterations := parts(c.server)
		_, err2 := w.login(user, "wrong password")
		return fmt.Sprint(len(c.server), len(salt), iterations, reply, err, err2), string(salt), c.server
	}
	w.auth.config.Gate = NewGate(GateConfig{Failures: 1000})
	real, salt, _ := shape("alice")
	salts := []string{salt}
	for _, user := range []string{"bob", "nobody", "somebody", "root"} {
		got, salt, _ := shape(user)
		if got != real {
			t.Errorf("%s is answered\n%s\nand alice\n%s", user, got, real)
		}
		again, sameSalt, _ := shape(user)
		if again != real || sameSalt != salt || slices.Contains(salts, salt) {
			t.Errorf("%s: the salt is not stable or not its own", user)
		}
		salts = append(salts, salt)
	}
	// Also after a restart, and for a user who is deleted and disabled.
	d, err := OpenDirectory(t.Context(), w.storage, w.audit)
	w.must(err)
	defer d.Close()
	w.auth.config.Directory = d
	if _, again, _ := shape("nobody"); again != salts[2] {
		t.Error("the salt changes with a restart")
	}
	w.must(d.Change(t.Context(), operator, func(d *Document) error { d.Users["alice"].Disabled = true; return nil }))
	if got, again, _ := shape("alice"); got != real || again != salt {
		t.Error("a disabled user is seen")
	}
	if _, err := w.login("alice", goodPassword); err == nil || err.Error() != fmt.Sprint(unauthorized("login", "user name or password is wrong, or the user may not log in")) {
		t.Error(err)
	}
	_, reply, err := w.run(newClient("alice", goodPassword))
	wantCode(t, err, om.CodeUnauthorized)
	if reply != scram.ErrInvalidProof {
		t.Error(reply)
	}
}

func TestScramReplay(t *testing.T) {
	w := newWorld(t)
	c := newClient("alice", goodPassword)
	first := c.begin()
	one := w.scram()
	reply, _, err := one.Step([]byte(first))
	w.must(err)
	final, _ := c.end(string(reply))
	_, p, err := one.Step([]byte(final))
	if err != nil || p == nil {
		t.Fatal(err)
	}
	// The same final message in the same conversation, and both in a new
	// one.
	_, p, err = one.Step([]byte(final))
	wantCode(t, err, om.CodeUnauthorized)
	two := w.scram()
	_, _, err = two.Step([]byte(first))
	w.must(err)
	_, q, err := two.Step([]byte(final))
	wantCode(t, err, om.CodeUnauthorized)
	// The final message first, or the first one twice.
	_, r, err := w.scram().Step([]byte(final))
	wantCode(t, err, om.CodeUnauthorized)
	three := w.scram()
	_, _, err = three.Step([]byte(first))
	w.must(err)
	_, s, err := three.Step([]byte(first))
	wantCode(t, err, om.CodeUnauthorized)
	if p != nil || q != nil || r != nil || s != nil {
		t.Error("a replayed message logged in")
	}
}

func TestScramLies(t *testing.T) {
	for what, lie := range map[string]func(c *client, server string) string{
		"nonce cut": func(c *client, s string) string {
			n, salt, i := parts(s)
			m, _ := c.endWith(s, n[:len(n)-1], salt, i)
			return m
		},
		"client nonce only": func(c *client, s string) string {
			_, salt, i := parts(s)
			m, _ := c.endWith(s, c.nonce, salt, i)
			return m
		},
		"binding changed": func(c *client, s string) string { c.gs2 = "y,,"; m, _ := c.end(s); return m },
		"binding added":   func(c *client, s string) string { c.binding = "x"; m, _ := c.end(s); return m },
		"proof cut":       func(c *client, s string) string { m, _ := c.end(s); return m[:strings.Index(m, ",p=")+3] + "AAAA" },
		"no proof":        func(c *client, s string) string { m, _ := c.end(s); return m[:strings.Index(m, ",p=")] },
		"empty proof":     func(c *client, s string) string { m, _ := c.end(s); return m[:strings.Index(m, ",p=")+3] },
		"fewer rounds":    func(c *client, s string) string { n, salt, _ := parts(s); m, _ := c.endWith(s, n, salt, 1); return m },
		"empty":           func(*client, string) string { return "" },
		"too long": func(c *client, s string) string {
			m, _ := c.end(s)
			return strings.Replace(m, ",p=", ",x="+strings.Repeat("A", maxScram)+",p=", 1)
		},
	} {
		w := newWorld(t)
		c, conversation := newClient("alice", goodPassword), w.scram()
		reply, _, err := conversation.Step([]byte(c.begin()))
		w.must(err)
		reply, p, err := conversation.Step([]byte(lie(c, string(reply))))
		wantCode(t, err, om.CodeUnauthorized)
		if p != nil || strings.HasPrefix(string(reply), "v=") {
			t.Errorf("%s: %v, %q", what, p, reply)
		}
		_, _, err = conversation.Step([]byte("x"))
		wantCode(t, err, om.CodeUnauthorized)
	}
	for _, first := range []string{"", "n", ",,,", "n,,n=alice", "n,,m=x,n=alice,r=x", "n,,n=a=b,r=x", "p=tls-exporter,,n=alice,r=x", "p=tls-unique,,n=alice,r=x",
		"p=x,,n=alice,r=x", "n,a=bob,n=alice,r=x", "x,,n=alice,r=x", "n,b,n=alice,r=x", "n,,n=alice,r=" + strings.Repeat("x", maxScram)} {
		w := newWorld(t)
		conversation := w.scram()
		reply, p, err := conversation.Step([]byte(first))
		wantCode(t, err, om.CodeUnauthorized)
		if p != nil || strings.HasPrefix(string(reply), "r=") {
			t.Errorf("%q: %q", first, reply)
		}
		_, _, err = conversation.Step([]byte("c=biws,r=x,p=AAAA"))
		wantCode(t, err, om.CodeUnauthorized)
	}
	for _, gs2 := range []string{"y,,", "n,a=alice,"} {
		w := newWorld(t)
		c := newClient("alice", goodPassword)
		c.gs2 = gs2
		if p, _, err := w.run(c); err != nil || p == nil {
			t.Errorf("%q: %v", gs2, err)
		}
	}
}

func FuzzScram(f *testing.F) {
	f.Add("n,,n=alice,r=x", "c=biws,r=x,p=AAAA")
	f.Add("y,a=b,n=a=2Cb,r=", "c=eSws,r=,x=y,p=")
	f.Fuzz(func(t *testing.T, first, final string) {
		w := newWorld(t)
		c := w.scram()
		for _, message := range []string{first, final, final} {
			if reply, p, err := c.Step([]byte(message)); p != nil || len(reply) > 2*maxScram || err != nil && om.CodeOf(err) != om.CodeUnauthorized {
				t.Fatalf("%q: %q, %v, %v", message, reply, p, err)
			}
		}
	})
}

func TestTwoPasswords(t *testing.T) {
	const second = "the second password"
	w := newWorld(t)
	old := w.alice()
	w.change(func(d *Document) error { return d.AddPassword("alice", NewSecret(second)) })
	w.must(w.rights.Check(old))
	var logins []*Principal
	for _, password := range []string{goodPassword, second} {
		p, _, err := w.run(newClient("alice", password))
		w.must(err)
		q, err := w.login("alice", password)
		w.must(err)
		logins = append(logins, p, q)
	}
	_, _, err := w.run(newClient("alice", "a third password"))
	wantCode(t, err, om.CodeUnauthorized)
	// The first goes: who came with it must log in again, who came with the
	// second stays.
	w.change(func(d *Document) error { d.Users["alice"].Verifiers = d.Users["alice"].Verifiers[1:]; return nil })
	for i, p := range logins {
		if err := w.rights.Check(p); (err != nil) != (i < 2) {
			t.Errorf("login %d: %v", i, err)
		}
	}
	_, err = w.login("alice", goodPassword)
	wantCode(t, err, om.CodeUnauthorized)
	// A password that is replaced in the middle of a login does not log in.
	c, conversation := newClient("alice", second), w.scram()
	reply, _, err := conversation.Step([]byte(c.begin()))
	w.must(err)
	w.change(func(d *Document) error { return d.SetPassword("alice", NewSecret(goodPassword)) })
	final, _ := c.end(string(reply))
	_, p, err := conversation.Step([]byte(final))
	wantCode(t, err, om.CodeUnauthorized)
	if p != nil {
		t.Error("logged in")
	}
}

func TestPassword(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	if p.Name != "alice" || p.Method != ByPassword || !p.Expires.IsZero() {
		t.Errorf("%+v", p)
	}
	for _, c := range [][2]string{{"alice", ""}, {"alice", "wrong password"}, {"ALICE", goodPassword}, {"", goodPassword}, {"bob", ""},
		{"nobody", goodPassword}, {"alice\x00", goodPassword}, {strings.Repeat("x", 1<<20), goodPassword}, {"alice", strings.Repeat("x", 1<<20)}, {"\xff", "\xff"}} {
		w.auth.config.Gate = NewGate(GateConfig{})
		p, err := w.login(c[0], c[1])
		wantCode(t, err, om.CodeUnauthorized)
		if p != nil {
			t.Errorf("%q", c)
		}
	}
	if p, err := w.login("ａlice", goodPassword); err != nil || p.Name != "alice" { // SASLprep
		t.Error(p, err)
	}
}

func TestPasswordsTakeTurns(t *testing.T) {
	w := newWorld(t)
	for w.auth.hashing.TryAcquire(1) {
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.auth.Password(ctx, clientFrom, "alice", NewSecret(goodPassword)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.directory.Close()
		w.change(func(d *Document) error { d.Users["alice"].Expires = time.Now().Add(time.Hour); return nil })
		p := w.alice()
		time.Sleep(time.Hour - time.Second)
		w.must(w.rights.Check(p))
		time.Sleep(time.Second)
		wantCode(t, w.rights.Check(p), om.CodeUnauthorized)
		_, err := w.login("alice", goodPassword)
		wantCode(t, err, om.CodeUnauthorized)
	})
}

func TestGuessingIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.directory.Close()
		guess := func(from, user, password string) error {
			_, err := w.auth.Password(t.Context(), from, user, NewSecret(password))
			return err
		}
		const other = "198.51.100.7:99"
		w.must(guess(clientFrom, "alice", goodPassword))
		// Somebody elsewhere guesses for an hour: the waits double up
		// to a minute.
		tried := 0
		for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			err := guess(other, "alice", "guess "+strconv.Itoa(tried))
			if om.CodeOf(err) == om.CodeUnauthorized {
				tried++
				continue
			}
			wantCode(t, err, om.CodeServiceUnavailable)
			if !om.Retryable(err) {
				t.Fatal(err)
			}
		}
		if tried < 60 || tried > 75 {
			t.Errorf("%d guesses in an hour", tried)
		}
		// The right password from there, or from a third address, must
		// wait too; where she has been before, alice gets in.
		wantCode(t, guess(other, "alice", goodPassword), om.CodeServiceUnavailable)
		wantCode(t, guess("203.0.113.1:1", "alice", goodPassword), om.CodeServiceUnavailable)
		wantCode(t, guess(other, "bob", goodPassword), om.CodeServiceUnavailable)
		w.must(guess(clientFrom, "alice", goodPassword))
		// Guessing there is as slow, and costs only those who are
		// there.
		for range 5 {
			wantCode(t, guess("[2001:db8::1]:1", "bob", "x"), om.CodeUnauthorized)
			wantCode(t, guess(clientFrom, "alice", "x"), om.CodeUnauthorized)
		}
		wantCode(t, guess(clientFrom, "alice", goodPassword), om.CodeServiceUnavailable)
		wantCode(t, guess(clientFrom, "carol", "x"), om.CodeUnauthorized)
		// Nor do conversations that began side by side help.
		w.gate = NewGate(GateConfig{})
		w.auth.config.Gate = w.gate
		var open []*Conversation
		var finals []string
		for range 20 {
			c, conversation := newClient("alice", "wrong password"), w.scram()
			reply, _, err := conversation.Step([]byte(c.begin()))
			w.must(err)
			final, _ := c.end(string(reply))
			open, finals = append(open, conversation), append(finals, final)
		}
		checked := 0
		for i, c := range open {
			if _, _, err := c.Step([]byte(finals[i])); om.CodeOf(err) == om.CodeUnauthorized {
				checked++
			}
		}
		if checked != 5 {
			t.Errorf("%d of 20 guesses side by side were checked", checked)
		}
		// Quiet for a while, and all is forgotten.
		time.Sleep(forgetIn + time.Second)
		wantCode(t, guess(clientFrom, "alice", "wrong password"), om.CodeUnauthorized)
		wantCode(t, guess(clientFrom, "alice", "wrong password"), om.CodeUnauthorized)
		// One address that tries all names meets the address's wait; a
		// known pair has its own.
		for i := range 5 {
			wantCode(t, guess(other, "user"+strconv.Itoa(i), "x"), om.CodeUnauthorized)
		}
		wantCode(t, guess(other, "user9", "x"), om.CodeServiceUnavailable)
	})
}

func TestSource(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:99": "192.0.2.1", "192.0.2.1": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1",
		"[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[2001:db8:1:2:ffff::]:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "@": "@", "": "",
	} {
		if got := source(from); got != want {
			t.Errorf("%s is %s, want %s", from, got, want)
		}
	}
}

func TestGateIsBounded(t *testing.T) {
	g := NewGate(GateConfig{})
	for i := range 3 * gateKeys {
		g.failed(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "user"+strconv.Itoa(i))
		g.succeeded(clientFrom, "user"+strconv.Itoa(i))
	}
	if g.failures.Len() != gateKeys || g.known.Len() != gateKeys {
		t.Error(g.failures.Len(), g.known.Len())
	}
}

func TestGateEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Pending: 3, PendingPerAddress: 2})
		enter := func(from string, want om.Code) func() {
			t.Helper()
			_, leave, err := g.Enter(t.Context(), from)
			if om.CodeOf(err) != want {
				t.Fatal(err)
			}
			return leave
		}
		one := enter("192.0.2.1:1", 0)
		two := enter("192.0.2.1:2", 0)
		enter("192.0.2.1:3", om.CodeServiceUnavailable)
		three := enter("192.0.2.2:1", 0)
		enter("192.0.2.3:1", om.CodeServiceUnavailable)
		one()
		one()
		four := enter("192.0.2.1:4", 0)
		enter("192.0.2.1:5", om.CodeServiceUnavailable)
		two()
		three()
		four()
		if len(g.pending) != 0 || g.total != 0 {
			t.Error(g.pending, g.total)
		}
		ctx, leave, err := g.Enter(t.Context(), clientFrom)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-ctx.Done()
		if d := time.Since(began); d != 10*time.Second || g.total != 1 {
			t.Errorf("after %v, %d", d, g.total)
		}
		leave()
	})
}
