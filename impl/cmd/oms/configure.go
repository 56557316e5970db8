package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// settingsJSON is the settings of a group in JSON.
type settingsJSON struct {
	MaxDeliveries int     `json:"max_deliveries"`
	Backoff       []int64 `json:"backoff_ms"`
}

func newSettingsJSON(c om.GroupConfig) *settingsJSON {
	j := &settingsJSON{c.MaxDeliveries, []int64{}}
	for _, d := range c.Backoff {
		j.Backoff = append(j.Backoff, d.Milliseconds())
	}
	return j
}

// backoffText is a backoff for people.
func backoffText(b om.Backoff) string {
	if len(b) == 1 && b[0] == 0 {
		return "none"
	}
	texts := make([]string, len(b))
	for i, d := range b {
		texts[i] = d.String()
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(texts[i], zero) {
				texts[i] = texts[i][:len(texts[i])-2]
			}
		}
	}
	return strings.Join(texts, ", ")
}

// parseBackoff is for what people write.
func parseBackoff(s string) (b om.Backoff, err error) {
	bad := fmt.Errorf("--backoff %.50q is no backoff; write none, exponential, exponential:FIRST:MOST, rocketmq, or durations such as 0s,10s,5m", s)
	kind, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "none":
		return om.NoBackoff, nil
	case s == "exponential":
		return om.DefaultBackoff, nil
	case s == "rocketmq":
		return om.RocketMQBackoff, nil
	case kind == "exponential":
		first, most, _ := strings.Cut(rest, ":")
		from, err1 := time.ParseDuration(first)
		to, err2 := time.ParseDuration(most)
		if err1 != nil || err2 != nil || from < time.Millisecond || to < from {
			return nil, bad
		}
		return om.ExponentialBackoff(from, to), nil
	}
	for _, text := range strings.Split(s, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil || d < 0 {
			return nil, bad
		}
		b = append(b, d)
	}
	return b, nil
}

func groupConfigure() *cobra.Command {
	var t target
	asJSON := false
	var most int
	var backoff string
	c := &cobra.Command{
		Use:   "configure QUEUE GROUP",
		Short: "Set how often a group is given a message, and how long it waits in between",
		Long: `Set how often a group is given a message before it goes to the group's
dead-letter queue, and how long a message waits that was given back without a delay
or whose lease has ended. It holds at once. What is not said stays.

A backoff is none, exponential (at once, then 1s, 2s, 4s and so on up to 5m),
exponential:FIRST:MOST, rocketmq (its sixteen levels from 10s to 2h), or a list of
durations, of which the last repeats.`,
		Example: `  oms group configure orders billing --max-deliveries 17 --backoff rocketmq
  oms group configure orders billing --backoff exponential:500ms:10m
  oms group configure orders billing --backoff 0s,10s,1m --json`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.groups(),
		RunE: func(c *cobra.Command, args []string) error {
			var wait om.Backoff
			if backoff != "" {
				var err error
				if wait, err = parseBackoff(backoff); err != nil {
					return usage(c, err)
				}
			}
			if most < 0 {
				return usage(c, fmt.Errorf("--max-deliveries %d is negative", most))
			}
			if most == 0 && wait == nil {
				return usage(c, errors.New("say --max-deliveries, --backoff, or both"))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				r := ap.Resources()
				settings, err := r.Group(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				if most > 0 {
					settings.MaxDeliveries = most
				}
				if wait != nil {
					settings.Backoff = wait
				}
				if err := r.ConfigureGroup(ctx, args[0], args[1], settings); err != nil {
					return err
				}
				return done(c, asJSON, newSettingsJSON(settings), "group %s of %s is given a message %d times at most; backoff: %s", args[1], args[0], settings.MaxDeliveries, backoffText(settings.Backoff))
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVar(&most, "max-deliveries", 0, "deliveries of a message at most")
	c.Flags().StringVar(&backoff, "backoff", "", "how long a message waits between deliveries")
	return c
}
