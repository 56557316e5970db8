package oms

import (
	"errors"
	"fmt"
	"time"

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
