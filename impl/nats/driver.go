// Package nats is the driver "nats": NATS JetStream, by the vendor's
// client.
//
//	oms:nats://[account@]host:port[,host:port]/<region>[?options]
//
// Import it for its side effect. Write the port, 4222 by default in NATS: a URL
// without one means port 80, and a driver cannot tell. Regions keep queues
// apart that share an account of the server. Options:
//
//	creds=FILE         a credentials file; nkey=FILE a file with an nkey seed
//	tls=true           demand TLS; tls_ca=FILE, tls_cert=FILE and tls_key=FILE imply it
//	ack_wait=30s       after which time the server delivers again what a process that died
//	                   had received; of groups that are made
//	replicas=1         of queues and groups that are made: 1, 3 or 5
//	storage=file       or memory, of queues that are made
//	retain_bytes=10GB  the most a queue takes, of queues that are made; default no limit
//	retain_age=168h    how long messages are kept, of queues that are made; default for ever
//	dedup=2m           for how long a message sent again is recognised, of queues that are made
//	sync=always        says that the servers have sync_interval: always
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
	"errors"
	"flag"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// capabilities of the driver; the first one only with files.
var capabilities = om.Capabilities{
	om.CapPersistent,
	om.CapAdmin, om.CapBroadcast, om.CapDeliveryCount, om.CapExtIDs, om.CapLease, om.CapLimits, om.CapMetadata,
	om.CapNack, om.CapNested, om.CapPartitions, om.CapSeek, om.CapStoreInfo, om.CapStream,
}

// options are those of the URL.
type options struct {
	region  string
	connect []nats.Option
	ackWait time.Duration
	queue   jetstream.StreamConfig // what all streams that are made have in common
	synced  bool
}

func parseOptions(u om.URL) (*options, error) {
	o := &options{region: spi.Token(u.Region)}
	set := flag.NewFlagSet("nats", flag.ContinueOnError)
	add := func(option nats.Option, err error) error {
		o.connect = append(o.connect, option)
		return err
	}
	set.Func("creds", "a credentials file", func(f string) error { return add(nats.UserCredentials(f), nil) })
	set.Func("nkey", "a file with an nkey seed", func(f string) error { return add(nats.NkeyOptionFromSeed(f)) })
	set.Func("tls_ca", "a file with authorities", func(f string) error { return add(nats.RootCAs(f), nil) })
	cert, key := set.String("tls_cert", "", "a certificate"), set.String("tls_key", "", "its key")
	tls := set.Bool("tls", false, "true to demand TLS")
	set.DurationVar(&o.ackWait, "ack_wait", 30*time.Second, "a time such as 30s")
	set.IntVar(&o.queue.Replicas, "replicas", 1, "1, 3 or 5")
	set.Func("storage", "file or memory", func(s string) error { return o.queue.Storage.UnmarshalJSON([]byte(strconv.Quote(s))) })
	set.DurationVar(&o.queue.MaxAge, "retain_age", 0, "a time such as 168h")
	set.Func("retain_bytes", "a size such as 500MB or 10GiB", func(s string) error {
		n, err := humanize.ParseBytes(s)
		if o.queue.MaxBytes = int64(n); err != nil || n == 0 || n > 1<<60 {
			return errors.New("not a size")
		}
		return nil
	})
	set.DurationVar(&o.queue.Duplicates, "dedup", 2*time.Minute, "a time such as 2m")
	sync := set.String("sync", "", "always, or left out")
	if err := spi.ParseOptions(u, set); err != nil {
		return nil, err
	}
	why := ""
	switch r := o.queue.Replicas; {
	case min(o.ackWait, o.queue.Duplicates) < time.Second, u.Options.Has("retain_age") && o.queue.MaxAge < time.Second:
		why = "of ack_wait, dedup and retain_age the least is 1s"
	case r != 1 && r != 3 && r != 5:
		why = "replicas must be 1, 3 or 5"
	case *sync != "" && *sync != "always":
		why = "sync must be always, or left out"
	case (*cert == "") != (*key == ""):
		why = "tls_cert and tls_key need each other"
	}
	if why != "" {
		return nil, om.NewError(om.CodeMalformedURL, "open", u.String(), "%s", why)
	}
	if *cert != "" {
		_ = add(nats.ClientCert(*cert, *key), nil)
	}
	if *tls {
		_ = add(nats.Secure(), nil)
	}
	if o.synced = *sync != ""; o.queue.MaxAge > 0 {
		o.queue.Duplicates = min(o.queue.Duplicates, o.queue.MaxAge)
	}
	return o, nil
}
