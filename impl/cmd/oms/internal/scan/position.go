// Package scan reads stretches of partitions without a consumer group, and
// understands positions as people write them.
package scan

import (
	"fmt"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// ParsePosition parses a position: begin, end, offset:N, a time as in RFC 3339
// with or without "time:", a day as in 2006-01-02 (UTC), or an age such as -1h.
func ParsePosition(s string, now time.Time) (om.Position, error) {
	text := strings.TrimPrefix(s, "time:")
	if age, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(age); err == nil && d >= 0 {
			return om.AtTime(now.Add(-d)), nil
		}
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return om.AtTime(day), nil
	}
	for _, candidate := range []string{s, "time:" + text} {
		if p, err := om.ParsePosition(candidate); err == nil {
			return p, nil
		}
	}
	return om.Position{}, fmt.Errorf("%.100q is no position; there are begin, end, offset:42, 2018-02-07, 2018-02-07T00:00:00Z, -1h", s)
}
