// Package nats is the driver "nats": NATS JetStream, by its own protocol.
//
//	oms:nats://[account@]host:port[,host:port]/<region>[?options]
//
// Import it for its side effect. Write the port, 4222 by default in NATS: a URL
// without one means port 80, and a driver cannot tell. Regions keep queues
// apart that share an account of the server. Options:
//
//	creds=FILE             a credentials file
//	nkey=FILE              a file with an nkey seed
//	tls=true               demand TLS; tls_ca=FILE, tls_cert=FILE and tls_key=FILE imply it
//	ack_wait=30s           after which time the server delivers again what a process that died
//	                       had received; of groups that are made
//	replicas=1             of queues and groups that are made: 1, 3 or 5
//	storage=file           or memory, of queues that are made
//	retain_bytes=10GB      the most a queue's partition takes, of queues that are made; default no limit
//	retain_age=168h        how long messages are kept, of queues that are made; default for ever
//	dedup=2m               for how long a message sent again is recognised, of queues that are made
//	sync=always            says that the servers have sync_interval: always; see below
//
// A send is acknowledged when the server has written the message to its file,
// with several replicas when most of them have. It is synced to disk then only
// when the servers have "sync_interval: always" in their jetstream block. Open
// asks them and logs a warning when they say no or do not say. They say it only to
// an account that imports $SYS.REQ.SERVER.PING.VARZ; else say sync=always in
// the URL when it is so.
//
// docs/drivers.md tells how queues, groups and messages lie in JetStream.
package nats

import (
	"context"

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
	return spi.Info{Name: "nats", Version: Version, SpecVersion: om.SpecVersion}
}

// Open implements spi.Driver.
func (Driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o, err := parseOptions(cfg.URL)
	if err != nil {
		return nil, om.NewError(om.CodeMalformedURL, "open", cfg.URL.String(), "%w", err)
	}
	return open(ctx, cfg, o)
}

// capabilities of the driver; the first one only with files.
var capabilities = om.Capabilities{
	om.CapPersistent,
	om.CapAdmin, om.CapBroadcast, om.CapDeliveryCount, om.CapExtIDs, om.CapLease, om.CapLimits, om.CapMetadata,
	om.CapNack, om.CapNested, om.CapPartitions, om.CapSeek, om.CapStoreInfo, om.CapStream,
}
