package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/scan"
	"github.com/openmessaging/openmessaging-go/impl/filter"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func messageCommand() *cobra.Command {
	return parent("message", "Look at stored messages without consuming them", messageBrowse(), messageGet(), messageFind())
}

// stretch is the flags that say what is read of a queue.
type stretch struct {
	partition int32
	from, to  string
}

func (s *stretch) add(c *cobra.Command) {
	f := c.Flags()
	f.Int32Var(&s.partition, "partition", -1, "partition to read (default: all, one after the other)")
	f.StringVar(&s.from, "from", "begin", "position to begin at: begin, end, offset:42, a time, an age such as -1h")
	f.StringVar(&s.to, "to", "", "position to end before (default: the end)")
}

func (s *stretch) of(queue string) (r scan.Range, err error) {
	r = scan.Range{Queue: queue, Partition: s.partition, HasTo: s.to != ""}
	now := time.Now()
	if r.From, err = scan.ParsePosition(s.from, now); err != nil {
		return r, fmt.Errorf("--from: %w", err)
	}
	if r.HasTo {
		if r.To, err = scan.ParsePosition(s.to, now); err != nil {
			return r, fmt.Errorf("--to: %w", err)
		}
	}
	if r.Partition < -1 {
		return r, fmt.Errorf("--partition %d is negative", r.Partition)
	}
	return r, nil
}

// show prints the messages of a range that match, up to n.
func (ap *connection) show(ctx context.Context, c *cobra.Command, r scan.Range, p *printer, n int64, match func(*om.Message) bool, silent bool) error {
	progress := &bar{}
	if !isTerminal(c.OutOrStdout()) && !silent {
		progress = newBar(c.ErrOrStderr(), "scanned", false)
	}
	defer progress.finish()
	return printAll(ctx, scan.Read(ctx, ap, r, progress.set), p, n, match)
}

// printAll prints the messages that match, up to n.
func printAll(ctx context.Context, all iter.Seq2[*om.Delivery, error], p *printer, n int64, match func(*om.Message) bool) error {
	found := int64(0)
	for d, err := range all {
		switch {
		case ctx.Err() != nil:
			return nothing("interrupted after %s", counted(found, "message"))
		case err != nil:
			return err
		case !match(d.Message):
			continue
		}
		if err := p.print(d); err != nil {
			if brokenPipe(err) {
				return nil
			}
			return err
		}
		if found++; n > 0 && found >= n {
			return nil
		}
	}
	if found == 0 {
		return nothing("no message was found")
	}
	return nil
}

func messageBrowse() *cobra.Command {
	var t target
	var s stretch
	var p printer
	var n int64
	var expression string
	c := &cobra.Command{
		Use:   "browse QUEUE",
		Short: "Print stored messages, without a group and without settling anything",
		Long: `Print the messages that are stored now, partition after partition. No group is
made and nothing is settled. The filter is applied here, to what is read. The exit
status is 1 when there is no message.

Formats have these verbs:
` + lines.FormatHelp,
		Example: `  oms message browse orders
  oms message browse orders --partition 0 --from offset:1 -n 2
  oms message browse orders --from -24h --filter "total >= 1000" --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			match := func(*om.Message) bool { return true }
			r, err := s.of(args[0])
			if err == nil && n < 0 {
				err = fmt.Errorf("-n %d is negative", n)
			}
			if err == nil {
				err = p.open(c)
			}
			if err == nil && expression != "" {
				var f *filter.Filter
				if f, err = filter.Parse(expression, filter.Options{}); err != nil {
					return &exitError{exitUsage, pointed(expression, err)}
				}
				match = f.MatchMessage
			}
			if err != nil {
				return usage(c, err)
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				return ap.show(ctx, c, r, &p, n, match, expression == "")
			})
		},
	}
	t.add(c)
	s.add(c)
	p.add(c)
	c.Flags().Int64VarP(&n, "count", "n", 20, "end after so many messages, 0 for all")
	c.Flags().StringVar(&expression, "filter", "", "SQL expression of what is printed")
	return c
}

func messageGet() *cobra.Command {
	var t target
	var p printer
	c := &cobra.Command{
		Use:   "get QUEUE PARTITION/OFFSET",
		Short: "Print one message",
		Long: `Print the message at an offset of a partition. The exit status is 1 when there is
none.

Formats have these verbs:
` + lines.FormatHelp,
		Example:           "  oms message get orders 0/1\n  oms message get orders 0/1 --json",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			partition, offset, err := parsePlace(args[1])
			if err == nil {
				err = p.open(c)
			}
			if err != nil {
				return usage(c, err)
			}
			r := scan.Range{Queue: args[0], Partition: partition, From: om.AtOffset(offset), To: om.AtOffset(offset + 1), HasTo: true}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				for d, err := range scan.Read(ctx, ap, r, nil) {
					if err != nil {
						return err
					}
					if d.Offset == offset {
						return p.print(d)
					}
				}
				return nothing("no message lies at %s of %s; oms queue show %[2]s tells what is stored", args[1], args[0])
			})
		},
	}
	t.add(c)
	p.add(c)
	return c
}

func parsePlace(s string) (partition int32, offset int64, err error) {
	before, after, ok := strings.Cut(s, "/")
	n, err1 := strconv.ParseInt(before, 10, 32)
	offset, err2 := strconv.ParseInt(after, 10, 64)
	if !ok || err1 != nil || err2 != nil || n < 0 || offset < 0 || offset+1 < 0 {
		return 0, 0, fmt.Errorf("%.50q is no place; write partition/offset, such as 0/42", s)
	}
	return int32(n), offset, nil
}

func messageFind() *cobra.Command {
	var t target
	var s stretch
	var p printer
	var n int64
	var id, key string
	var texts []string
	c := &cobra.Command{
		Use:   "find QUEUE (--id ID | --key KEY | --property NAME=VALUE)",
		Short: "Find messages by id, key or properties",
		Long: `Find messages in what is stored, all of it unless --from, --to and --partition say
otherwise. All conditions must hold. Ids and keys are looked for where the messages
lie, as far as the system can do that; for properties, a partition or offsets all is
read. No group is made and nothing is settled. A property without a type matches a value that reads the same; with one, as in total:double=120, just that
value. The exit status is 1 when nothing is found.

Formats have these verbs:
` + lines.FormatHelp,
		Example: `  oms message find orders --key customer-7
  oms message find orders --key customer-7 --from -24h --json
  oms message find orders --property country=DE --from -24h -n 5
  oms message find orders --property total:double=120 --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			match, err := finder(id, key, texts)
			r, badRange := s.of(args[0])
			if err == nil {
				err = badRange
			}
			if err == nil && n < 0 {
				err = fmt.Errorf("-n %d is negative", n)
			}
			if err == nil {
				err = p.open(c)
			}
			if err != nil {
				return usage(c, err)
			}
			if id != "" && n == 0 {
				n = 1
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if q, ok := ap.findable(r, id, key); ok && len(texts) == 0 {
					return printAll(ctx, ap.find(ctx, args[0], q), &p, n, match)
				}
				return ap.show(ctx, c, r, &p, n, match, false)
			})
		},
	}
	t.add(c)
	s.add(c)
	p.add(c)
	f := c.Flags()
	f.Int64VarP(&n, "count", "n", 0, "end after so many messages (default: one with --id, else all)")
	f.StringVar(&id, "id", "", "message id")
	f.StringVar(&key, "key", "", "message key")
	f.StringArrayVar(&texts, "property", nil, "property, name=value or name:type=value; may be repeated")
	return c
}

// finder returns whether a message is one that is looked for.
func finder(id, key string, texts []string) (func(*om.Message) bool, error) {
	if id == "" && key == "" && len(texts) == 0 {
		return nil, errors.New("say what to look for: --id, --key or --property")
	}
	var properties []func(om.Properties) bool
	for _, text := range texts {
		name, want, err := lines.ParseProperty(text)
		if err != nil {
			return nil, fmt.Errorf("--property: %w", err)
		}
		left, _, _ := strings.Cut(text, "=")
		typed := left != name
		properties = append(properties, func(p om.Properties) bool {
			v, ok := p[name]
			return ok && (v.Equal(want) || !typed && v.String() == want.String())
		})
	}
	return func(m *om.Message) bool {
		if id != "" && m.MessageID != id || key != "" && m.Ext.MessageKey != key {
			return false
		}
		for _, match := range properties {
			if !match(m.Properties) {
				return false
			}
		}
		return true
	}, nil
}
