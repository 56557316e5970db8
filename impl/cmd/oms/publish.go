package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// sentJSON is a message that was sent, in JSON. The partition and the offset are
// -1 where the system has none.
type sentJSON struct {
	Queue     string `json:"queue"`
	ID        string `json:"id"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// publishing is one run of oms publish.
type publishing struct {
	queue      string
	bodies     []string
	lines      bool
	asJSON     bool
	key        string
	texts      []string // properties
	properties om.Properties
	delay      time.Duration
	expire     time.Duration
	priority   int8
	batch      int
}

func publishCommand() *cobra.Command {
	var t target
	var p publishing
	c := &cobra.Command{
		Use:   "publish QUEUE [BODY...]",
		Short: "Send messages",
		Long: `Send messages to a queue: each BODY is one; without any, standard input is one,
or each of its lines with --lines, or JSON lines with --json. What is said to be
sent is stored.

A line of JSON has the fields that oms consume --json prints: body or
body_base64, key, properties, property_types, correlation_id, trace_id, qos,
compression, delay_ms, expire_at, priority. Fields that a message gets when it is
sent or stored (id, partition, offset, born_at, …) and the queue are passed over.
Whole numbers are Long and others Double where property_types does not say
otherwise. With --json a line tells of each message that was sent.

Properties of --property are texts, or typed as in total:double=12.5; types are
string, binary (base64), short, integer, long, float, double, bool.`,
		Example: `  oms publish orders 'first order'
  oms publish orders '{"total":120}' --key customer-7 --property country=DE --property total:double=120
  oms publish orders 'remind anna' --delay 24h --priority 7
  cat orders.txt | oms publish orders --lines
  oms publish orders --json < orders.jsonl
  oms message browse orders -n 3 --json | oms publish audit --json`,
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			p.queue, p.bodies = args[0], args[1:]
			if err := p.check(); err != nil {
				return usage(c, err)
			}
			return t.with(c, func(ctx context.Context, ap *connection) error { return p.run(ctx, c, ap) })
		},
	}
	t.add(c)
	f := c.Flags()
	f.BoolVar(&p.lines, "lines", false, "each line of standard input is a message")
	f.BoolVar(&p.asJSON, "json", false, "standard input is JSON lines, and JSON is printed")
	f.StringVar(&p.key, "key", "", "key of the messages; equal keys share a partition")
	f.StringArrayVar(&p.texts, "property", nil, "property of the messages, name=value or name:type=value; may be repeated")
	f.DurationVar(&p.delay, "delay", 0, "how long the messages are held back, for example 90s or 24h")
	f.DurationVar(&p.expire, "expire", 0, "after how long messages that were not delivered are dropped; 0 is never")
	f.Int8Var(&p.priority, "priority", 0, "priority of the messages, 1 to 10; 0 is the usual one, which is 5")
	f.IntVar(&p.batch, "batch", 1024, "the most messages in one call")
	return c
}

func (p *publishing) check() error {
	if p.lines && (p.asJSON || len(p.bodies) > 0) {
		return errors.New("--lines goes with neither --json nor bodies on the command line")
	}
	if p.batch < 1 || p.batch > 65536 {
		return fmt.Errorf("--batch %d is not in 1 to 65536", p.batch)
	}
	switch {
	case p.delay < 0 || p.expire < 0:
		return errors.New("--delay and --expire cannot be negative")
	case p.priority < 0 || p.priority > 10:
		return fmt.Errorf("--priority %d is not in 0 to 10", p.priority)
	}
	p.properties = om.Properties{}
	for _, text := range p.texts {
		name, v, err := lines.ParseProperty(text)
		if err != nil {
			return fmt.Errorf("--property: %w", err)
		}
		p.properties[name] = v
	}
	return nil
}

// maxPending is how many messages may wait for their result.
const maxPending = 65536

func (p *publishing) run(ctx context.Context, c *cobra.Command, ap *connection) error {
	producer, err := ap.NewProducer(ctx, om.WithBatch(p.batch, 0))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &sending{
		c: c, p: p, producer: producer, pending: make(chan waiting, maxPending),
		bar: newBar(c.ErrOrStderr(), "sent", false), stop: cancel, single: len(p.bodies) > 0,
	}
	var collecting sync.WaitGroup
	collecting.Go(s.collect)
	began := time.Now()
	read := make(chan error, 1)
	go func() { read <- p.each(c.InOrStdin(), s.send) }() // reading cannot be interrupted
	var readErr error
	select {
	case readErr = <-read:
	case <-ctx.Done():
		readErr = ctx.Err()
	}
	s.end()
	collecting.Wait()
	s.bar.finish()
	return p.tell(c, s, readErr, time.Since(began))
}

// tell says how it ended.
func (p *publishing) tell(c *cobra.Command, s *sending, readErr error, took time.Duration) error {
	var bad *badLine
	switch {
	case s.err != nil && s.line > 0:
		return nothing("%s %d: %w; sent before: %s", s.unit(), s.line, s.err, counted(s.sent, "message"))
	case s.err != nil:
		return s.err
	case errors.As(readErr, &bad):
		return &exitError{exitUsage, fmt.Errorf("%w; sent before: %s", readErr, counted(s.sent, "message"))}
	case errors.Is(readErr, context.Canceled):
		return nothing("interrupted; sent before: %s", counted(s.sent, "message"))
	case readErr != nil:
		return fmt.Errorf("%w; sent before: %s", readErr, counted(s.sent, "message"))
	case p.asJSON || s.single:
		return nil
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s sent to %s in %s\n", counted(s.sent, "message"), p.queue, took.Round(time.Millisecond))
	return err
}

// waiting is a message that was handed over.
type waiting struct {
	line   int
	result *om.Future[om.SendResult]
}

// sending hands messages over and gathers the results in order.
type sending struct {
	c        *cobra.Command
	p        *publishing
	producer om.Producer
	bar      *bar
	stop     context.CancelFunc // ends reading
	single   bool               // bodies came from the command line

	mu      sync.Mutex // held while a message is handed over
	ended   bool
	pending chan waiting

	sent int64
	line int // of the first failure
	err  error
}

// send hands a message over. What was handed over is sent, also after an
// interrupt.
func (s *sending) send(line int, m *om.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return context.Canceled
	}
	s.pending <- waiting{line, s.producer.SendAsync(context.WithoutCancel(s.c.Context()), m)}
	return nil
}

func (s *sending) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	close(s.pending)
}

func (s *sending) unit() string {
	if s.single {
		return "body"
	}
	return "line"
}

// collect waits for the results until pending is closed.
func (s *sending) collect() {
	for w := range s.pending {
		r, err := w.result.Wait(context.WithoutCancel(s.c.Context()))
		if err == nil {
			s.sent++
			err = s.print(r)
			w.line = 0
		}
		if err != nil && s.err == nil {
			s.err, s.line = err, w.line
			s.stop()
		}
		s.bar.set(s.sent, -1)
	}
}

func (s *sending) print(r om.SendResult) error {
	out := s.c.OutOrStdout()
	switch {
	case s.p.asJSON:
		return printJSON(out, sentJSON{long(s.p.queue), r.MessageID, r.Partition, r.Offset})
	case s.single && r.Partition >= 0 && r.Offset < 0:
		_, err := fmt.Fprintf(out, "sent to %s, partition %d when it is due, id %s\n", s.p.queue, r.Partition, r.MessageID)
		return err
	case s.single && r.Partition >= 0:
		_, err := fmt.Fprintf(out, "sent to %s, partition %d, offset %d, id %s\n", s.p.queue, r.Partition, r.Offset, r.MessageID)
		return err
	case s.single:
		_, err := fmt.Fprintf(out, "sent to %s, id %s\n", s.p.queue, r.MessageID)
		return err
	}
	return nil
}

// badLine is a line of the input that makes no sense.
type badLine struct {
	line int
	err  error
}

func (b *badLine) Error() string { return fmt.Sprintf("line %d: %v", b.line, b.err) }

// each makes messages of the input and hands them to f with the number of their
// line, or of the body on the command line.
func (p *publishing) each(in io.Reader, f func(line int, m *om.Message) error) error {
	for i, body := range p.bodies {
		if err := f(i+1, p.message(om.NewMessage(p.queue, []byte(body)))); err != nil {
			return err
		}
	}
	switch {
	case len(p.bodies) > 0:
		return nil
	case !p.lines && !p.asJSON:
		body, err := io.ReadAll(io.LimitReader(in, maxLine+1))
		if err == nil && len(body) > maxLine {
			err = fmt.Errorf("standard input has more than %d bytes; --lines takes each line as a message", maxLine)
		}
		if err != nil {
			return err
		}
		return f(1, p.message(om.NewMessage(p.queue, body)))
	}
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for s.Scan() {
		n++
		line := s.Bytes()
		m := om.NewMessage(p.queue, nil)
		if p.asJSON {
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			var err error
			if m, err = lines.Parse(line, p.queue); err != nil {
				return &badLine{n, err}
			}
		} else {
			m.Body = bytes.Clone(line)
		}
		if err := f(n, p.message(m)); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return &badLine{n + 1, fmt.Errorf("it is longer than %d bytes", maxLine)}
	}
	return s.Err()
}

// message gives a message what the flags say.
func (p *publishing) message(m *om.Message) *om.Message {
	if p.key != "" {
		m.Ext.MessageKey = p.key
	}
	if p.delay > 0 {
		m.Ext.Delay = p.delay
	}
	if p.expire > 0 {
		m.Ext.ExpireAt = om.ExpireAfter(p.expire)
	}
	if p.priority > 0 {
		m.Ext.Priority = p.priority
	}
	for k, v := range p.properties {
		m.Properties[k] = v
	}
	return m
}
