package serve

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// load loads a configuration from a file with that content, an environment and
// flags.
func load(t testing.TB, content string, environ []string, args ...string) (*Loaded, error) {
	t.Helper()
	source := Source{Environ: environ, Flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	if content != "" {
		source.File = filepath.Join(t.TempDir(), "oms.yaml")
		if err := os.WriteFile(source.File, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	AddFlags(source.Flags)
	if err := source.Flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(source)
}

func TestFlagsGoBeforeTheEnvironmentAndThatBeforeTheFile(t *testing.T) {
	l, err := load(t, "path: file\ndrain: 1m\nmax_connections: 7\nretain: {bytes: 10GB, reserve: 1048576}\nauth: {certificates: [\"cn:*\", \"dns:*.x\"]}\ntls:\n",
		[]string{"OMS_DRAIN=2m", "OMS_MAX_CONNECTIONS=8", "OMS_RETAIN_AGE=1h", "OMS_HOST=", "HOME=/"},
		"--max-connections=9", "--auth-tokens-algorithms=ES256,EdDSA", "--insecure-anyone-may-do-anything")
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Path, want.Drain, want.MaxConnections, want.Insecure = "file", 2*time.Minute, 9, true
	want.Retain = Retain{Bytes: 10_000_000_000, Age: time.Hour, Reserve: 1 << 20}
	want.Auth.Certificates, want.Auth.Tokens.Algorithms = []string{"cn:*", "dns:*.x"}, []string{"ES256", "EdDSA"}
	if d := cmp.Diff(want, l.Config); d != "" {
		t.Error(d)
	}
	for key, from := range map[string]string{
		"path": l.source.File, "drain": "environment OMS_DRAIN", "max_connections": "flag --max-connections", "host": "default", "listen": "default",
	} {
		if l.From[key] != from {
			t.Errorf("%s is from %s, not %s", key, l.From[key], from)
		}
	}
}

func TestEverySettingIsDescribed(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range Settings() {
		for _, name := range []string{s.Key, s.Flag, s.Env} {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
		}
		seen[s.Key], seen[s.Flag], seen[s.Env] = true, true, true
		if s.Help == "" {
			t.Errorf("%s has no description", s.Key)
		}
		for _, word := range []string{"secret", "key", "password"} {
			if strings.HasSuffix(s.Key, word) && !strings.HasPrefix(s.Help, "file of ") && !strings.HasPrefix(s.Help, "where ") {
				t.Errorf("%s may hold a secret itself", s.Key)
			}
		}
	}
	if len(seen) < 3*25 {
		t.Errorf("only %d names", len(seen))
	}
}

func TestLoadRefuses(t *testing.T) {
	for content, part := range map[string]string{
		"tls: {crt: x}":                         "there is no setting tls.crt; is tls.cert meant?",
		"nonsense: 1":                           "there is no setting nonsense",
		"log: info":                             "log is a section, not a value",
		"listen: {port: 1}":                     "there is no setting listen.port",
		"listen: [a, b]":                        "listen: ",
		"listen: 7650":                          "put text between quotes",
		"path: true":                            "put text between quotes",
		"drain: 5":                              "5 has no unit; write for example 5s",
		"drain: five":                           "drain: ",
		"max_connections: many":                 "max_connections: ",
		"max_connections: 99999999999999999999": "max_connections: ",
		"max_connections: 1.5":                  "max_connections: ",
		"retain: {bytes: 1.5}":                  "retain.bytes: ",
		"retain: {bytes: -1}":                   "retain.bytes: ",
		"retain: {bytes: 99EB}":                 "is no size such as",
		"retain: {reserve: lots}":               `"lots" is no size such as 10GB or 256MiB`,
		"insecure_anyone_may_do_anything: 1":    "insecure_anyone_may_do_anything: ",
		"auth: {certificates: {a: b}}":          "there is no setting auth.certificates.a",
		"path: [":                               "oms.yaml: ",
		"- path":                                "oms.yaml: ",
		"path: a\npath: b":                      "oms.yaml: ",
		strings.Repeat("# filler\n", 1<<17):     "a configuration has 1048576 at the most",
	} {
		l, err := load(t, content, nil)
		if err == nil {
			t.Errorf("%.40q is taken: %+v", content, l.Config)
		} else if !strings.Contains(err.Error(), part) {
			t.Errorf("%.40q: %q is not in %v", content, part, err)
		}
	}
	if _, err := Load(Source{File: filepath.Join(t.TempDir(), "none.yaml")}); err == nil || !strings.Contains(err.Error(), "there is no configuration file") {
		t.Error(err)
	}
	_, err := load(t, "", []string{"OMS_DRAIN=x", "OMS_MAX_CONNECTIONS=y"}, "--retain-bytes=z")
	for _, part := range []string{"drain: ", "(environment OMS_DRAIN)", "(environment OMS_MAX_CONNECTIONS)", "(flag --retain-bytes)"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v: not all problems are told at once", part, err)
		}
	}
}

func TestStrangeVariablesAreTold(t *testing.T) {
	l, err := load(t, "", []string{"OMS_LISTN=:1", "OMS_URL=x", "OMS_TLS_CRT=y"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"OMS_LISTN; is OMS_LISTEN meant?", "OMS_TLS_CRT; is OMS_TLS_CERT meant?"}, l.Strange); d != "" {
		t.Error(d)
	}
}

func TestCheck(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", "server")
	for name, c := range map[string]struct {
		change func(*Config)
		part   string // of the error; "" for none
	}{
		"defaults":            {func(*Config) {}, ""},
		"no path":             {func(c *Config) { c.Path = "" }, "path: say in which folder"},
		"memory":              {func(c *Config) { c.Path, c.Memory = "", true }, ""},
		"localhost":           {func(c *Config) { c.Listen = "localhost:0" }, ""},
		"IPv6 loopback":       {func(c *Config) { c.Listen = "[::1]:7650" }, ""},
		"everywhere":          {func(c *Config) { c.Listen = ":7650" }, "can be reached from other machines, so it needs TLS"},
		"all of IPv4":         {func(c *Config) { c.Listen = "0.0.0.0:7650" }, "can be reached from other machines"},
		"all of IPv6":         {func(c *Config) { c.Listen = "[::]:7650" }, "can be reached from other machines"},
		"a name":              {func(c *Config) { c.Listen = "localhost.example.org:7650" }, "can be reached from other machines"},
		"insecure":            {func(c *Config) { c.Listen, c.Insecure = ":7650", true }, ""},
		"with TLS":            {func(c *Config) { c.Listen, c.TLS.Cert, c.TLS.Key = ":7650", cert, key }, ""},
		"no port":             {func(c *Config) { c.Listen = "127.0.0.1" }, "missing port"},
		"a port of letters":   {func(c *Config) { c.Listen = "127.0.0.1:http" }, "the port is not a number"},
		"a port too high":     {func(c *Config) { c.Listen = "127.0.0.1:70000" }, "the port is not a number"},
		"admin without port":  {func(c *Config) { c.Admin.Listen = "x" }, "admin.listen: "},
		"no admin":            {func(c *Config) { c.Admin.Listen = "" }, ""},
		"no connections":      {func(c *Config) { c.MaxConnections = 0 }, "max_connections: it is too small"},
		"no drain":            {func(c *Config) { c.Drain = 0 }, "drain: it is too small"},
		"drain backwards":     {func(c *Config) { c.Drain = -1 }, "drain: it is too small"},
		"no reserve":          {func(c *Config) { c.Retain.Reserve = 0 }, "retain.reserve: "},
		"small store":         {func(c *Config) { c.Retain.Bytes = 1 }, "are the least"},
		"half a sample":       {func(c *Config) { c.Trace.Sample = 0.5 }, ""},
		"two samples":         {func(c *Config) { c.Trace.Sample = 2 }, "is not in 0 to 1"},
		"collector":           {func(c *Config) { c.Trace.Endpoint = "http://localhost:4317" }, ""},
		"collector of nobody": {func(c *Config) { c.Trace.Endpoint = "localhost:4317" }, "trace.endpoint: "},
		"log level":           {func(c *Config) { c.Log.Level = "loud" }, "is none of debug, info, warn, error"},
		"log format":          {func(c *Config) { c.Log.Format = "xml" }, "is neither text nor json"},
		"half of TLS":         {func(c *Config) { c.TLS.Cert = cert }, "tls: "},
		"another's key":       {func(c *Config) { c.TLS.Cert, c.TLS.Key = cert, filepath.Join(a.dir, "ca.key") }, "tls: "},
		"no such certificate": {func(c *Config) { c.TLS.Cert, c.TLS.Key = cert+"x", key }, "tls: "},
		"rule":                {func(c *Config) { c.Auth.Certificates = []string{"nonsense"} }, "auth.certificates: "},
		"rule for nobody":     {func(c *Config) { c.Auth.Certificates = []string{"cn:*"} }, "not asked for certificates"},
		"tokens by halves":    {func(c *Config) { c.Auth.Tokens.Issuer = "x" }, "auth.tokens: "},
		"password of nobody":  {func(c *Config) { c.InitAdminPassword = "env:X" }, "init_admin_password: "},
		"password itself":     {func(c *Config) { c.InitAdmin, c.InitAdminPassword = "root", "hunter2" }, "the password itself does not belong here"},
		"users and none":      {func(c *Config) { c.Insecure, c.InitAdmin = true, "root" }, "users make no sense with it"},
	} {
		config := Defaults()
		config.Path = "data"
		c.change(&config)
		err := config.Check()
		switch {
		case c.part == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.part != "" && (err == nil || !strings.Contains(err.Error(), c.part)):
			t.Errorf("%s: %q is not in %v", name, c.part, err)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the error tells it: %v", name, err)
		}
	}
}

func TestPrintIsWhatAFileHas(t *testing.T) {
	l, err := load(t, "path: \"a: b # c\"\nretain: {bytes: 10GB}\n", nil, "--auth-certificates=cn:*", "--init-admin=root", "--init-admin-password=env:ROOT")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Print(&out); err != nil {
		t.Fatal(err)
	}
	contains(t, out.String(), "# flag --init-admin\n", "# "+l.source.File+"\n", "# default\n", "env:ROOT")
	again, err := load(t, out.String(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if d := cmp.Diff(l.Config, again.Config); d != "" {
		t.Error(d)
	}
}

func TestPrintMasksSecrets(t *testing.T) {
	for _, endpoint := range []string{"https://user:hunter2@collector:4317", "https://user:hunter2%@collector"} {
		l, err := load(t, "", nil, "--init-admin=root", "--init-admin-password=hunter2", "--trace-endpoint="+endpoint)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := l.Print(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "[redacted]") {
			t.Error(out.String())
		}
	}
}

// FuzzLoad loads a file and an environment: no input may do worse than an error,
// and what is loaded must mean the same when it is printed and loaded again.
func FuzzLoad(f *testing.F) {
	f.Add("path: data\nretain: {bytes: 10GB}\n", "OMS_DRAIN=5s")
	f.Add("auth: {certificates: [\"cn:*\"]}\n", "OMS_LISTEN=:1")
	f.Add("a: &a [*a]\n", "=")
	f.Add("tls:\n  cert: |\n    x\n", "OMS_TRACE_SAMPLE=1e309")
	f.Add("log: {level: \"\\u2028\"}", "OMS_AUTH_TOKENS_ALGORITHMS=,")
	f.Add("drain: 1h\nmax_connections: 0x10\n", "OMS_ADMIN_QUEUES=0b1")
	f.Fuzz(func(t *testing.T, content, variable string) {
		l, err := load(t, content, []string{variable})
		if err != nil {
			if l != nil && len(l.From) == 0 {
				t.Error("half a configuration")
			}
			return
		}
		_ = l.Strange
		var out bytes.Buffer
		if err := l.Print(&out); err != nil {
			t.Fatal(err)
		}
		again, err := load(t, out.String(), nil)
		if err != nil {
			t.Fatalf("what is printed cannot be loaded: %v\n%s", err, &out)
		}
		for _, s := range Settings() {
			if s.Key == "init_admin_password" || s.Key == "trace.endpoint" { // may be masked
				continue
			}
			if a, b := s.Text(&l.Config), s.Text(&again.Config); a != b {
				t.Errorf("%s was %q and is %q\n%s", s.Key, a, b, &out)
			}
		}
	})
}
