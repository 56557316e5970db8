package openmessaging_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestR043_uri_parts(t *testing.T) {
	for s, want := range map[string]URL{
		"oms:rocketmq://alice@rocketmq.apache.org/us-east": {
			Driver: "rocketmq", Account: "alice", Hosts: []HostPort{{"rocketmq.apache.org", 80}}, Region: "us-east"},
		// R045: no account; R046: ports host by host; R047: order; G37: a blank
		"oms:x://b:10911, a,c:65535/r": {
			Driver: "x", Hosts: []HostPort{{"b", 10911}, {"a", 80}, {"c", 65535}}, Region: "r"},
		// G38
		"oms:x://[::1]:1,[fe80::1%25eth0]/r": {
			Driver: "x", Hosts: []HostPort{{"::1", 1}, {"fe80::1%25eth0", 80}}, Region: "r"},
		// C18
		"oms:x://h/us-east:default_space": {Driver: "x", Hosts: []HostPort{{"h", 80}}, Region: "us-east:default_space"},
		"oms:x://h/r?path=./a/b&n=1": {
			Driver: "x", Hosts: []HostPort{{"h", 80}}, Region: "r", Options: url.Values{"path": {"./a/b"}, "n": {"1"}}},
	} {
		u, err := ParseURL(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if d := cmp.Diff(want, u, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", s, d)
		}
	}
}

func TestR044_uri_refusals(t *testing.T) {
	for s, part := range map[string]string{
		"":                              `does not begin with "oms:"`,
		"rocketmq://h/r":                `does not begin with "oms:"`,
		"oms:x":                         `"://" is missing`,
		"oms:://h/r":                    "the driver",
		"oms:1x://h/r":                  "the driver",
		"oms:a b://h/r":                 "the driver",
		"oms:x://h":                     "region is missing",
		"oms:x://h/":                    "region is missing",
		"oms:x:///r":                    "a host is empty",
		"oms:x://a,,b/r":                "a host is empty",
		"oms:x://a, /r":                 "a host is empty",
		"oms:x://@h/r":                  "account before",
		"oms:x://me:secret@h/r":         "secret does not belong",
		"oms:x://h:/r":                  `the port ""`,
		"oms:x://h:0/r":                 `the port "0"`,
		"oms:x://h:65536/r":             `the port "65536"`,
		"oms:x://h:-1/r":                `the port "-1"`,
		"oms:x://h:+1/r":                `the port "+1"`,
		"oms:x://h:80:90/r":             "the port",
		"oms:x://::1/r":                 "needs brackets",
		"oms:x://fe80::1, b/r":          "needs brackets",
		"oms:x://[::1/r":                "no closing bracket",
		"oms:x://[h]/r":                 "not an IPv6 address",
		"oms:x://[not:ipv6]/r":          "not an IPv6 address",
		"oms:x://[:::::]/r":             "not an IPv6 address",
		"oms:x://[10.0.0.1]/r":          "not an IPv6 address",
		"oms:x://[]/r":                  "not an IPv6 address",
		"oms:x://[::1]9/r":              "follows the bracket",
		"oms:x://a b/r":                 "character that hosts do not have",
		"oms:x://h/r?":                  "nothing follows",
		"oms:x://h/r?a=%zz":             "options",
		"oms:x://h/r\n":                 "control character",
		"oms:x://\xff/r":                "invalid UTF-8",
		"oms:x://h/" + longText(10_000): "it is longer than",
		// What would be longer once it is printed.
		"oms:x://" + strings.Repeat("a,", 3000) + "a/r":   "normal form is longer than",
		"oms:x://h/r?k=" + strings.Repeat("\u00e9", 3000): "normal form is longer than",
	} {
		_, err := ParseURL(s)
		if !errors.Is(err, CodeMalformedURL) || !strings.Contains(err.Error(), part) {
			t.Errorf("%.60q: %v, want %q", s, err, part)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%.60q: the error has %d bytes", s, len(err.Error()))
		}
	}
}

func longText(n int) string { return strings.Repeat("r", n) }

func TestG39_secret_not_shown(t *testing.T) {
	const secret = "s3cret"
	for _, s := range []string{
		"oms:x://me:s3cret@h/r",
		"oms:x://me:s3cret@h",
		"oms:1://me:s3cret@h/r",
		"oms:x://me:s3cret@h:0/r",
		"oms:x://me:/s3cret@h",
		"oms:x://me:s3cret/@h",
		"oms:x://me:s3cret/x@h",
		"oms:x://me:s3cret@x@h/r",
		"oms:x://me:@s3cret@h/r",
		"oms:x://me:?s3cret@h/r",
		"oms:x://me:s3cret\n@h/r",
		"oms:me:s3cret@x://h/r",
		" oms:x://me:s3cret@h/r",
		"amqp://me:s3cret@h/r",
		"me:s3cret@h",
		"oms:x://me:s3cret@h/" + longText(10_000),
		"oms:x://me:" + longText(300) + "s3cret@h/r",
	} {
		_, err := ParseURL(s)
		if !errors.Is(err, CodeMalformedURL) {
			t.Errorf("%.60q: %v", s, err)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), secret) {
				t.Errorf("it shows in %v", e)
			}
		}
		if u, _ := ParseURL(s); strings.Contains(u.String(), secret) {
			t.Errorf("%.60q gives %v", s, u)
		}
	}
	// An "@" or a ":" alone hides nothing that helps to find the mistake.
	for s, part := range map[string]string{
		"oms:x://me@h:0/r":           `"oms:x://me@h:0/r"`,
		"oms:x://h:99999/r":          `"oms:x://h:99999/r"`,
		"oms:x://h:0/r?mail=a@b.org": `the port "0"`,
	} {
		if _, err := ParseURL(s); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", s, err)
		}
	}
	// Neither is refused that is no secret.
	for _, s := range []string{"oms:x://h:1/r?mail=a@b", "oms:x://me@h:1/r", "oms:x://h:1/r@x"} {
		if _, err := ParseURL(s); err != nil {
			t.Error(err)
		}
	}
}

func TestR049_attributes(t *testing.T) {
	u, err := ParseURL("oms:x://me@a,b:2/r?path=p")
	if err != nil {
		t.Fatal(err)
	}
	want := Properties{
		AttrAccessPoints: String("a:80,b:2"), AttrDriver: String("x"), AttrAccountID: String("me"),
		AttrRegion: String("r"), "path": String("p"),
	}
	if d := cmp.Diff(want, u.Attributes()); d != "" {
		t.Error(d)
	}
	u.Options.Set(AttrDriver, "forged")
	if u.Attributes().GetString(AttrDriver, "") != "x" {
		t.Error("an option replaces a built-in attribute")
	}
	u.Options["none"] = nil // not from ParseURL, but nobody's reason to panic
	if _, ok := u.Attributes()["none"]; ok {
		t.Error("an option without values is an attribute")
	}
	c := u.Clone()
	c.Hosts[0].Host, c.Options["path"][0] = "z", "z"
	if u.Hosts[0].Host != "a" || u.Options.Get("path") != "p" {
		t.Error("the clone shares memory")
	}
}

func TestURLRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z0-9._-]{1,12}`)
	rapid.Check(t, func(t *rapid.T) {
		u := URL{
			Driver:  rapid.StringMatching(`[a-z][a-z0-9+.-]{0,8}`).Draw(t, "driver"),
			Account: rapid.OneOf(rapid.Just(""), name).Draw(t, "account"),
			Region:  name.Draw(t, "region"),
			Options: url.Values{},
		}
		for range rapid.IntRange(1, 4).Draw(t, "hosts") {
			host := rapid.OneOf(name, rapid.Just("::1"), rapid.Just("2001:db8::7")).Draw(t, "host")
			u.Hosts = append(u.Hosts, HostPort{host, rapid.IntRange(1, 65535).Draw(t, "port")})
		}
		for range rapid.IntRange(0, 3).Draw(t, "options") {
			u.Options.Add(rapid.String().Draw(t, "key"), rapid.String().Draw(t, "value"))
		}
		got, err := ParseURL(u.String())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(u, got); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"oms:x://h/r", "oms:x://a@b:1,[::1]:2, c/r?k=v&k=w", "oms:x://h", "oms:x://h:0/r", "ns://q",
		"oms:x://me:secret@h/r", "oms:x://[fe80::1%25eth0]/a:b", "oms:x://h/r?&k=%00;", "oms:x://a/b@h/r@x",
		"oms:x://" + strings.Repeat("a,", 3000) + "a/r",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err != nil {
			if !errors.Is(err, CodeMalformedURL) {
				t.Error(err)
			}
			return
		}
		again, err := ParseURL(u.String())
		if err != nil {
			t.Fatalf("%q is %q, which is refused: %v", s, u.String(), err)
		}
		if d := cmp.Diff(u, again, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%q is %q: %s", s, u.String(), d)
		}
	})
}

func TestR089_queue_name_form(t *testing.T) {
	for name, want := range map[string][2]string{
		"q": {"fallback", "q"}, "ns://q": {"ns", "q"}, "my_ns://a/b": {"my_ns", "a/b"}, "NS://Q": {"NS", "Q"}, "": {"fallback", ""},
	} {
		if ns, q := SplitQueueName(name, "fallback"); ns != want[0] || q != want[1] {
			t.Errorf("SplitQueueName(%q) = %q %q", name, ns, q)
		}
	}
	if JoinQueueName("ns", "q") != "ns://q" {
		t.Error(JoinQueueName("ns", "q"))
	}
}

func TestR089_queue_names_round_trip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns, q := rapid.StringMatching(`[^:]*`).Draw(t, "namespace"), rapid.String().Draw(t, "queue")
		if gotNs, gotQ := SplitQueueName(JoinQueueName(ns, q), "fallback"); gotNs != ns || gotQ != q {
			t.Fatalf("%q %q", gotNs, gotQ)
		}
	})
}
