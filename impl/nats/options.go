package nats

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// options are those of the URL.
type options struct {
	region      string
	connect     []nats.Option
	keys        bool // creds or nkey is there
	ackWait     time.Duration
	replicas    int
	memory      bool
	retainBytes int64
	retainAge   time.Duration
	dedup       time.Duration
	synced      bool
}

func parseOptions(u om.URL) (*options, error) {
	o := &options{region: token(u.Region), ackWait: 30 * time.Second, replicas: 1, retainBytes: -1, dedup: 2 * time.Minute}
	for key, values := range u.Options {
		if len(values) != 1 {
			return nil, fmt.Errorf("the option %s occurs %d times", key, len(values))
		}
		if err := o.set(key, values[0]); err != nil {
			return nil, fmt.Errorf("%s=%s: %w", key, values[0], err)
		}
	}
	cert, key := u.Options.Get("tls_cert"), u.Options.Get("tls_key")
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("tls_cert and tls_key need each other")
	}
	if cert != "" {
		o.connect = append(o.connect, nats.ClientCert(cert, key))
	}
	if o.retainAge > 0 {
		o.dedup = min(o.dedup, o.retainAge)
	}
	return o, nil
}

func (o *options) set(key, value string) (err error) {
	switch key {
	case "creds":
		o.connect, o.keys = append(o.connect, nats.UserCredentials(value)), true
	case "nkey":
		var option nats.Option
		option, err = nats.NkeyOptionFromSeed(value)
		o.connect, o.keys = append(o.connect, option), true
	case "tls":
		var on bool
		if on, err = strconv.ParseBool(value); on {
			o.connect = append(o.connect, nats.Secure())
		}
	case "tls_ca":
		o.connect = append(o.connect, nats.RootCAs(value))
	case "tls_cert", "tls_key": // together, by parseOptions
	case "ack_wait":
		err = atLeast(&o.ackWait, value, time.Second)
	case "replicas":
		if o.replicas, err = strconv.Atoi(value); err != nil || o.replicas != 1 && o.replicas != 3 && o.replicas != 5 {
			err = fmt.Errorf("it must be 1, 3 or 5")
		}
	case "storage":
		if o.memory = value == "memory"; !o.memory && value != "file" {
			err = fmt.Errorf("it must be file or memory")
		}
	case "retain_bytes":
		var n uint64
		if n, err = humanize.ParseBytes(value); err != nil || n == 0 || n > 1<<60 {
			err = fmt.Errorf("not a size such as 500MB or 10GiB")
		}
		o.retainBytes = int64(n)
	case "retain_age":
		err = atLeast(&o.retainAge, value, time.Second)
	case "dedup":
		err = atLeast(&o.dedup, value, time.Second)
	case "sync":
		if o.synced = value == "always"; !o.synced {
			err = fmt.Errorf("it must be always, or left out")
		}
	default:
		err = fmt.Errorf("no such option; there are ack_wait, creds, dedup, nkey, replicas, retain_age, retain_bytes, storage, sync, tls, tls_ca, tls_cert, tls_key")
	}
	return err
}

func atLeast(d *time.Duration, value string, least time.Duration) (err error) {
	if *d, err = time.ParseDuration(value); err == nil && *d < least {
		err = fmt.Errorf("the least is %v", least)
	}
	return err
}
