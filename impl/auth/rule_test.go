package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{
		"allow publish queue:orders":                "allow publish queue:default://orders",
		"  deny   manage,browse  queue:*://*":       "deny browse,manage queue:*://*",
		"allow consume group:shop://bill-*":         "allow consume group:shop://bill-*",
		"allow manage namespace:*":                  "allow manage namespace:*",
		"allow browse namespace:team-*":             "allow browse namespace:team-*",
		"allow browse,manage server":                "allow browse,manage server",
		"allow publish,publish queue:a/b.c_d%e|f~$": "allow publish queue:default://a/b.c_d%e|f~$",
	} {
		if got := rule(t, text).String(); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                                                "not of the form",
		"allow publish":                                   "not of the form",
		"permit publish queue:a":                          "not of the form",
		"allow publish queue:a queue:b":                   "not of the form",
		"allow write queue:a":                             `"write" is none of`,
		"allow publish, queue:a":                          `"" is none of`,
		"allow publish topic:a":                           "none of queue:",
		"allow publish queue":                             "none of queue:",
		"allow manage server:x":                           "none of queue:",
		"allow publish queue:":                            "is empty",
		"allow publish queue:*a":                          `holds '*' at byte 0`,
		"allow publish queue:a*b*":                        `holds '*' at byte 1`,
		"allow publish queue:a**":                         `holds '*' at byte 1`,
		"allow publish queue:sh*://a":                     `holds '*'`,
		"allow publish queue:://a":                        "namespace's name is empty",
		"allow publish queue:a://b://c":                   `holds ':'`,
		"allow publish queue:a\x00b":                      `holds '\x00'`,
		"allow manage namespace:a/b":                      `holds '/'`,
		"allow publish group:a":                           "nobody can publish a group",
		"allow consume server":                            "nobody can consume a server",
		"allow publish namespace:a":                       "nobody can publish a namespace",
		"allow publish queue:ä":                           "holds",
		"allow publish " + strings.Repeat("x", 1100):      "longer than",
		"allow publish queue:" + strings.Repeat("x", 256): "255 are the most",
	} {
		_, err := ParseRule(text)
		wantCode(t, err, om.CodeBadParameter)
		if !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "bad parameter") != 1 {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"allow publish,browse queue:shop://orders-*", "deny manage server", "allow consume group:*://*", "allow browse namespace:a*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is printed as %q, which is %v (%v)", text, r, again, err)
		}
		if r.verbs == 0 {
			t.Fatalf("%q has no verbs", text)
		}
		compile([]Rule{r}).find(Queue("shop", "orders-1"))
	})
}

// allowed is the dumb model: it reads the text of every rule.
func allowed(rules []string, v Verb, kind, namespace, name string) bool {
	yes := false
	for _, text := range rules {
		words := strings.Fields(text)
		hit := false
		for verb := range strings.SplitSeq(words[1], ",") {
			hit = hit || verb == v.String()
		}
		k, pattern, _ := strings.Cut(words[2], ":")
		if !hit || k != kind {
			continue
		}
		if kind == "queue" || kind == "group" {
			ns, rest, ok := strings.Cut(pattern, "://")
			if !ok {
				ns, rest = "default", pattern
			}
			if ns != "*" && ns != namespace {
				continue
			}
			pattern = rest
		}
		if begin, ok := strings.CutSuffix(pattern, "*"); kind != "server" && pattern != name && !(ok && strings.HasPrefix(name, begin)) {
			continue
		}
		if words[0] == "deny" {
			return false
		}
		yes = true
	}
	return yes
}

func TestRightsAgainstModel(t *testing.T) {
	name := rapid.StringOfN(rapid.SampledFrom([]rune("ab/.")), 1, 5, -1)
	namespace := rapid.SampledFrom([]string{"default", "shop", "a"})
	drawRule := rapid.Custom(func(t *rapid.T) string {
		kind := rapid.IntRange(0, int(kinds)-1).Draw(t, "kind")
		var verbs []string
		for i, v := range verbNames {
			if kindVerbs[kind]&(1<<i) != 0 && rapid.Bool().Draw(t, v) {
				verbs = append(verbs, v)
			}
		}
		if len(verbs) == 0 {
			verbs = []string{"browse"}
		}
		n := strings.ReplaceAll(name.Draw(t, "name"), "/", map[bool]string{true: ".", false: "/"}[Kind(kind) == KindNamespace])
		switch rapid.IntRange(0, 3).Draw(t, "pattern") {
		case 0:
			n += "*"
		case 1:
			n = "*"
		}
		on := kindNames[kind]
		switch Kind(kind) {
		case KindNamespace:
			on += ":" + n
		case KindQueue, KindGroup:
			on += ":" + rapid.SampledFrom([]string{"", "*://", "shop://", "a://"}).Draw(t, "namespace") + n
		}
		return rapid.SampledFrom([]string{"allow ", "allow ", "deny "}).Draw(t, "effect") + strings.Join(verbs, ",") + " " + on
	})
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(drawRule, 0, 20).Draw(t, "rules")
		// The rules are divided among the user and two roles.
		subjects := make([][]Rule, 3)
		for _, text := range texts {
			r, err := ParseRule(text)
			if err != nil {
				t.Fatal(err)
			}
			i := rapid.IntRange(0, 2).Draw(t, "subject")
			subjects[i] = append(subjects[i], r)
		}
		s := newSnapshot(&Document{
			Users: map[string]*User{"u": {Rules: subjects[0], Roles: []string{"r"}}},
			Roles: map[string]*Role{"r": {Rules: subjects[1]}, "token": {Rules: subjects[2]}, "other": {Rules: []Rule{{verbs: 15, prefix: true, on: Resource{KindQueue, "*", ""}}}}},
		})
		p := &Principal{Name: "u", Roles: []string{"token", "unknown"}}
		for range 20 {
			n, ns := name.Draw(t, "of"), namespace.Draw(t, "in")
			for kind, r := range map[string]Resource{"queue": Queue(ns, n), "group": Group(ns, n), "namespace": Namespace(n), "server": Server()} {
				for i := range verbNames {
					v := Verb(1 << i)
					if got, want := s.find(p, r).has(v), allowed(texts, v, kind, ns, n); got != want {
						t.Fatalf("%s %v is %v, want %v by\n%s", v, r, got, want, strings.Join(texts, "\n"))
					}
				}
			}
		}
	})
}

func TestAllow(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	err := w.rights.Allow(p, Publish, Queue("shop", "orders"))
	wantCode(t, err, om.CodeForbidden)
	if !errors.Is(err, om.ErrSecurity) || om.Retryable(err) {
		t.Error(err)
	}
	want := `openmessaging: publish "queue:shop://orders": forbidden (1403): no rule allows the user "alice" to publish here; the rule "allow publish queue:shop://orders" would`
	if err.Error() != want {
		t.Errorf("%s\nwant\n%s", err, want)
	}
	// What the text proposes helps.
	w.change(func(d *Document) error { return d.Grant("user:alice", rule(t, "allow publish queue:shop://orders")) })
	w.must(w.rights.Allow(p, Publish, Queue("shop", "orders")))

	for _, none := range []Verb{0, Publish | Consume, 16} {
		wantCode(t, w.rights.Allow(p, none, Queue("shop", "orders")), om.CodeForbidden)
	}
	wantCode(t, w.rights.Allow(nil, Publish, Queue("shop", "orders")), om.CodeUnauthorized)
	wantCode(t, w.rights.Check(nil), om.CodeUnauthorized)
	wantCode(t, w.rights.Allow(&Principal{Name: "nobody"}, Publish, Queue("shop", "orders")), om.CodeUnauthorized)

	w.change(func(d *Document) error { return d.Grant("user:alice", rule(t, "deny publish queue:*://*")) })
	err = w.rights.Allow(p, Publish, Queue("shop", "orders"))
	wantCode(t, err, om.CodeForbidden)
	if !strings.Contains(err.Error(), "must be revoked") {
		t.Error(err)
	}
}

func TestConsumeNeedsQueueAndGroup(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	queue, group := rule(t, "allow consume queue:q"), rule(t, "allow consume group:g")
	wantCode(t, w.rights.AllowConsume(p, "default", "q", "g"), om.CodeForbidden)
	w.change(func(d *Document) error { return d.Grant("user:alice", queue) })
	err := w.rights.AllowConsume(p, "default", "q", "g")
	wantCode(t, err, om.CodeForbidden)
	if !strings.Contains(err.Error(), "group:default://g") {
		t.Error(err)
	}
	w.change(func(d *Document) error { return d.Grant("user:alice", group) })
	w.must(w.rights.AllowConsume(p, "default", "q", "g"))
	w.change(func(d *Document) error { return d.Revoke("user:alice", queue) })
	wantCode(t, w.rights.AllowConsume(p, "default", "q", "g"), om.CodeForbidden)
}

func TestRightsChangeWhileHeld(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	r := Queue("default", "q")
	w.change(func(d *Document) error {
		return errors.Join(d.AddRole("writer"), d.Grant("role:writer", rule(t, "allow publish queue:q")))
	})
	wantCode(t, w.rights.Allow(p, Publish, r), om.CodeForbidden)
	w.change(func(d *Document) error { d.Users["alice"].Roles = []string{"writer"}; return nil })
	w.must(w.rights.Allow(p, Publish, r))
	w.change(func(d *Document) error { return d.DeleteRole("writer") })
	wantCode(t, w.rights.Allow(p, Publish, r), om.CodeForbidden)

	for _, c := range []struct {
		why  string
		do   func(d *Document) error
		undo func(d *Document) error
	}{
		{"disabled", func(d *Document) error { d.Users["alice"].Disabled = true; return nil }, func(d *Document) error { d.Users["alice"].Disabled = false; return nil }},
		{"no longer", func(d *Document) error { return d.SetPassword("alice", NewSecret("another password")) }, nil},
		{"no such user", func(d *Document) error { return d.DeleteUser("alice") }, nil},
	} {
		w.must(w.rights.Check(p))
		w.change(c.do)
		err := w.rights.Check(p)
		wantCode(t, err, om.CodeUnauthorized)
		wantCode(t, w.rights.Allow(p, Publish, r), om.CodeUnauthorized)
		if !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v; want %q", err, c.why)
		}
		if c.undo == nil { // a user of the same name and password is somebody else
			w.change(func(d *Document) error {
				_ = d.DeleteUser("alice")
				return errors.Join(d.AddUser("alice", User{}), d.SetPassword("alice", NewSecret(goodPassword)))
			})
			wantCode(t, w.rights.Check(p), om.CodeUnauthorized)
			p = w.alice()
			continue
		}
		w.change(c.undo)
	}
}

func benchmarkWorld(b *testing.B, rules int) (*Authorizer, *Principal) {
	var all []Rule
	for i := range rules {
		pattern := fmt.Sprintf("queue:shop://orders-%d-", i)
		if i%2 == 0 {
			pattern += "*"
		}
		all = append(all, rule(b, "allow publish "+pattern))
	}
	d := &Directory{}
	d.now.Store(newSnapshot(&Document{Users: map[string]*User{"alice": {Rules: all[:len(all)/2], Roles: []string{"r"}}}, Roles: map[string]*Role{"r": {Rules: all[len(all)/2:]}}}))
	return NewAuthorizer(d, NewAudit(nil)), &Principal{Name: "alice"}
}

func BenchmarkAllow(b *testing.B) {
	for _, n := range []int{10, 1000, 20_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			a, p := benchmarkWorld(b, n)
			r := Queue("shop", fmt.Sprintf("orders-%d-eu", n-2))
			b.ReportAllocs()
			for b.Loop() {
				if err := a.Allow(p, Publish, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
