// Package badger is the driver "badger": the reference broker inside this
// process, stored in a folder.
//
//	oms:badger://local/<region>?path=DIR
//	oms:badger://local/<region>?memory=true
//
// Import it for its side effect. All access points of a process that name one
// folder share one broker; in memory those with the same region do. Options:
//
//	path=DIR            the folder; made when it is missing
//	memory=true         keep everything in memory and nothing after the last Close
//	retain_bytes=10GB   about how much the store may take up; default no limit
//	retain_age=168h     how long messages are kept; default for ever
//	reserve=256MiB      free space on disk below which sends are refused
//
// The host and the region are names without meaning, except that regions keep
// brokers in memory apart.
package badger

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Version is the driver's version.
const Version = "0.1.0"

func init() { spi.Register(Driver{}) }

// Driver is the driver; its zero value is ready.
type Driver struct{}

// Info implements spi.Driver.
func (Driver) Info() spi.Info {
	return spi.Info{Name: "badger", Version: Version, SpecVersion: om.SpecVersion}
}

// Open implements spi.Driver. It opens the broker, or shares the one that is
// open on the same folder.
func (Driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts, err := parseOptions(cfg.URL)
	if err != nil {
		return nil, err
	}
	b, release, err := brokers.acquire(brokerKey(cfg.URL, opts), opts, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return newConn(b, release), nil
}

func parseOptions(u om.URL) (o store.Options, err error) {
	options := flag.NewFlagSet("badger", flag.ContinueOnError)
	options.StringVar(&o.Path, "path", "", "the folder")
	options.BoolVar(&o.Memory, "memory", false, "true to keep everything in memory")
	options.Func("retain_bytes", "about how much the store may take up, such as 10GB", atLeast(&o.RetainBytes, store.MinRetainBytes))
	options.DurationVar(&o.RetainAge, "retain_age", 0, "how long messages are kept, such as 168h")
	options.Func("reserve", "the free space on disk below which sends are refused, such as 256MiB", atLeast(&o.Reserve, minReserve))
	if err := spi.ParseOptions(u, options); err != nil {
		return o, err
	}
	switch {
	case len(u.Hosts) != 1 || u.Account != "":
		err = fmt.Errorf("the broker is in this process: one host and no account, as in oms:badger://local/%s?path=./data", u.Region)
	case u.Options.Has("path") && o.Path == "":
		err = fmt.Errorf("the folder has no name")
	case u.Options.Has("retain_age") && o.RetainAge < time.Minute:
		err = fmt.Errorf("retain_age=%v: the least is 1m", o.RetainAge)
	case o.Memory == (o.Path != ""):
		err = fmt.Errorf("say either path=DIR or memory=true")
	}
	if err != nil {
		err = om.NewError(om.CodeMalformedURL, "open", u.String(), "%w", err)
	}
	return o, err
}

// minReserve covers what the store writes on its own: see store.Room.
const minReserve = 128 << 20

// atLeast sets *n to a size that is not below least.
func atLeast(n *int64, least uint64) func(string) error {
	return func(size string) error {
		v, err := humanize.ParseBytes(size)
		if err != nil || v > 1<<60 {
			return fmt.Errorf("not a size such as 500MB or 10GiB")
		}
		if v < least {
			return fmt.Errorf("the least is %s", humanize.IBytes(least))
		}
		*n = int64(v)
		return nil
	}
}

// brokerKey names what access points share. It makes the folder, because a
// folder that is not there has no one name yet.
func brokerKey(u om.URL, o store.Options) string {
	if o.Memory {
		return "memory:" + u.Hosts[0].String() + "/" + u.Region
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return o.Path
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return path // opening the store tells
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// brokers are the open brokers of this process.
var brokers = registry{open: make(map[string]*shared)}

type registry struct {
	mu   sync.Mutex
	open map[string]*shared
}

type shared struct {
	broker *broker.Broker
	opts   store.Options
	users  int
}

// acquire opens a broker or shares an open one; release gives it back and
// closes it after its last user.
func (r *registry) acquire(key string, opts store.Options, log *slog.Logger) (b *broker.Broker, release func() error, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.open[key]
	if s == nil {
		b, err := broker.Open(broker.Config{Store: opts, Logger: log})
		if err != nil {
			return nil, nil, err
		}
		s = &shared{broker: b, opts: opts}
		r.open[key] = s
	} else if s.opts.RetainBytes != opts.RetainBytes || s.opts.RetainAge != opts.RetainAge || s.opts.Reserve != opts.Reserve {
		return nil, nil, om.NewError(om.CodeBadParameter, "open", key, "this process has the store open already with other options; use the same ones")
	}
	s.users++
	return s.broker, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.users--
		if s.users > 0 {
			return nil
		}
		delete(r.open, key)
		return s.broker.Close()
	}, nil
}

// URL returns the access-point URL of a store in a folder, with options such
// as "retain_bytes" in pairs of key and value.
func URL(path string, options ...string) string {
	q := url.Values{"path": {path}}
	for i := 0; i+1 < len(options); i += 2 {
		q.Set(options[i], options[i+1])
	}
	return "oms:badger://local/default?" + strings.ReplaceAll(q.Encode(), "%2F", "/")
}
