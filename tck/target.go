package tck

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Target is what is tested.
type Target struct {
	// Name is shown in reports. Default: the driver's name.
	Name string
	// URL is the access-point URL that the cases open, each for itself.
	URL string
	// Driver is the driver under test. Default: the one that the URL names, in
	// spi.DefaultRegistry.
	Driver spi.Driver
	// Credentials is where the driver gets its secrets from; see
	// oms.WithCredentials.
	Credentials func(ctx context.Context) (spi.Credentials, error)
	// ReadOnly are the credentials of an account that may not send, for R053.
	// Without them the case is untested.
	ReadOnly func(ctx context.Context) (spi.Credentials, error)
	// CreateQueue makes a queue, for systems without the capability admin; it
	// returns the queue's name as producers give it and may choose it. It may
	// be called concurrently.
	CreateQueue func(ctx context.Context, name string, partitions int) (string, error)
	// Faults are hooks into the system.
	Faults Faults
	// Timing says how long the cases wait. The zero value is for networks.
	Timing Timing
	// Parallel is how many cases run at once. Default 16. Cases that use
	// faults run alone.
	Parallel int
	// Library is the portable layer under test. The zero value is this
	// module's; others are for tests of the kit itself.
	Library Library
}

// Faults are hooks into the system under test. Each may be nil; cases that
// need one are then untested, or tested in a weaker way.
type Faults struct {
	// Restart ends the system in good order and starts it again. Open
	// connections may end.
	Restart func(ctx context.Context) error
	// Kill ends the system without warning and starts it again. Where the
	// system's documents say that it writes progress later than it confirms
	// acknowledgements, the hook may wait for that first; for messages it must
	// not.
	Kill func(ctx context.Context) error
	// Stall makes the system accept no message, neither refuse it, until
	// resume is called; senders wait.
	Stall func(ctx context.Context) (resume func(), err error)
}

// Timing says how long cases wait. Zero fields stand for the defaults.
type Timing struct {
	// Arrive is within which time something must happen. Default 10 s.
	Arrive time.Duration
	// Quiet is for how long nothing may happen where nothing must happen.
	// Default 700 ms.
	Quiet time.Duration
	// Slack is how much earlier or later than told something may be, for
	// clocks and networks. Default 300 ms.
	Slack time.Duration
	// Lease is the lease that cases let end. Default 1 s.
	Lease time.Duration
	// Case bounds one case. Default 60 s.
	Case time.Duration
	// Scale multiplies all of them; 0 stands for 1.
	Scale float64
}

func (t Timing) scaled() Timing {
	for _, f := range []struct {
		d *time.Duration
		v time.Duration
	}{
		{&t.Arrive, 10 * time.Second}, {&t.Quiet, 700 * time.Millisecond}, {&t.Slack, 300 * time.Millisecond},
		{&t.Lease, time.Second}, {&t.Case, time.Minute},
	} {
		if *f.d == 0 {
			*f.d = f.v
		}
		if t.Scale > 0 {
			*f.d = time.Duration(float64(*f.d) * t.Scale)
		}
	}
	t.Scale = 1
	return t
}

// Library is the portable layer that cases call.
type Library struct {
	ParseURL func(url string) (om.URL, error)
	Open     func(ctx context.Context, url string, opts ...oms.Option) (om.AccessPoint, error)
	// Properties returns what reads the properties of a received message.
	Properties func(om.Properties) Getter
}

// Getter reads properties with defaults, as om.Properties does.
type Getter interface {
	GetString(key, def string) string
	GetBytes(key string, def []byte) []byte
	GetInt64(key string, def int64) int64
	GetFloat64(key string, def float64) float64
	GetBool(key string, def bool) bool
}

func (l Library) filled() Library {
	if l.ParseURL == nil {
		l.ParseURL = om.ParseURL
	}
	if l.Open == nil {
		l.Open = oms.Open
	}
	if l.Properties == nil {
		l.Properties = func(p om.Properties) Getter { return p }
	}
	return l
}
