package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/metrics"
	"github.com/openmessaging/openmessaging-go/impl/server"
)

// running is what health is told of; nil until the server accepts clients.
type running struct {
	broker *broker.Broker
	server *server.Server
}

// admin is the listener for health, metrics and profiles.
type admin struct {
	listener net.Listener
	http     *http.Server
	now      atomic.Pointer[running]
}

var errStarting = errors.New("the server is starting")

// started says why the server has not started, nil when it has.
func (a *admin) started() error {
	if a.now.Load() == nil {
		return errStarting
	}
	return nil
}

// ready says why the server takes no messages, nil when it does.
func (a *admin) ready() error {
	r := a.now.Load()
	switch {
	case r == nil:
		return errStarting
	case r.server.IsDraining():
		return errors.New("the server is shutting down")
	default:
		return r.broker.Ready()
	}
}

// openAdmin listens and serves; nil when it is not wanted.
func openAdmin(c Admin, m *metrics.Metrics, log *slog.Logger) (*admin, error) {
	if c.Listen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	a := &admin{listener: l}
	mux := http.NewServeMux()
	mux.Handle("GET /livez", health(func() error { return nil }))
	mux.Handle("GET /readyz", health(a.ready))
	mux.Handle("GET /startupz", health(a.started))
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second, EnableOpenMetrics: true}))
	for path, handler := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle("GET "+path, localOnly(handler))
	}
	a.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := a.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health and metrics are not served any more", "error", err)
		}
	}()
	return a, nil
}

// close ends the listener.
func (a *admin) close(ctx context.Context) {
	if a != nil && a.http.Shutdown(ctx) != nil {
		_ = a.http.Close()
	}
}

// health answers 200 and "ok", or 503 and the reason.
func health(ask func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := ask(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintln(w, err)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
}

// localOnly serves callers on this machine.
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !at.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are for callers on this machine", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
