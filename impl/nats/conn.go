package nats

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/await"
	"github.com/openmessaging/openmessaging-go/spi/catalog"
)

// answerTime is how long the server may take to answer what was sent to it.
const answerTime = 5 * time.Second

// conn implements spi.Conn, spi.Admin, spi.Describer, spi.Seeker, spi.Streamer,
// spi.Pinger, spi.Asser and spi.Classifier.
type conn struct {
	spi.Life
	catalog.Admin
	*options
	log          *slog.Logger
	nc           *nats.Conn
	js           jetstream.JetStream
	capabilities om.Capabilities
	calls        calls
	queues       sync.Map     // by name: *queue, as it was when last looked up
	moving       sync.RWMutex // held while groups are moved
	batch        sync.Mutex   // held while a batch is sent
}

// Open implements spi.Driver. The connection is kept for ever: what fails
// meanwhile is told to callers at once, who may try again.
func (Driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	o, err := parseOptions(cfg.URL)
	if err != nil {
		return nil, err
	}
	c := &conn{options: o, log: cfg.Logger, capabilities: slices.Clone(capabilities)}
	c.Admin = catalog.Admin{Store: c, Errors: c, MaxPartitions: 1024}
	if err := c.connect(ctx, cfg); err != nil {
		hint := ""
		if cfg.URL.Hosts[0].Port == om.DefaultPort {
			hint = "; a URL without a port means port 80, write :4222"
		}
		return nil, om.NewError(c.Classify(err), "open", cfg.URL.String(), "%w%s", err, hint)
	}
	if o.queue.Storage == jetstream.MemoryStorage {
		c.capabilities = c.capabilities[1:]
	} else if !o.synced {
		c.checkSync(ctx)
	}
	if c.nc.AuthRequired() {
		c.capabilities = append(c.capabilities, om.CapAuth)
	}
	return c, nil
}

// connect connects and sees that JetStream is there.
func (c *conn) connect(ctx context.Context, cfg spi.Config) error {
	if _, err := cfg.Secrets(ctx); err != nil {
		return err
	}
	set := append([]nats.Option{
		nats.Name("openmessaging-go"), nats.Timeout(answerTime), nats.PingInterval(2 * answerTime),
		nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.TokenHandler(func() string { return cfg.SecretsWithin(answerTime).Token }),
		nats.UserInfoHandler(func() (user, key string) { s := cfg.SecretsWithin(answerTime); return s.AccountID, s.AccountKey }),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { c.calls.Breaks.Tell(nats.ErrDisconnected) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.log.Warn("NATS", "error", err)
			if violation(err) {
				c.calls.Breaks.Tell(err)
			}
		}),
	}, c.options.connect...)
	var urls []string
	for _, h := range cfg.URL.Hosts {
		urls = append(urls, "nats://"+h.String())
	}
	var err error
	if c.nc, err = spi.Bound(ctx, func() (*nats.Conn, error) { return nats.Connect(strings.Join(urls, ","), set...) }, (*nats.Conn).Close); err != nil {
		return err
	}
	var info *jetstream.AccountInfo
	if c.js, err = jetstream.New(c.nc); err == nil {
		info, err = c.js.AccountInfo(ctx)
	}
	if err = cmp.Or(err, c.calls.start(c.nc)); err != nil {
		c.nc.Close()
		return err
	}
	c.options.queue.AllowAtomicPublish = info.API.Level >= 2 // those from 2.12
	return nil
}

var warned sync.Map // by server: checkSync has warned

// checkSync asks the server whether it syncs before it acknowledges, which only
// the system account may, and warns once where it does not or does not say.
func (c *conn) checkSync(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	what := "this account cannot see whether NATS syncs to disk before it acknowledges"
	if answer, err := c.nc.RequestWithContext(ctx, "$SYS.REQ.SERVER.PING.VARZ", nil); err == nil {
		if c.synced = bytes.Contains(answer.Data, []byte(`"sync_always":true`)); c.synced {
			return
		}
		what = "NATS acknowledges before it syncs to disk: a power failure may lose acknowledged messages"
	}
	if _, before := warned.LoadOrStore(c.nc.ConnectedServerId(), true); !before {
		c.log.Warn(what+"; set sync_interval: always in the jetstream block of its servers, and sync=always in the URL", "server", c.nc.ConnectedServerName())
	}
}

func (c *conn) Capabilities() om.Capabilities { return c.capabilities }

func (c *conn) Close(ctx context.Context) error {
	return c.End(ctx, func() error {
		c.calls.Breaks.Tell(nats.ErrConnectionClosed)
		c.nc.Close()
		return nil
	})
}

func (c *conn) Ping(ctx context.Context) error {
	_, err := c.js.AccountInfo(ctx)
	return err
}

// As gives the *nats.Conn and the jetstream.JetStream to who asks for them.
func (c *conn) As(target any) bool { return spi.Give(target, c.nc) || spi.Give(target, c.js) }

// errorCodes are the errors of codes, the more exact ones first.
var errorCodes = []struct {
	code om.Code
	errs []error
}{
	{om.CodeClosed, []error{nats.ErrConnectionClosed}},
	{om.CodeGroupNotFound, []error{jetstream.ErrConsumerNotFound}},
	{om.CodeDestinationNotFound, []error{jetstream.ErrStreamNotFound}},
	{om.CodeDestinationExists, []error{jetstream.ErrStreamNameAlreadyInUse}},
	{om.CodeUnauthorized, []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired}},
	{om.CodeForbidden, []error{nats.ErrPermissionViolation}},
	{om.CodeBodyTooLarge, []error{nats.ErrMaxPayload}},
	{om.CodeTimeout, []error{nats.ErrTimeout, await.ErrLate}},
}

// apiCodes are the codes of the server's own error codes and of its statuses.
var apiCodes = map[int]om.Code{
	10054: om.CodeBodyTooLarge, 10097: om.CodeHeaderTooLarge, 10047: om.CodeStorageError,
	10009: om.CodeServiceUnavailable, 10118: om.CodeServiceUnavailable, 10158: om.CodeServiceUnavailable, // no leader, offline, not yet stored
	400: om.CodeBadParameter, 401: om.CodeForbidden, 403: om.CodeForbidden, 429: om.CodeStorageBusy, 503: om.CodeServiceUnavailable,
}

// Classify implements spi.Classifier. What has no code of its own is of the
// network, or of a server that goes.
func (c *conn) Classify(err error) om.Code {
	for _, c := range errorCodes {
		if slices.ContainsFunc(c.errs, func(known error) bool { return errors.Is(err, known) }) {
			return c.code
		}
	}
	if code := om.CodeOf(err); code != om.CodeServerError {
		return code
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return cmp.Or(apiCodes[int(api.ErrorCode)], apiCodes[api.Code], om.CodeServerError)
	}
	return om.CodeServiceUnavailable
}

// calls sends requests many at once and gathers their answers by one
// subscription. The client's own PublishMsgAsync costs a fifth of the rate, by
// a future, a JSON decoder and a map of texts for each message, and has
// nothing like it for acknowledgements.
type calls struct {
	await.Calls[[]byte]
	nc *nats.Conn
}

// violation reports whether err tells that an account may not do something.
func violation(err error) bool { return errors.Is(err, nats.ErrPermissionViolation) }

// concerns reports whether a break ends what was sent to a subject: a lost
// connection ends all, a violation of permissions what it names.
func concerns(err error, subject string) bool {
	return !violation(err) || strings.Contains(err.Error(), strconv.Quote(subject))
}

func (c *calls) start(nc *nats.Conn) error {
	c.nc, c.Prefix, c.Limit, c.Ready = nc, nc.NewInbox()+".", answerTime, c.ready
	sub, err := nc.Subscribe(c.Prefix+"*", func(m *nats.Msg) {
		var err error
		if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			err = nats.ErrNoResponders
		}
		c.Answer(m.Subject, m.Data, err)
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	return err
}

// ready returns why nothing can be sent, nil when it can. The client would take
// what it cannot send while it signs in, and lose it.
func (c *calls) ready() error {
	switch {
	case c.nc.IsClosed():
		return nats.ErrConnectionClosed
	case !c.nc.IsConnected():
		return nats.ErrDisconnected
	}
	return nil
}

// bound returns a context for a call of the client library, which does not
// notice that the connection is lost; end goes around the call's error.
func (c *calls) bound(ctx context.Context) (within context.Context, end func(error) error) {
	return c.Breaks.Within(ctx, answerTime, nats.ErrTimeout, func(err error) bool { return !violation(err) })
}

// ask sends n requests and returns their answers. put publishes request i, to a
// subject; what is said to reply answers it.
func (c *calls) ask(ctx context.Context, n int, subject func(i int) string, put func(i int, reply string) error) []await.Answer[[]byte] {
	return c.Ask(ctx, n, put, func(i int, err error) bool { return concerns(err, subject(i)) })
}
