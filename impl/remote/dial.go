package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

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
		secrets = newSecrets(cfg, secure != nil)
		opts = append(opts, grpc.WithPerRPCCredentials(secrets))
	}
	cc, err := grpc.NewClient("oms:///"+cfg.URL.Hosts[0].String(), opts...)
	if err != nil {
		return nil, om.NewError(om.CodeDriverUnavailable, "open", cfg.URL.String(), "%w", err)
	}
	c := newConn(cc, secrets, cfg.Logger)
	if secrets != nil {
		secrets.logins = wirepb.NewLoginServiceClient(cc)
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
	om.CapPersistent, om.CapAuth,
	om.CapAddPartitions, om.CapAdmin, om.CapAssigned, om.CapBroadcast, om.CapCancelDelay, om.CapCompression, om.CapDeadLetter, om.CapDeduplication, om.CapDelay, om.CapDeliveryCount, om.CapExpire, om.CapExtIDs, om.CapFencing, om.CapFilter, om.CapFind, om.CapGroupConfig, om.CapLease, om.CapLimits, om.CapMetadata,
	om.CapNack, om.CapNested, om.CapOrderKey, om.CapPartitions, om.CapPriority, om.CapQoS1, om.CapQoS2, om.CapRedrive, om.CapRequestReply, om.CapRouting, om.CapSeek, om.CapStats, om.CapStoreInfo, om.CapStream,
	om.CapTransacted, om.CapTransaction,
}
