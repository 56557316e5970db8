package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Command says how to run the child. Zero times stand for the defaults named.
type Command struct {
	// Path is the program: a path, or a name that is looked up in PATH.
	Path string
	Args []string // without the program's name
	// Dir is the child's working folder; empty for that of this process.
	Dir string
	// Env is the child's environment as of os.Environ; nil for that of this
	// process.
	Env []string

	// Share lets the connections that are open at one time share one child,
	// as a driver needs whose messages are in its own memory. Without it each
	// Open starts a child.
	Share bool

	// StartTimeout is how long the child may take for its answer to hello and
	// for that to open, and later to a ping when it left a canceled call
	// without an answer; then it is killed. Default 10 s.
	StartTimeout time.Duration
	// CloseGrace is how long the child may take to end when it is closed; then
	// it is killed, and so is its process group. Default 5 s.
	CloseGrace time.Duration
	// Stderr, when not nil, gets what the children write to their standard
	// error, one Write at a time. Write must not block for long.
	Stderr io.Writer
}

// Driver returns a driver with that name. Each Open starts one child, which
// Conn.Close ends: connections share only what the children share, unless
// c.Share is set. On systems with process groups the child leads one of its own.
//
// Open fails with CodeDriverUnavailable where the program cannot be started,
// with CodeServiceUnavailable for a child that does not speak the protocol or
// not in time, with CodeMalformedVersion and CodeIncompatibleVersion for the
// specification version it names (both match CodeDriverUnavailable too), and
// with whatever the child answers.
//
// Info names openmessaging.SpecVersion and the version "unknown" until a child
// was opened, then what the last one said.
//
// The child gets the credentials through its standard input. They are hidden
// where errors quote what the child wrote.
func Driver(name string, c Command) spi.Driver {
	if c.StartTimeout <= 0 {
		c.StartTimeout = 10 * time.Second
	}
	if c.CloseGrace <= 0 {
		c.CloseGrace = 5 * time.Second
	}
	if c.Stderr != nil {
		c.Stderr = &lockedWriter{w: c.Stderr}
	}
	d := &driver{name: name, command: c, turn: make(chan struct{}, 1)}
	d.info.Store(&spi.Info{Name: name, Version: "unknown", SpecVersion: om.SpecVersion})
	return d
}

type driver struct {
	name    string
	command Command
	info    atomic.Pointer[spi.Info]
	turn    chan struct{} // holds a token while somebody uses shared
	shared  *link         // nil before the first Open with Share
}

func (d *driver) Info() spi.Info { return *d.info.Load() }

func (d *driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var secret *credentials
	if cfg.Credentials != nil {
		c, err := cfg.Credentials(ctx)
		if err != nil {
			return nil, err
		}
		secret = &credentials{c.AccountID, c.AccountKey, c.Token}
	}
	l, err := d.join(ctx, cfg.URL.String())
	if err != nil {
		return nil, err
	}
	if secret != nil {
		l.hide(secret.AccountKey, secret.Token)
	}
	c := &conn{link: l, closeGrace: d.command.CloseGrace, over: make(chan struct{})}
	info, err := c.open(ctx, cfg.URL, secret)
	if err != nil {
		if l.leave() {
			l.end(d.command.CloseGrace, nil)
			l.work.Wait()
		}
		return nil, err
	}
	d.info.Store(&info)
	return c, nil
}

// join returns a link to a child that has answered hello, with a place for one
// connection.
func (d *driver) join(ctx context.Context, resource string) (*link, error) {
	if !d.command.Share {
		return d.launch(ctx, resource)
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if d.shared != nil && d.shared.enter() {
		return d.shared, nil
	}
	l, err := d.launch(ctx, resource)
	if err == nil {
		d.shared = l
	}
	return l, err
}

// launch starts a child and says hello.
func (d *driver) launch(ctx context.Context, resource string) (*link, error) {
	const op = "open"
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := start(d.command)
	if err != nil {
		return nil, om.NewError(om.CodeDriverUnavailable, op, resource, "driver %s cannot start %q: %w", d.name, filepath.Base(d.command.Path), err)
	}
	l := newLink(d.name, p, d.command.StartTimeout)
	l.run()
	within, stop := context.WithTimeout(ctx, l.patient)
	defer stop()
	a, err := l.plain(within, op, resource, &request{Op: "hello", Protocol: protocol})
	switch {
	case err == nil && a.Protocol == protocol:
		return l, nil
	case err == nil:
		err = om.NewError(om.CodeIncompatibleVersion, op, resource,
			"the child speaks version %d of the protocol, this driver %d: %w", a.Protocol, protocol, om.CodeDriverUnavailable)
	case ctx.Err() == nil && within.Err() != nil:
		l.end(0, fmt.Errorf("the child did not answer hello within %v", l.patient))
		err = l.downError(op, resource)
	}
	l.end(0, nil)
	l.work.Wait()
	return nil, err
}

// open opens the connection.
func (c *conn) open(ctx context.Context, url om.URL, secret *credentials) (spi.Info, error) {
	const op = "open"
	resource := url.String()
	r := &request{Op: "open", URL: resource, Driver: url.Driver, Account: url.Account, Region: url.Region, Options: url.Options, Credentials: secret}
	for _, h := range url.Hosts {
		r.Hosts = append(r.Hosts, host(h))
	}
	within, stop := context.WithTimeout(ctx, c.patient)
	defer stop()
	a, err := c.call(within, op, resource, r)
	switch {
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		c.end(0, fmt.Errorf("the child did not answer open within %v", c.patient))
		return spi.Info{}, c.downError(op, resource)
	case err != nil:
		return spi.Info{}, err
	case a.Handle == 0:
		return spi.Info{}, c.broken(op, resource, errNoHandle)
	}
	if err := checkSpecVersion(a.SpecVersion, resource); err != nil {
		c.drop(a.Handle)
		return spi.Info{}, err
	}
	c.handle, c.capabilities = a.Handle, a.Capabilities
	return spi.Info{Name: c.name, Version: a.Version, SpecVersion: a.SpecVersion}, nil
}

var versionForm = regexp.MustCompile(`^((?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*))\.(?:0|[1-9][0-9]*)(?:-[0-9A-Za-z.-]+)?$`)

// checkSpecVersion is the rule of oms.Open (R050), which sees Info before the
// child has said anything.
func checkSpecVersion(version, resource string) error {
	theirs, ours := versionForm.FindStringSubmatch(version), versionForm.FindStringSubmatch(om.SpecVersion)
	switch {
	case theirs == nil:
		return om.NewError(om.CodeMalformedVersion, "open", resource,
			"the child's specification version %.50q is not of the form X.Y.Z or X.Y.Z-pre: %w", version, om.CodeDriverUnavailable)
	case theirs[1] != ours[1]:
		return om.NewError(om.CodeIncompatibleVersion, "open", resource,
			"the child follows specification %s, this module %s; major and minor must be equal: %w", version, om.SpecVersion, om.CodeDriverUnavailable)
	}
	return nil
}
