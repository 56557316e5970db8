package oms

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// checks gathers what is wrong with a configuration, so that one error tells
// all of it.
type checks []error

// number gives *v its default when it is zero and refuses negative values.
func (c *checks) number(name string, v *int, def int) {
	if *v < 0 {
		*c = append(*c, fmt.Errorf("%s is %d; it must be positive, or 0 for the default of %d", name, *v, def))
	}
	if *v == 0 {
		*v = def
	}
}

// duration is number for durations.
func (c *checks) duration(name string, v *time.Duration, def time.Duration) {
	if *v < 0 {
		*c = append(*c, fmt.Errorf("%s is %v; it must not be negative", name, *v))
	}
	if *v == 0 {
		*v = def
	}
}

func (c *checks) retry(p *om.RetryPolicy) {
	c.number("Retry.Attempts", &p.Attempts, 8)
	c.duration("Retry.Min", &p.Min, 10*time.Millisecond)
	c.duration("Retry.Max", &p.Max, max(time.Second, p.Min))
	if p.Min > p.Max {
		*c = append(*c, fmt.Errorf("the pause Retry.Min of %v is longer than Retry.Max %v", p.Min, p.Max))
	}
}

func (c checks) err(op string) error {
	if len(c) == 0 {
		return nil
	}
	return badParameter(op, "", "%w", errors.Join(c...))
}

// member checks what is for assigned groups.
func (c *checks) member(cfg *om.ConsumerConfig) {
	if cfg.Allocation == nil {
		if cfg.Member.ID != "" || cfg.Member.Labels != nil || cfg.Session != 0 {
			*c = append(*c, errors.New("the Member and the Session are for assigned groups; set an Allocation too"))
		}
		return
	}
	c.duration("Session", &cfg.Session, 10*time.Second)
	if cfg.Session < 100*time.Millisecond || cfg.Session > time.Hour {
		*c = append(*c, fmt.Errorf("the Session is %v; it must be 100 ms to 1 hour", cfg.Session))
	}
	if name := cfg.Allocation.Name(); name == "" || !utf8.ValidString(name) {
		*c = append(*c, fmt.Errorf("the name %q of the Allocation is empty or not valid UTF-8", name))
	}
	if cfg.Member.ID == "" {
		host, _ := os.Hostname()
		cfg.Member.ID = fmt.Sprintf("%.200s-%s", host, rand.Text()[:10])
	}
	if len(cfg.Member.ID) > 255 || !utf8.ValidString(cfg.Member.ID) {
		*c = append(*c, fmt.Errorf("the member id %q is not valid UTF-8 of at most 255 bytes", cfg.Member.ID))
	}
}
