package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// open connects and sees that JetStream is there.
func open(ctx context.Context, cfg spi.Config, o *options) (*conn, error) {
	const op = "open"
	c := &conn{
		options: o, log: cfg.Logger, queues: make(map[string]*queue), receivers: make(map[*receiver]bool),
		closed: make(chan struct{}), lost: make(chan struct{}),
	}
	set := append(c.connectOptions(), o.connect...)
	if secret, err := credentials(ctx, cfg, o); err != nil {
		return nil, om.WrapError(err, op, cfg.URL.String())
	} else if secret != nil {
		set = append(set, secret)
	}
	var urls []string
	for _, h := range cfg.URL.Hosts {
		urls = append(urls, "nats://"+h.String())
	}
	nc, err := connect(ctx, strings.Join(urls, ","), set)
	if err == nil {
		c.nc = nc
		if c.js, err = jetstream.New(nc); err == nil {
			_, err = c.js.AccountInfo(ctx)
		}
		if err == nil {
			c.calls, err = newCalls(c)
		}
		if err != nil {
			nc.Close()
		}
	}
	if err != nil {
		err = wrap(err, op, cfg.URL.String())
		if cfg.URL.Hosts[0].Port == om.DefaultPort && errors.Is(err, om.CodeServiceUnavailable) {
			err = om.NewError(om.CodeServiceUnavailable, op, cfg.URL.String(), "%w; a URL without a port means port 80, write :4222", err)
		}
		return nil, err
	}
	c.capabilities = capabilities
	if o.memory {
		c.capabilities = c.capabilities[1:]
	}
	if nc.AuthRequired() {
		c.capabilities = append(c.capabilities[:len(c.capabilities):len(c.capabilities)], om.CapAuth)
	}
	if !o.synced && !o.memory {
		c.checkSync(ctx, cfg.Logger)
	}
	return c, nil
}

// connectOptions make a connection that is kept for ever: what fails meanwhile
// is told to callers at once, who may try again.
func (c *conn) connectOptions() []nats.Option {
	return []nats.Option{
		nats.Name("openmessaging-go"), nats.Timeout(5 * time.Second), nats.DrainTimeout(5 * time.Second),
		nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.disconnected()
			if err != nil {
				c.log.Warn("the connection to NATS is lost; connecting again", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				c.calls.forbidden(err)
				return
			}
			c.log.Warn("NATS", "error", err)
		}),
	}
}

// credentials asks for the secrets, and again for each new connection.
func credentials(ctx context.Context, cfg spi.Config, o *options) (nats.Option, error) {
	if cfg.Credentials == nil {
		if cfg.URL.Account == "" || o.keys {
			return nil, nil
		}
		return nats.UserInfo(cfg.URL.Account, ""), nil
	}
	first, err := cfg.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	again := func() spi.Credentials {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		secret, err := cfg.Credentials(ctx)
		if err != nil {
			cfg.Logger.Warn("no credentials for NATS", "error", err)
		}
		return secret
	}
	if first.Token != "" {
		return nats.TokenHandler(func() string { return again().Token }), nil
	}
	return nats.UserInfoHandler(func() (string, string) {
		secret := again()
		return cmp.Or(secret.AccountID, cfg.URL.Account), secret.AccountKey
	}), nil
}

// connect is nats.Connect, given up when ctx ends.
func connect(ctx context.Context, urls string, set []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(urls, set...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

var warned sync.Map // by server name: what checkSync has said once

// checkSync asks the server whether it syncs before it acknowledges, which only
// the system account may, and warns once where it does not or does not say.
func (c *conn) checkSync(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var varz struct {
		Data struct {
			JetStream struct {
				Config struct {
					SyncAlways bool `json:"sync_always"`
				} `json:"config"`
			} `json:"jetstream"`
		} `json:"data"`
	}
	answer, err := c.nc.RequestWithContext(ctx, "$SYS.REQ.SERVER.PING.VARZ", nil)
	told := err == nil && json.Unmarshal(answer.Data, &varz) == nil
	if told && varz.Data.JetStream.Config.SyncAlways {
		return
	}
	if _, before := warned.LoadOrStore(c.nc.ConnectedServerId(), true); before {
		return
	}
	what := "this account cannot see whether NATS syncs to disk before it acknowledges"
	if told {
		what = "NATS acknowledges before it syncs to disk: a power failure may lose acknowledged messages"
	}
	log.Warn(what+"; set sync_interval: always in the jetstream block of its servers, and sync=always in the URL", "server", c.nc.ConnectedServerName())
}
