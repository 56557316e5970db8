package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/bench"
)

// scenario is one of the benchmarks with its defaults.
type scenario struct {
	name, short, long   string
	messages            int64
	producers, consumer int
	rate                int
	delay               string // help for --delay
}

var scenarios = []scenario{
	{
		name: "publish", short: "Send batches", messages: 5_000_000, producers: 64,
		long:  "Producers send batches and wait for each to be acknowledged. A latency is one batch.",
		delay: "send with delays of so much to twice as much",
	},
	{
		name: "send", short: "Send single messages and wait for each", messages: 300_000, producers: 64,
		long: "Goroutines send one message at a time and wait for it. A latency is one message.",
	},
	{
		name: "consume", short: "Receive and acknowledge batches", messages: 5_000_000, producers: 32, consumer: 2,
		long: "The queues are filled, which is not measured. Then consumers receive batches and acknowledge\nthem. A latency is one batch, received and acknowledged.",
	},
	{
		name: "filter", short: "Receive what an SQL filter keeps", messages: 5_000_000, producers: 32, consumer: 2,
		long: "The queues are filled, which is not measured. Then consumers with a filter receive what it keeps,\nand in the same run others without receive all and filter themselves. Rates count all messages.",
	},
	{
		name: "roundtrip", short: "Measure from send to receive at a steady rate", messages: 100_000, producers: 1, consumer: 1, rate: 10_000,
		long:  "One producer sends at a steady rate to a push consumer. A latency is from the moment a\nmessage is due to its handler, so that a stall counts for all it delays.",
		delay: "send with this delay, and measure from the moment a message is due to be delivered",
	},
}

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a messaging system through the portable client",
		Args:  args(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, s := range scenarios {
		c.AddCommand(s.command())
	}
	return c
}

func (s scenario) command() *cobra.Command {
	cfg := bench.Config{Scenario: s.name}
	var asJSON, asCSV bool
	var volume, profile string
	c := &cobra.Command{
		Use:   s.name,
		Short: s.short,
		Long: s.long + `

Without --url the embedded broker is measured in a temporary folder; everything
it acknowledges is synced to disk before. Queues are made for the run and deleted
after it. Ctrl-C ends the run with the figures so far.`,
		Example: fmt.Sprintf("  oms bench %s\n  oms bench %[1]s --size 1024 --json\n  oms bench %[1]s --url 'oms:badger://local/default?path=./data'", s.name),
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := check(&cfg, volume); err != nil {
				return usage(c, err)
			}
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return &exitError{exitFailed, err}
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return &exitError{exitFailed, err}
				}
				defer pprof.StopCPUProfile()
			}
			progress := newBar(c.ErrOrStderr(), s.name, false)
			cfg.Progress = progress.set
			r, err := bench.Run(c.Context(), cfg)
			progress.finish()
			if err != nil {
				return &exitError{exitFailed, err}
			}
			switch {
			case asJSON:
				err = json.NewEncoder(c.OutOrStdout()).Encode(r)
			case asCSV:
				err = r.WriteCSV(c.OutOrStdout())
			default:
				err = printResult(c.OutOrStdout(), r)
			}
			if err != nil {
				return &exitError{exitFailed, err}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.URL, "url", "", "access-point URL (default: the embedded broker in a temporary folder)")
	f.IntVar(&cfg.Size, "size", 128, "body bytes of a message")
	f.Int64Var(&cfg.Messages, "messages", s.messages, "messages in all")
	f.StringVar(&volume, "bytes", "", "body bytes in all, for example 10GB, instead of --messages")
	f.IntVar(&cfg.Batch, "batch", 1024, "messages in one call")
	f.IntVar(&cfg.Producers, "producers", s.producers, "goroutines that send")
	f.IntVar(&cfg.Consumers, "consumers", max(1, s.consumer), "consumers that receive")
	f.IntVar(&cfg.Queues, "queues", 1, "queues that the messages go to in turn")
	f.IntVar(&cfg.Partitions, "partitions", 4, "partitions of each queue")
	f.IntVar(&cfg.Groups, "groups", 0, "consumer groups of each queue that never read")
	f.IntVar(&cfg.Routes, "routes", 0, "routes from each queue, each to a queue of its own")
	if s.name == "filter" {
		f.IntVar(&cfg.Keep, "keep", 1, "per cent of the messages that the filter lets pass")
	}
	if s.name == "publish" || s.name == "consume" {
		f.IntVar(&cfg.Keys, "keys", 0, "message keys, by which the messages are in order")
	}
	if s.name == "publish" || s.name == "roundtrip" {
		f.DurationVar(&cfg.Delay, "delay", 0, s.delay)
	}
	f.IntVar(&cfg.Rate, "rate", s.rate, "messages a second, 0 for as many as possible")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&asCSV, "csv", false, "print a line of names and a line of values, separated by commas")
	c.MarkFlagsMutuallyExclusive("json", "csv")
	if s.name == "publish" || s.name == "send" {
		f.BoolVar(&cfg.Limit, "limit", false, "measure in the same run a bare Badger loop that commits the same bytes, and the ratio to it")
	}
	f.StringVar(&profile, "cpuprofile", "", "write a CPU profile to this file")
	return c
}

// check refuses values that make no sense.
func check(cfg *bench.Config, volume string) error {
	if cfg.Size < 0 || cfg.Size > 16<<20 {
		return fmt.Errorf("--size %d is not in 0 to %d", cfg.Size, 16<<20)
	}
	if volume != "" {
		n, err := humanize.ParseBytes(volume)
		if err != nil || n == 0 || n > 1<<50 {
			return fmt.Errorf("--bytes %s is not a size such as 500MB or 10GiB", volume)
		}
		cfg.Messages = max(1, int64(n)/int64(max(1, cfg.Size)))
	}
	for name, v := range map[string]int64{
		"messages": cfg.Messages, "batch": int64(cfg.Batch), "producers": int64(cfg.Producers),
		"consumers": int64(cfg.Consumers), "queues": int64(cfg.Queues), "partitions": int64(cfg.Partitions),
	} {
		if v < 1 {
			return fmt.Errorf("--%s %d is not positive", name, v)
		}
	}
	if cfg.Batch > 65536 {
		return fmt.Errorf("--batch %d is over 65536", cfg.Batch)
	}
	for name, v := range map[string]int{"groups": cfg.Groups, "routes": cfg.Routes, "keys": cfg.Keys} {
		if v < 0 {
			return fmt.Errorf("--%s %d is negative", name, v)
		}
	}
	if cfg.Keep < 0 || cfg.Keep > 100 {
		return fmt.Errorf("--keep %d is not in 0 to 100", cfg.Keep)
	}
	if cfg.Delay < 0 {
		return fmt.Errorf("--delay %v is negative", cfg.Delay)
	}
	if cfg.Rate < 0 {
		return fmt.Errorf("--rate %d is negative", cfg.Rate)
	}
	if cfg.Scenario == "roundtrip" && cfg.Messages > 50_000_000 {
		return fmt.Errorf("--messages %d is over 50000000, the most of a round trip", cfg.Messages)
	}
	return nil
}

func printResult(out io.Writer, r bench.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("scenario", "%s", r.Scenario)
	row("messages", "%s of %d bytes, %d in a call", humanize.Comma(r.Messages), r.Size, r.Batch)
	row("time", "%.2f s", r.Seconds)
	row("rate", "%s messages/s, %s/s", humanize.Comma(int64(r.MessagesPerSecond)), humanize.Bytes(uint64(r.BytesPerSecond)))
	if r.P50 != nil {
		row("latency", "p50 %.2f ms, p99 %.2f ms, max %.2f ms", *r.P50, *r.P99, *r.Max)
	}
	if r.LimitMessagesPerSecond != nil {
		row("limit", "%s messages/s by bare Badger; this is %.0f %% of it", humanize.Comma(int64(*r.LimitMessagesPerSecond)), 100**r.RatioToLimit)
	}
	if r.PeerMessagesPerSecond != nil {
		row("peer", "%s messages/s by a consumer that filters itself; this is %.1f times that", humanize.Comma(int64(*r.PeerMessagesPerSecond)), *r.RatioToPeer)
	}
	row("processor", "%.2f s", r.CPUSeconds)
	row("memory", "%s", humanize.IBytes(uint64(r.RSSBytes)))
	if r.Duplicates > 0 {
		row("duplicates", "%s", humanize.Comma(r.Duplicates))
	}
	if n := len(r.Gigabytes); n > 1 {
		first, last := r.Gigabytes[0], r.Gigabytes[n-1]
		row("gigabytes", "%d; first %s messages/s, last %s messages/s", n, humanize.Comma(int64(first.MessagesPerSecond)), humanize.Comma(int64(last.MessagesPerSecond)))
	}
	if r.Interrupted {
		row("", "interrupted: these are the figures so far")
	}
	return w.Flush()
}
