package openmessaging

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is the port of a host that names none (R046, C16).
const DefaultPort = 80

// HostPort is one host of an access-point URL.
type HostPort struct {
	Host string // a name or address; IPv6 without brackets
	Port int    // 1 to 65535; DefaultPort where the URL names none
}

// String returns host:port, with brackets around IPv6.
func (h HostPort) String() string {
	if strings.Contains(h.Host, ":") {
		return "[" + h.Host + "]:" + strconv.Itoa(h.Port)
	}
	return h.Host + ":" + strconv.Itoa(h.Port)
}

// URL is a parsed access-point URL:
//
//	oms:<driver>://[account@]host[:port][,host[:port]…]/<region>[?key=value&…]
//
// The part from "?" on is this binding's extension: options of the driver,
// percent-encoded as in web URLs. Secrets do not belong into a URL; there is no
// place for a password in it (G39).
type URL struct {
	Driver  string
	Account string     // empty where the URL names none (R045)
	Hosts   []HostPort // at least one, in the order of the URL (R047)
	Region  string     // everything after the last "/" (C18)
	// Options are the values after "?", in the order of Keys of url.Values.
	Options url.Values
}

const maxURLLength = 8 << 10

// ParseURL parses an access-point URL. A malformed one gives an *[Error] with
// [CodeMalformedURL] that says which part is wrong (R043–R047, G37, G38). The
// error does not show what stands where other URLs have a password (G39).
func ParseURL(s string) (URL, error) {
	u, err := parseURL(s)
	if err == nil && len(u.String()) > maxURLLength {
		u, err = URL{}, fmt.Errorf("its normal form is longer than %d bytes", maxURLLength)
	}
	if err != nil {
		shown, secret := hideSecret(s)
		if secret {
			err = errSecret // err may quote a part of it
		}
		if len(shown) > 200 {
			shown = shown[:200] + "…"
		}
		return URL{}, NewError(CodeMalformedURL, "parse URL", shown, "%w; the form is oms:<driver>://[account@]host[:port][,host[:port]]/<region>[?key=value]", err)
	}
	return u, nil
}

var errSecret = errors.New("a secret does not belong into a URL: a ':' stands before the \"@\"; pass credentials as an option of Open")

// hideSecret replaces what stands between the first ":" of the user part and
// the last "@". It rather hides too much: in a malformed URL nobody knows where
// the user part ends. secret is false where the "@" may belong to an option.
func hideSecret(s string) (shown string, secret bool) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s, false
	}
	user := strings.TrimPrefix(s[:at], "oms:")
	if _, after, ok := strings.Cut(user, "://"); ok {
		user = after
	}
	name, _, ok := strings.Cut(user, ":")
	if !ok {
		return s, false
	}
	return s[:at-len(user)] + name + ":…" + s[at:], !strings.Contains(s[:at], "?")
}

func parseURL(s string) (u URL, err error) {
	if len(s) > maxURLLength {
		return u, fmt.Errorf("it is longer than %d bytes", maxURLLength)
	}
	rest, ok := strings.CutPrefix(s, "oms:")
	if !ok {
		return u, errors.New(`it does not begin with "oms:"`)
	}
	u.Driver, rest, ok = strings.Cut(rest, "://")
	if !ok {
		return u, errors.New(`"://" is missing after the driver`)
	}
	if !isDriverName(u.Driver) {
		return u, fmt.Errorf("the driver %q is not a name of letters, digits, '+', '-' and '.' that begins with a letter", u.Driver)
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	if u.Options, err = url.ParseQuery(query); err != nil {
		return u, fmt.Errorf("the options after %q are malformed: %w", "?", err)
	}
	if hasQuery && query == "" {
		return u, errors.New(`nothing follows "?"`)
	}
	slash := strings.LastIndexByte(rest, '/')
	if slash < 0 || slash == len(rest)-1 {
		return u, errors.New(`the region is missing: "/<region>" must follow the hosts`)
	}
	authority := rest[:slash]
	u.Region = rest[slash+1:]
	if err := checkText("region", u.Region); err != nil {
		return u, err
	}
	if account, hosts, ok := strings.Cut(authority, "@"); ok {
		if account == "" {
			return u, errors.New(`the account before "@" is empty`)
		}
		if strings.Contains(account, ":") {
			return u, errSecret
		}
		if err := checkText("account", account); err != nil {
			return u, err
		}
		u.Account, authority = account, hosts
	}
	for part := range strings.SplitSeq(authority, ",") {
		h, err := parseHost(strings.Trim(part, " "))
		if err != nil {
			return u, err
		}
		u.Hosts = append(u.Hosts, h)
	}
	return u, nil
}

func parseHost(s string) (h HostPort, err error) {
	h.Port = DefaultPort
	port, hasPort := "", false
	if inner, ok := strings.CutPrefix(s, "["); ok {
		end := strings.IndexByte(inner, ']')
		if end < 0 {
			return h, fmt.Errorf("the host %q has no closing bracket", s)
		}
		h.Host = inner[:end]
		if a, err := netip.ParseAddr(h.Host); err != nil || !a.Is6() {
			return h, fmt.Errorf("the bracketed host %q is not an IPv6 address", s)
		}
		switch tail := inner[end+1:]; {
		case tail == "":
		case tail[0] == ':':
			port, hasPort = tail[1:], true
		default:
			return h, fmt.Errorf("%q follows the bracket of host %q", tail, s)
		}
	} else {
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
			return h, fmt.Errorf("the IPv6 host %q needs brackets", s)
		}
		h.Host, port, hasPort = strings.Cut(s, ":")
	}
	if h.Host == "" {
		return h, errors.New("a host is empty")
	}
	if strings.ContainsAny(h.Host, "@/ []") {
		return h, fmt.Errorf("the host %q holds a character that hosts do not have", h.Host)
	}
	if err := checkText("host", h.Host); err != nil {
		return h, err
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strings.HasPrefix(port, "+") {
			return h, fmt.Errorf("the port %q of host %q is not a number from 1 to 65535", port, h.Host)
		}
		h.Port = int(n)
	}
	return h, nil
}

// checkText refuses what could not be printed and parsed back.
func checkText(what, s string) error {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return fmt.Errorf("the %s %q holds a control character or invalid UTF-8", what, s)
		}
	}
	return nil
}

func isDriverName(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || !('0' <= r && r <= '9') && !strings.ContainsRune("+-.", r)) {
			return false
		}
	}
	return s != ""
}

// String returns the URL in its normal form, which ParseURL parses to an equal
// URL. It holds no secrets.
func (u URL) String() string {
	var b strings.Builder
	b.WriteString("oms:" + u.Driver + "://")
	if u.Account != "" {
		b.WriteString(u.Account + "@")
	}
	b.WriteString(u.hosts())
	b.WriteString("/" + u.Region)
	if len(u.Options) > 0 {
		b.WriteString("?" + u.Options.Encode())
	}
	return b.String()
}

func (u URL) hosts() string {
	hosts := make([]string, len(u.Hosts))
	for i, h := range u.Hosts {
		hosts[i] = h.String()
	}
	return strings.Join(hosts, ",")
}

// The built-in attributes of an access point (R049).
const (
	AttrAccessPoints = "ACCESS_POINTS" // the hosts, comma-separated, each with its port
	AttrDriver       = "DRIVER_IMPL"   // the driver's name
	AttrAccountID    = "ACCOUNT_ID"    // the account, may be empty
	AttrRegion       = "REGION"        // the region
)

// Attributes returns the built-in attributes and the options of the URL as
// string properties (R049). Options keep their last value.
func (u URL) Attributes() Properties {
	p := Properties{}
	for k, v := range u.Options {
		if len(v) > 0 {
			p[k] = String(v[len(v)-1])
		}
	}
	p[AttrAccessPoints] = String(u.hosts())
	p[AttrDriver] = String(u.Driver)
	p[AttrAccountID] = String(u.Account)
	p[AttrRegion] = String(u.Region)
	return p
}

// Clone returns a copy that shares nothing with u.
func (u URL) Clone() URL {
	u.Hosts = slices.Clone(u.Hosts)
	options := make(url.Values, len(u.Options))
	for k, v := range u.Options {
		options[k] = slices.Clone(v)
	}
	u.Options = options
	return u
}

// DefaultNamespace is the namespace of queue names that name none.
const DefaultNamespace = "default"

// SplitQueueName splits "namespace://queue" into its parts; a name without
// "://" belongs to the namespace given as fallback (R089).
func SplitQueueName(name, fallback string) (namespace, queue string) {
	if ns, q, ok := strings.Cut(name, "://"); ok {
		return ns, q
	}
	return fallback, name
}

// JoinQueueName returns "namespace://queue".
func JoinQueueName(namespace, queue string) string { return namespace + "://" + queue }
