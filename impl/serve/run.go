package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/metrics"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

// stopWithin bounds an end in good order.
const stopWithin = 30 * time.Second

// Options say what Run works with. All fields but Log may be empty.
type Options struct {
	// Log is where lines of the log go.
	Log io.Writer
	// Ready is told the addresses when clients can connect; an error ends the
	// server. Admin is "" without that listener.
	Ready func(address, admin string) error
	// AskPassword is asked for the password of init_admin.
	AskPassword func(user string) (auth.Secret, error)
	// Hangup has the configuration read again with each value.
	Hangup <-chan struct{}
}

// ConfigError is an error of the configuration, or of what it names: nothing
// was begun.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ConfigError) Unwrap() error { return e.Err }

// host is everything that runs.
type host struct {
	*Loaded
	options Options
	log     *slog.Logger
	level   slog.LevelVar

	listener net.Listener
	metrics  *metrics.Metrics
	admin    *admin
	broker   *broker.Broker
	security *server.Security
	audit    *auth.Audit
	secure   *auth.TLS
	server   *server.Server
	closers  []func(context.Context) error // in the order of opening
}

func (h *host) onClose(f func()) {
	h.closers = append(h.closers, func(context.Context) error { f(); return nil })
}

// Run serves until ctx ends, and then stops in good order: clients may settle what
// they have for a while. A configuration that cannot be used is a *[ConfigError].
func Run(ctx context.Context, l *Loaded, o Options) error {
	h := &host{Loaded: l, options: o}
	if err := l.Check(); err != nil {
		return &ConfigError{err}
	}
	level, _ := l.Log.level() // was checked
	h.level.Set(level)
	h.log = slog.New(h.handler())
	for _, name := range l.Strange {
		h.log.Warn("this variable of the environment is no setting", "name", name)
	}
	err := h.open(ctx)
	if err == nil {
		err = h.serve(ctx)
	}
	return errors.Join(err, h.close())
}

func (h *host) handler() slog.Handler {
	options := &slog.HandlerOptions{Level: &h.level}
	if h.Log.Format == "json" {
		return slog.NewJSONHandler(h.options.Log, options)
	}
	return slog.NewTextHandler(h.options.Log, options)
}

// open opens everything, as far as it gets.
func (h *host) open(ctx context.Context) (err error) {
	h.metrics = metrics.New(server.Version, h.Admin.Queues)
	if h.admin, err = openAdmin(h.Config.Admin, h.metrics, h.log); err != nil {
		return &ConfigError{err}
	}
	if h.listener, err = net.Listen("tcp", h.Listen); err != nil {
		return &ConfigError{fmt.Errorf("listen: %w", err)}
	}
	h.onClose(func() { _ = h.listener.Close() })
	tracer, end, err := openTrace(ctx, h.Trace, h.log)
	if err != nil {
		return &ConfigError{fmt.Errorf("trace.endpoint: %w", err)}
	}
	h.closers = append(h.closers, func(ctx context.Context) error {
		if err := end(ctx); err != nil {
			h.log.Warn("the last spans were not delivered")
		}
		return nil
	})
	h.broker, err = broker.Open(broker.Config{
		Store: store.Options{
			Path: h.Path, Memory: h.Memory, RetainBytes: int64(h.Retain.Bytes), RetainAge: h.Retain.Age, Reserve: int64(h.Retain.Reserve),
		},
		Host: h.Host, Logger: h.log, OnCommit: h.metrics.Committed,
	})
	if err != nil {
		return err
	}
	h.closers = append(h.closers, func(context.Context) error { return h.broker.Close() })
	if err := h.openSecurity(ctx); err != nil {
		return err
	}
	h.metrics.Watch(h.broker, h.audit)
	var secure *tls.Config
	if h.secure != nil {
		secure = h.secure.Config()
	}
	h.server = server.New(server.Options{
		Broker: h.broker, Logger: h.log, TLS: secure, Security: h.security, Metrics: h.metrics, Tracer: tracer,
		MaxConnections: h.MaxConnections, Drain: h.Drain,
	})
	return nil
}

// openSecurity opens what says who may connect, when there are users.
func (h *host) openSecurity(ctx context.Context) error {
	if h.TLS != (TLS{}) {
		var err error
		if h.secure, err = auth.OpenTLS(h.TLS.files(), h.log); err != nil {
			return &ConfigError{fmt.Errorf("tls: %w", err)}
		}
		h.onClose(h.secure.Close)
	}
	if h.Insecure {
		h.log.Warn("anyone may do anything: the server asks nobody who he is (insecure_anyone_may_do_anything)")
		return nil
	}
	var storage auth.Storage = &inStore{broker: h.broker}
	if h.Auth.File != "" {
		storage = auth.NewFile(h.Auth.File)
	}
	if h.InitAdmin != "" {
		switch made, err := initAdmin(ctx, storage, &h.Config, h.options.AskPassword); {
		case err != nil:
			return &ConfigError{err}
		case made:
			h.log.Info("a user with all rights was made", "user", h.InitAdmin)
		}
	}
	audit := auth.NewAudit(h.log)
	directory, err := auth.OpenDirectory(ctx, storage, audit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return h.openToAll()
	case err != nil:
		return &ConfigError{err}
	}
	h.onClose(directory.Close)
	h.audit = audit
	rules, err := h.Auth.rules()
	if err != nil {
		return &ConfigError{err}
	}
	config := auth.AuthenticatorConfig{Directory: directory, Gate: auth.NewGate(auth.GateConfig{LoginTime: h.Auth.LoginTime}), Audit: audit, Certificates: rules}
	if h.Auth.Tokens.Keys != "" {
		if config.Tokens, err = auth.OpenTokens(h.Auth.Tokens.config(), h.log); err != nil {
			return &ConfigError{fmt.Errorf("auth.tokens: %w", err)}
		}
		h.onClose(config.Tokens.Close)
	}
	h.security = &server.Security{
		Directory: directory, Gate: config.Gate, Authenticator: auth.NewAuthenticator(config),
		Authorizer: auth.NewAuthorizer(directory, audit), Quotas: auth.NewQuotas(directory),
	}
	return nil
}

// openToAll is for a server without users: it serves this machine only.
func (h *host) openToAll() error {
	local, err := IsLocal(h.Listen)
	switch {
	case err != nil:
		return &ConfigError{err}
	case h.Auth.File != "":
		return &ConfigError{fmt.Errorf("auth.file: there is no %s; make it with a first user: init_admin", h.Auth.File)}
	case h.Auth.Tokens.Keys != "" || len(h.Auth.Certificates) > 0:
		return &ConfigError{errors.New("auth: there are no users or roles yet for tokens and certificates to name; make a first user: init_admin")}
	case !local:
		return &ConfigError{fmt.Errorf("listen: %s can be reached from other machines, and there are no users yet; make a first one: init_admin", h.Listen)}
	}
	return nil
}

// serve serves until ctx ends.
func (h *host) serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(h.listener) }()
	address, adminAddress := h.listener.Addr().String(), ""
	if h.admin != nil {
		h.admin.now.Store(&running{h.broker, h.server})
		adminAddress = h.admin.listener.Addr().String()
	}
	h.log.Info("serving", "address", address, "admin", adminAddress, "path", h.Path, "tls", h.secure != nil, "users", h.security != nil)
	reloading, endReloading := context.WithCancel(ctx)
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		h.follow(reloading)
	}()
	var err error
	if h.options.Ready != nil {
		err = h.options.Ready(address, adminAddress)
	}
	if err == nil {
		select {
		case err = <-served:
			served <- nil
		case <-ctx.Done():
			h.log.Info("stopping")
		}
	}
	endReloading()
	<-reloaded
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if h.server.Shutdown(stop) != nil {
		h.log.Warn("some connections were cut off", "after", stopWithin)
	}
	return errors.Join(err, <-served)
}

// close closes what is open, in the reverse order.
func (h *host) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i](ctx))
	}
	h.admin.close(ctx)
	err := errors.Join(errs...)
	if err == nil && h.server != nil {
		h.log.Info("stopped")
	}
	return err
}
