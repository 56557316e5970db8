package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/scan"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// printer prints messages one by one: what it has returned from was written.
type printer struct {
	out    io.Writer
	asJSON bool
	text   string
	format lines.Format
	buffer []byte
}

// add adds the flags of a printer.
func (p *printer) add(c *cobra.Command) {
	c.Flags().StringVarP(&p.text, "format", "f", `%b\n`, "how a message is printed (default: its body and a new line)")
	c.Flags().Lookup("format").DefValue = "" // which the help would show escaped twice
	c.Flags().BoolVar(&p.asJSON, "json", false, "print JSON lines, which oms publish --json takes back")
}

func (p *printer) open(c *cobra.Command) (err error) {
	p.out = c.OutOrStdout()
	if p.asJSON && c.Flags().Changed("format") {
		return errors.New("say either --format or --json")
	}
	p.format, err = lines.ParseFormat(p.text)
	return err
}

func (p *printer) print(d *om.Delivery) (err error) {
	if p.asJSON {
		p.buffer, err = lines.FromDelivery(d).Append(p.buffer[:0])
	} else {
		p.buffer = p.format.Append(p.buffer[:0], d)
	}
	if err != nil {
		return err
	}
	_, err = p.out.Write(p.buffer)
	return err
}

// brokenPipe reports whether nobody reads what is written any more.
func brokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// consuming is one run of oms consume.
type consuming struct {
	queue, group, start, filter string
	reject                      string
	most                        int64
	exitAtEnd                   bool
	printer                     printer
}

func consumeCommand() *cobra.Command {
	var t target
	var s consuming
	c := &cobra.Command{
		Use:   "consume QUEUE --group GROUP",
		Short: "Receive messages as a consumer of a group, and acknowledge them",
		Long: `Receive messages as a consumer of a group. A message is acknowledged after it is
written; when the reader of a pipe has gone, what could not be written comes again
to the group. oms message browse looks at messages without a group.

With --reject messages go to the group's dead-letter queue instead, named
QUEUE//dlq//GROUP; the reason is their property $deadReason.

-o says where the group starts, and is for groups that the queue does not know
yet; oms group reset moves others. Positions: begin, end, offset:42, a time such
as 2018-02-07T00:00:00Z or 2018-02-07, an age such as -1h.

Formats have these verbs:
` + lines.FormatHelp,
		Example: `  oms consume orders --group billing -n 10
  oms consume orders --group billing -n 1 --reject 'no such customer'
  oms consume orders --group report --exit-at-end --json
  oms consume orders --group big -o begin --filter "total >= 1000" -f '%p/%o %k %b\n' --exit-at-end`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			s.queue = args[0]
			if err := s.printer.open(c); err != nil {
				return usage(c, err)
			}
			start, err := scan.ParsePosition(s.start, time.Now())
			switch {
			case s.group == "":
				err = errors.New("--group says for which consumer group; oms message browse needs none")
			case err != nil:
				err = fmt.Errorf("-o: %w", err)
			case s.most < 0:
				err = fmt.Errorf("-n %d is negative", s.most)
			}
			if err != nil {
				return usage(c, err)
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if c.Flags().Changed("offset") {
					if err := s.newGroup(ctx, c, ap); err != nil {
						return err
					}
				}
				return s.run(ctx, ap, start)
			})
		},
	}
	t.add(c)
	f := c.Flags()
	f.StringVarP(&s.group, "group", "g", "", "consumer group")
	f.Int64VarP(&s.most, "count", "n", 0, "end after so many messages (default: go on)")
	f.StringVarP(&s.start, "offset", "o", "begin", "position at which a new group starts")
	f.BoolVar(&s.exitAtEnd, "exit-at-end", false, "end when what was stored at the start is consumed")
	f.StringVar(&s.filter, "filter", "", "SQL expression; what does not match counts as consumed")
	f.StringVar(&s.reject, "reject", "", "reason to give the messages up for: they go to the dead-letter queue")
	s.printer.add(c)
	return c
}

// newGroup refuses a start for a group that has one.
func (s *consuming) newGroup(ctx context.Context, c *cobra.Command, ap *connection) error {
	if !ap.Capabilities().Has(om.CapMetadata) {
		return nil
	}
	groups, err := ap.Resources().Groups(ctx, s.queue)
	for _, g := range groups {
		if g.Group == s.group {
			return usage(c, fmt.Errorf("group %s of %s has its place already, so -o would mean nothing; oms group reset moves it", s.group, s.queue))
		}
	}
	return err
}

const (
	// atOnce is how many messages are received and acknowledged together.
	atOnce = 256
	// lookAfter is how long a consumer waits before it looks whether it is at
	// the end.
	lookAfter = 200 * time.Millisecond
)

func (s *consuming) run(ctx context.Context, ap *connection, start om.Position) error {
	opts := []om.ConsumerOption{om.WithGroup(s.group), om.WithStart(start)}
	if s.filter != "" {
		opts = append(opts, om.WithFilter(om.SQL(s.filter)))
	}
	consumer, err := ap.NewPullConsumer(ctx, opts...)
	if err != nil {
		return err
	}
	if err := consumer.Bind(ctx, s.queue); err != nil {
		return err
	}
	var ends map[int32]int64
	if s.exitAtEnd {
		if ends, err = s.ends(ctx, ap); err != nil {
			return err
		}
	}
	for got := int64(0); s.most == 0 || got < s.most; {
		batch, err := s.receive(ctx, consumer, got)
		switch {
		case ctx.Err() != nil:
			return s.interrupted(got)
		case errors.Is(err, om.ErrTimeout) && s.exitAtEnd:
			if atEnd, err := s.atEnd(ctx, ap, ends); err != nil || atEnd {
				return err
			}
			continue
		case err != nil:
			return err
		}
		n, err := s.deliver(consumer, batch)
		got += int64(n)
		if brokenPipe(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receive waits for messages, for a while when the end may be near.
func (s *consuming) receive(ctx context.Context, consumer om.PullConsumer, got int64) ([]*om.Delivery, error) {
	most := int64(atOnce)
	if s.most > 0 {
		most = min(most, s.most-got)
	}
	if s.exitAtEnd {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookAfter)
		defer cancel()
	}
	return consumer.ReceiveBatch(ctx, int(most))
}

// deliver prints messages and settles those that were written; n is their
// number.
func (s *consuming) deliver(consumer om.PullConsumer, batch []*om.Delivery) (n int, err error) {
	for n < len(batch) && err == nil {
		if err = s.printer.print(batch[n]); err == nil {
			n++
		}
	}
	if n > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		err = errors.Join(err, s.settle(ctx, consumer, batch[:n]))
	}
	return n, err
}

// settle acknowledges messages, or rejects them.
func (s *consuming) settle(ctx context.Context, consumer om.PullConsumer, batch []*om.Delivery) (err error) {
	if s.reject == "" {
		return consumer.Ack(ctx, batch...)
	}
	for _, d := range batch {
		err = errors.Join(err, d.Reject(ctx, s.reject))
	}
	return err
}

// interrupted is how a consumer ends that the user ends: well, unless he has
// asked for more.
func (s *consuming) interrupted(got int64) error {
	if s.most > 0 {
		return nothing("interrupted after %d of %d messages", got, s.most)
	}
	return nil
}

// ends tells where the partitions end now.
func (s *consuming) ends(ctx context.Context, ap *connection) (map[int32]int64, error) {
	ps, err := ap.Resources().Partitions(ctx, s.queue)
	if errors.Is(err, om.ErrUnsupported) {
		err = fmt.Errorf("the system does not tell where a queue ends; use -n instead of --exit-at-end: %w", err)
	}
	ends := make(map[int32]int64)
	for _, p := range ps {
		ends[p.Partition] = p.End
	}
	return ends, err
}

// atEnd reports whether the group has nothing more to get of what lies before
// the ends: it is settled, or in other hands.
func (s *consuming) atEnd(ctx context.Context, ap *connection, ends map[int32]int64) (bool, error) {
	g, err := ap.group(ctx, s.queue, s.group)
	if err != nil {
		return false, err
	}
	for _, p := range g.Partitions {
		if p.Lag < 0 {
			p.Lag, p.InFlight = g.Lag, g.InFlight // more is not known of it
		}
		if p.Cursor < ends[p.Partition] && p.Lag > p.InFlight {
			return false, nil
		}
	}
	return true, nil
}
