// Package mutant proves that the conformance kit can fail: it holds drivers and
// portable layers that each break one requirement, made from the correct
// driver of package tck/memory.
package mutant

import (
	"context"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

// Mutant is an implementation with one fault.
type Mutant struct {
	Name  string
	Kills string // the requirement whose case must fail
	Says  string // words that the failure must hold
	make  func(*parts)
}

// All returns the mutants, by the requirement they break.
func All() []Mutant {
	all := slices.Concat(valueMutants, messageMutants, extensionMutants, accessPointMutants, producerMutants, consumerMutants,
		pushMutants, transactionMutants, resourceMutants, requestMutants, filterMutants, delayMutants, deadLetterMutants, deduplicationMutants, partitionMutants, assignedMutants, transactedMutants, checkMutants, statsMutants, lifecycleMutants, errorMutants, settleMutants)
	slices.SortStableFunc(all, func(a, b Mutant) int {
		return slices.Index(ids, a.Kills) - slices.Index(ids, b.Kills)
	})
	return all
}

// Correct is the driver that the mutants are made from.
func Correct() Mutant { return Mutant{Name: "correct"} }

// CorrectWithAccounts is Correct on a system that checks who may send.
func CorrectWithAccounts() Mutant { return Mutant{Name: "correct with accounts", make: withAccounts} }

var ids = func() (ids []string) {
	for _, r := range tck.Requirements() {
		ids = append(ids, r.ID)
	}
	return ids
}()

// parts are what a mutant is made of: hooks around the driver and around the
// portable layer. What is nil stays correct.
type parts struct {
	system *memory.System
	driver spi.Driver // the correct one
	url    string
	faults *tck.Faults

	credentials, readOnly func(context.Context) (spi.Credentials, error)
	release               chan struct{} // closed when the run is over

	opened   func(ctx context.Context, cfg spi.Config, c spi.Conn)
	caps     func(om.Capabilities) om.Capabilities
	conn     func(spi.Conn) spi.Conn
	checker  func(om.TransactionChecker) om.TransactionChecker
	sender   func(spi.Sender) spi.Sender
	receiver func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error)
	write    func(*om.Message) // changes a copy before it is sent
	read     func(*om.Message) // changes what is received
	send     func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error)
	receive  func(ctx context.Context, r *receiver, max int) ([]spi.Received, error)
	ack      func(ctx context.Context, r *receiver, receipts []spi.Receipt) ([]error, error)
	close    func(ctx context.Context, r *receiver) error

	parse      func(url string) (om.URL, error)
	properties func(om.Properties) tck.Getter
	open       func(ctx context.Context, url string, opts ...oms.Option) (om.AccessPoint, error)
	library
	perOpen func(*library) // fills the hooks of one access point
}

const url = "oms:memory://tck-account@localhost/tck"

// Target returns a target with the fault, on a system of its own, and what ends
// whatever the fault has left running.
func (m Mutant) Target() (target tck.Target, release func()) {
	s := memory.New()
	p := &parts{system: s, driver: s.Driver("memory"), release: make(chan struct{}), url: url}
	p.faults = &tck.Faults{Restart: s.Restart, Kill: s.Kill, Stall: s.Stall}
	if m.make != nil {
		m.make(p)
	}
	target = tck.Target{Name: m.Name, URL: p.url, Driver: driver{p.driver, p}, Faults: *p.faults,
		Credentials: p.credentials, ReadOnly: p.readOnly, Library: tck.Library{ParseURL: p.parse, Properties: p.properties}}
	target.Library.Open = func(ctx context.Context, url string, opts ...oms.Option) (om.AccessPoint, error) {
		open := oms.Open
		if p.open != nil {
			open = p.open
		}
		ap, err := open(ctx, url, opts...)
		if err != nil {
			return nil, err
		}
		l := p.library
		if p.perOpen != nil {
			p.perOpen(&l)
		}
		return accessPoint{ap, &l}, nil
	}
	return target, func() { close(p.release) }
}

type driver struct {
	spi.Driver
	p *parts
}

func (d driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if d.p.opened != nil {
		d.p.opened(ctx, cfg, c)
	}
	if d.p.conn != nil {
		return d.p.conn(conn{spi.ConnWrapper{Conn: c}, d.p}), nil
	}
	return conn{spi.ConnWrapper{Conn: c}, d.p}, nil
}

type conn struct {
	spi.ConnWrapper
	p *parts
}

func (c conn) Capabilities() om.Capabilities {
	caps := c.Conn.Capabilities()
	if c.p.caps != nil {
		caps = c.p.caps(slices.Clone(caps))
	}
	return caps
}

func (c conn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	if c.p.checker != nil && cfg.Checker != nil {
		cfg.Checker = c.p.checker(cfg.Checker)
	}
	s, err := c.Conn.NewSender(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if c.p.sender != nil {
		s = c.p.sender(s)
	}
	return sender{spi.SenderWrapper{Sender: s}, c.p}, nil
}

func (c conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	open := func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
		return c.NewReceiver(ctx, cfg)
	}
	if c.p.receiver != nil {
		open = c.p.receiver
	}
	r, err := open(ctx, c.Conn, cfg)
	if err != nil {
		return nil, err
	}
	return &receiver{ReceiverWrapper: spi.ReceiverWrapper{Receiver: r}, p: c.p, conn: c.Conn, queue: cfg.Queue}, nil
}

type sender struct {
	spi.SenderWrapper
	p *parts
}

func (s sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if s.p.write != nil {
		ms = slices.Clone(ms)
		for i := range ms {
			ms[i] = ms[i].Clone()
			s.p.write(ms[i])
		}
	}
	if s.p.send != nil {
		return s.p.send(ctx, s.Sender, ms)
	}
	return s.Sender.Send(ctx, ms)
}

// receiver remembers what it has handed out.
type receiver struct {
	spi.ReceiverWrapper
	p     *parts
	conn  spi.Conn // the correct one
	queue string
	out   locked[[]spi.Receipt]
	lost  locked[bool]
}

func (r *receiver) Receive(ctx context.Context, max int) (got []spi.Received, err error) {
	if r.p.receive != nil {
		got, err = r.p.receive(ctx, r, max)
	} else {
		got, err = r.Receiver.Receive(ctx, max)
	}
	for i := range got {
		r.out.do(func(out *[]spi.Receipt) { *out = append(*out, got[i].Receipt) })
		if r.p.read != nil {
			r.p.read(got[i].Message)
		}
	}
	return got, err
}

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	if r.p.ack != nil {
		return r.p.ack(ctx, r, receipts)
	}
	return r.Receiver.Ack(ctx, receipts)
}

func (r *receiver) Close(ctx context.Context) error {
	if r.p.close != nil {
		return r.p.close(ctx, r)
	}
	return r.Receiver.Close(ctx)
}

// all returns the receipts of everything that was handed out.
func (r *receiver) all() (all []spi.Receipt) {
	r.out.do(func(out *[]spi.Receipt) { all = slices.Clone(*out) })
	return all
}
