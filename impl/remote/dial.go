package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

const (
	// maxResponse bounds what a server may answer at once, in bytes.
	maxResponse = 64 << 20
	// pingAfter and pingWithin tell when a silent connection is asked for a
	// sign of life, and how long that may take.
	pingAfter, pingWithin = 30 * time.Second, 15 * time.Second
	// Windows of flow control: what a server may send unread, on a stream and on
	// the connection.
	streamWindow, connectionWindow = 1 << 20, 4 << 20
	bufferBytes                    = 64 << 10
	// dialWithin bounds one attempt to connect to one host.
	dialWithin = 10 * time.Second
)

// retryPause is how long the driver waits before it connects again.
var retryPause = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}

// dial connects to the first host that answers.
func dial(ctx context.Context, cfg spi.Config, secure *tls.Config) (*conn, error) {
	hosts := manual.NewBuilderWithScheme("oms")
	var state resolver.State
	for _, h := range cfg.URL.Hosts {
		name := h.Host
		if secure != nil {
			name = cmp.Or(secure.ServerName, name)
		}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: h.String(), ServerName: name}}})
	}
	hosts.InitialState(state)
	transport := insecure.NewCredentials()
	if secure != nil {
		transport = credentials.NewTLS(secure)
	}
	opts := []grpc.DialOption{
		grpc.WithResolvers(hosts), grpc.WithTransportCredentials(transport), grpc.WithNoProxy(), grpc.WithDisableRetry(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"pick_first":{}}]}`), grpc.WithIdleTimeout(0),
		grpc.WithUserAgent("openmessaging-go/" + Version),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retryPause, MinConnectTimeout: dialWithin}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingWithin}),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithReadBufferSize(bufferBytes), grpc.WithWriteBufferSize(bufferBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse), grpc.MaxCallSendMsgSize(maxResponse)),
	}
	var secrets *secrets
	if cfg.Credentials != nil {
		secrets = newSecrets(cfg)
		opts = append(opts, grpc.WithPerRPCCredentials(secrets))
	}
	cc, err := grpc.NewClient("oms:///"+cfg.URL.Hosts[0].String(), opts...)
	if err != nil {
		return nil, om.NewError(om.CodeDriverUnavailable, "open", cfg.URL.String(), "%w", err)
	}
	c := newConn(cc, secrets, cfg.Logger)
	if secrets != nil {
		c.spawn(func() { secrets.watch(c.life, cc) })
	}
	if err := c.greet(ctx, cfg.URL.String()); err != nil {
		c.hangUp()
		return nil, err
	}
	return c, nil
}

// greet opens the conversation with the server.
func (c *conn) greet(ctx context.Context, url string) error {
	hello, err := call(c, ctx, "open", url, c.messaging.Open, &wirepb.OpenRequest{Protocol: wire.Protocol, Client: "openmessaging-go/" + Version})
	if err != nil {
		return err
	}
	if hello.GetProtocol() != wire.Protocol || hello.GetLimits() == nil {
		return om.NewError(om.CodeIncompatibleVersion, "open", url, "the server speaks protocol %d, this driver %d", hello.GetProtocol(), wire.Protocol)
	}
	c.limits, c.host = hello.GetLimits(), hello.GetHost()
	offered := make(om.Capabilities, 0, len(hello.GetCapabilities()))
	for _, name := range hello.GetCapabilities() {
		offered = append(offered, om.Capability(name))
	}
	for _, name := range known {
		if offered.Has(name) {
			c.capabilities = append(c.capabilities, name)
		}
	}
	return nil
}

// known are the capabilities that this driver can pass on.
var known = om.Capabilities{
	om.CapPersistent,
	om.CapAdmin, om.CapBroadcast, om.CapDeadLetter, om.CapDeliveryCount, om.CapExpire, om.CapExtIDs, om.CapFilter, om.CapLease, om.CapLimits, om.CapMetadata,
	om.CapNack, om.CapNested, om.CapOrderKey, om.CapPartitions, om.CapQoS1, om.CapRouting, om.CapSeek, om.CapStoreInfo, om.CapStream,
}

// secrets sends credentials with each call.
type secrets struct {
	ask     func(context.Context) (spi.Credentials, error)
	account string // of the URL

	mu     sync.Mutex
	header map[string]string // nil when they must be asked for
}

func newSecrets(cfg spi.Config) *secrets {
	return &secrets{ask: cfg.Credentials, account: cfg.URL.Account}
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (s *secrets) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	s.mu.Lock()
	header := s.header
	s.mu.Unlock()
	if header != nil {
		return header, nil
	}
	c, err := s.ask(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "the program gave no credentials: %v", err)
	}
	if c.AccountID == "" {
		c.AccountID = s.account
	}
	header = map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(c.AccountID+":"+c.AccountKey))}
	if c.Token != "" {
		header["authorization"] = "Bearer " + strings.TrimSpace(c.Token)
	}
	s.mu.Lock()
	s.header = header
	s.mu.Unlock()
	return header, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Open has
// seen to it that what is not secured stays on this machine.
func (s *secrets) RequireTransportSecurity() bool { return false }

// forget has credentials asked for again.
func (s *secrets) forget() {
	s.mu.Lock()
	s.header = nil
	s.mu.Unlock()
}

// watch forgets them for each new connection.
func (s *secrets) watch(ctx context.Context, cc *grpc.ClientConn) {
	for state := cc.GetState(); cc.WaitForStateChange(ctx, state); {
		if state = cc.GetState(); state == connectivity.Connecting {
			s.forget()
		}
	}
}
