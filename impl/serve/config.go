// Package serve runs the broker as a server: it reads the configuration, puts
// store, broker, users, listeners, metrics and traces together, and takes them
// apart in good order. docs/operations.md is for who operates it.
package serve

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

// Config is what can be set, by flags, environment and file. The tags name the
// key in the file, and say what it is for.
type Config struct {
	Path           string        `koanf:"path" help:"folder of the store; it is made when it is missing"`
	Listen         string        `koanf:"listen" help:"address for clients; port 0 takes a free one"`
	Host           string        `koanf:"host" help:"name of this machine that consumers are told; default is the system's"`
	MaxConnections int           `koanf:"max_connections" help:"the most connections of clients"`
	Drain          time.Duration `koanf:"drain" help:"how long consumers may settle what they have when the server stops"`

	Retain Retain `koanf:"retain"`
	TLS    TLS    `koanf:"tls"`
	Auth   Auth   `koanf:"auth"`
	Admin  Admin  `koanf:"admin"`
	Log    Log    `koanf:"log"`
	Trace  Trace  `koanf:"trace"`

	InitAdmin         string `koanf:"init_admin" help:"user with all rights that is made when there is no such user"`
	InitAdminPassword string `koanf:"init_admin_password" help:"where that password is: file:PATH or env:NAME; default is to ask, or to make one and print it once"`
	Insecure          bool   `koanf:"insecure_anyone_may_do_anything" help:"ask nobody who he is, and listen anywhere without TLS"`

	// Memory keeps everything in memory, for trying things out; Path is not
	// looked at.
	Memory bool `koanf:"-"`
}

// Retain bounds what is kept.
type Retain struct {
	Bytes   Bytes         `koanf:"bytes" help:"about how much the store may take up; 0 is without limit"`
	Age     time.Duration `koanf:"age" help:"how long messages are kept at least; 0 is for ever"`
	Reserve Bytes         `koanf:"reserve" help:"free space on disk below which messages are refused"`
}

// TLS names the files of the listener for clients.
type TLS struct {
	Cert              string `koanf:"cert" help:"file of the server's certificate chain (PEM)"`
	Key               string `koanf:"key" help:"file of its private key (PEM)"`
	ClientCA          string `koanf:"client_ca" help:"file of the authorities that clients' certificates are checked against (PEM)"`
	RequireClientCert bool   `koanf:"require_client_cert" help:"refuse clients that show no certificate"`
}

// Auth says how clients log in.
type Auth struct {
	File         string        `koanf:"file" help:"YAML file of users, roles, rules and quotas; default is to keep them in the store"`
	LoginTime    time.Duration `koanf:"login_time" help:"how long a connection may take to log in"`
	Certificates []string      `koanf:"certificates" help:"rules for how a client's certificate names a user, such as cn:*"`
	Tokens       Tokens        `koanf:"tokens"`
}

// Tokens says which bearer tokens are accepted.
type Tokens struct {
	Keys       string        `koanf:"keys" help:"file of the issuer's public keys (JWKS); without it tokens are refused"`
	Issuer     string        `koanf:"issuer" help:"what a token must have as iss"`
	Audience   string        `koanf:"audience" help:"what a token must have in aud"`
	Algorithms []string      `koanf:"algorithms" help:"signatures that are accepted"`
	Groups     string        `koanf:"groups" help:"claim whose values are taken for roles"`
	Skew       time.Duration `koanf:"skew" help:"how much the clocks may differ"`
}

// Admin is the listener for health, metrics and profiles.
type Admin struct {
	Listen string `koanf:"listen" help:"address for health, metrics and profiles (HTTP); empty for none"`
	Queues int    `koanf:"queues" help:"the most queues with metrics of their own; the rest is summed up as other"`
}

// Log says what is logged, to standard error.
type Log struct {
	Level  string `koanf:"level" help:"debug, info, warn or error; may change while the server runs"`
	Format string `koanf:"format" help:"text or json"`
}

// Trace says where spans go.
type Trace struct {
	Endpoint string  `koanf:"endpoint" help:"URL of an OpenTelemetry collector (OTLP over gRPC); empty for no traces"`
	Sample   float64 `koanf:"sample" help:"share of traces that begin here and are recorded, 0 to 1"`
}

// Bytes is a number of bytes, read from text such as 10GB or 256MiB.
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is no size such as 10GB or 256MiB", text)
	}
	*b = Bytes(n)
	return nil
}

// String returns the size as UnmarshalText reads it, exactly.
func (b Bytes) String() string {
	for _, unit := range []struct {
		size Bytes
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if b >= unit.size && b%unit.size == 0 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Defaults returns the configuration that holds where nothing is set.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:7650", MaxConnections: 4096, Drain: 5 * time.Second,
		Retain: Retain{Reserve: 256 << 20},
		Auth: Auth{
			LoginTime: 10 * time.Second,
			Tokens:    Tokens{Algorithms: []string{"RS256", "PS256", "ES256", "EdDSA"}, Skew: 30 * time.Second},
		},
		Admin: Admin{Listen: "127.0.0.1:7651", Queues: 100},
		Log:   Log{Level: "info", Format: "text"},
		Trace: Trace{Sample: 1},
	}
}

// Check returns all that is wrong with the configuration, joined, as far as can
// be told without opening the store or listening. It reads the files of TLS and
// tokens.
func (c *Config) Check() error {
	var errs []error
	wrong := func(key, format string, args ...any) { errs = append(errs, fmt.Errorf(key+": "+format, args...)) }
	if c.Path == "" && !c.Memory {
		wrong("path", "say in which folder messages are stored; it is made when it is missing")
	}
	local, err := IsLocal(c.Listen)
	switch {
	case err != nil:
		wrong("listen", "%w", err)
	case !local && !c.Insecure && c.TLS.Cert == "":
		wrong("listen", "%s can be reached from other machines, so it needs TLS: set tls.cert and tls.key; or listen on 127.0.0.1, [::1] or localhost", c.Listen)
	}
	if c.Admin.Listen != "" {
		if _, err := IsLocal(c.Admin.Listen); err != nil {
			wrong("admin.listen", "%w", err)
		}
	}
	for _, n := range []struct {
		key   string
		value float64
		least float64
	}{
		{"max_connections", float64(c.MaxConnections), 1}, {"drain", float64(c.Drain), 1}, {"auth.login_time", float64(c.Auth.LoginTime), 1},
		{"admin.queues", float64(c.Admin.Queues), 0}, {"retain.age", float64(c.Retain.Age), 0},
		{"retain.reserve", float64(c.Retain.Reserve), 1}, {"trace.sample", c.Trace.Sample, 0},
	} {
		if n.value < n.least {
			wrong(n.key, "it is too small")
		}
	}
	if c.Retain.Bytes != 0 && c.Retain.Bytes < store.MinRetainBytes {
		wrong("retain.bytes", "%v; %v are the least", c.Retain.Bytes, Bytes(store.MinRetainBytes))
	}
	if c.Trace.Sample > 1 {
		wrong("trace.sample", "%v is not in 0 to 1", c.Trace.Sample)
	}
	if u, err := url.Parse(c.Trace.Endpoint); c.Trace.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		wrong("trace.endpoint", "it is not like http://localhost:4317 or https://collector.example.org:4317")
	}
	if _, err := c.Log.level(); err != nil {
		wrong("log.level", "%w", err)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		wrong("log.format", "%q is neither text nor json", c.Log.Format)
	}
	return errors.Join(append(errs, c.checkAuth())...)
}

func (c *Config) checkAuth() error {
	var errs []error
	quiet := slog.New(slog.DiscardHandler)
	if c.TLS != (TLS{}) {
		if t, err := auth.OpenTLS(c.TLS.files(), quiet); err != nil {
			errs = append(errs, fmt.Errorf("tls: %w", err))
		} else {
			t.Close()
		}
	}
	if _, err := c.Auth.rules(); err != nil {
		errs = append(errs, fmt.Errorf("auth.certificates: %w", err))
	}
	if len(c.Auth.Certificates) > 0 && c.TLS.ClientCA == "" {
		errs = append(errs, errors.New("auth.certificates: clients are not asked for certificates without tls.client_ca"))
	}
	t := c.Auth.Tokens
	if cmp.Or(t.Keys, t.Issuer, t.Audience, t.Groups) != "" {
		if t, err := auth.OpenTokens(t.config(), quiet); err != nil {
			errs = append(errs, fmt.Errorf("auth.tokens: %w", err))
		} else {
			t.Close()
		}
	}
	if c.InitAdminPassword != "" && c.InitAdmin == "" {
		errs = append(errs, errors.New("init_admin_password: it is for the user of init_admin, which is not set"))
	}
	if c.InitAdminPassword != "" && !isReference(c.InitAdminPassword) {
		errs = append(errs, errors.New("init_admin_password: name its source as file:PATH or env:NAME; the password itself does not belong here"))
	}
	if c.Insecure && (c.InitAdmin != "" || c.Auth.File != "") {
		errs = append(errs, errors.New("insecure_anyone_may_do_anything: users make no sense with it; leave out one or the other"))
	}
	return errors.Join(errs...)
}

func isReference(secret string) bool {
	return strings.HasPrefix(secret, "file:") || strings.HasPrefix(secret, "env:")
}

func (t TLS) files() auth.TLSFiles {
	return auth.TLSFiles{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA, RequireClientCert: t.RequireClientCert}
}

func (t Tokens) config() auth.TokenConfig {
	return auth.TokenConfig{Keys: t.Keys, Issuer: t.Issuer, Audience: t.Audience, Algorithms: t.Algorithms, Groups: t.Groups, Skew: t.Skew}
}

func (a Auth) rules() ([]auth.CertificateRule, error) {
	rules := make([]auth.CertificateRule, len(a.Certificates))
	for i, text := range a.Certificates {
		var err error
		if rules[i], err = auth.ParseCertificateRule(text); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func (l Log) level() (level slog.Level, err error) {
	switch l.Level {
	case "debug", "info", "warn", "error":
		return level, level.UnmarshalText([]byte(l.Level))
	}
	return level, fmt.Errorf("%q is none of debug, info, warn, error", l.Level)
}

// IsLocal reports whether an address can be reached from this machine only.
func IsLocal(address string) (bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("%w; it is like 127.0.0.1:7650 or :7650", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, fmt.Errorf("%s: the port is not a number from 0 to 65535", address)
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}
