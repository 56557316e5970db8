package nats

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sender implements spi.Sender.
type sender struct {
	conn     *conn
	producer string // random; makes message ids unique together with sequence
	sequence atomic.Uint64
	closed   atomic.Bool
}

func newSender(c *conn) *sender { return &sender{conn: c, producer: rand.Text()[:16] + "-"} }

func (s *sender) Close(context.Context) error {
	s.closed.Store(true)
	return nil
}

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.conn.begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, om.NewError(om.CodeClosed, "send", "", "the sender is closed")
	}
	outcomes := make([]spi.Outcome, len(ms))
	out := s.divide(ctx, ms, outcomes)
	for len(out) > 0 {
		n := min(len(out), maxCall)
		p := &publishing{sender: s, out: out[:n], msg: newEnvelope()}
		s.conn.calls.do(ctx, n, p)
		s.explain(ctx, p)
		out = out[n:]
	}
	return outcomes, nil
}

// outgoing is a message on its way to a partition.
type outgoing struct {
	m         *om.Message
	queue     *queue
	partition int32
	outcome   *spi.Outcome
}

// divide checks the messages and chooses their partitions: the one they ask for,
// the one of their key, or for the others of the call and queue one in turn.
func (s *sender) divide(ctx context.Context, ms []*om.Message, outcomes []spi.Outcome) []outgoing {
	out := make([]outgoing, 0, len(ms))
	var q *queue
	var name string
	var turn int32
	for i, m := range ms {
		var err error
		if q == nil || m.Destination != name {
			if q, err = s.conn.known(ctx, "send", m.Destination); err == nil {
				name, turn = m.Destination, q.turn(ms, i)
			}
		}
		if err == nil {
			err = s.check(m, q)
		}
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		partition, asked := m.Ext.Partition.Get()
		if !asked {
			partition = turn
			if key := m.Ext.MessageKey; key != "" {
				partition = int32(xxhash.Sum64String(key) % uint64(len(q.streams)))
			}
		}
		o := &outcomes[i]
		o.Partition = partition
		if o.MessageID = m.MessageID; o.MessageID == "" { // else sent again
			o.MessageID = s.producer + strconv.FormatUint(s.sequence.Add(1), 36)
		}
		out = append(out, outgoing{m, q, partition, o})
	}
	return out
}

// Limits of a message in bytes. All of it together must be within the server's
// max_payload, which the client library checks.
const (
	maxProperties = 256 << 10
	maxHeader     = 8 << 10
)

// check refuses what JetStream does not do or hold.
func (s *sender) check(m *om.Message, q *queue) error {
	header := len(m.Destination) + len(m.BornHost) + len(m.Ext.CorrelationID) + len(m.Ext.MessageKey) + len(m.Ext.TraceID)
	refuse := func(code om.Code, format string, args ...any) error {
		return om.NewError(code, "send", m.Destination, format, args...)
	}
	properties := m.Properties.Size()
	switch {
	case properties > maxProperties:
		return refuse(om.CodePropertiesTooLarge, "the properties have %d bytes, %d are the most", properties, maxProperties)
	case header > maxHeader:
		return refuse(om.CodeHeaderTooLarge, "the header has %d bytes, %d are the most", header, maxHeader)
	case m.QoS != om.AtLeastOnce:
		return refuse(om.CodeUnsupported, "%v delivery is not there", m.QoS)
	case m.Compression != "":
		return refuse(om.CodeUnsupported, "compression is not there")
	case m.Ext.Delay != 0:
		return refuse(om.CodeUnsupported, "delayed delivery is not there")
	case !m.Ext.ExpireAt.IsZero():
		return refuse(om.CodeUnsupported, "expiry is not there")
	case m.Ext.Priority != 0:
		return refuse(om.CodeUnsupported, "priorities are not there")
	}
	if n, ok := m.Ext.Partition.Get(); ok && (n < 0 || int(n) >= len(q.streams)) {
		return refuse(om.CodeBadParameter, "partition %d is not in 0 to %d", n, len(q.streams)-1)
	}
	return nil
}

// publishing implements requests for messages.
type publishing struct {
	sender *sender
	out    []outgoing
	msg    *envelope
}

func (p *publishing) subject(i int) string {
	return p.out[i].queue.subjects[p.out[i].partition]
}

func (p *publishing) publish(i int, reply string) error {
	p.msg.put(p.out[i].m, p.out[i].outcome.MessageID)
	p.msg.Subject, p.msg.Reply = p.subject(i), reply
	return p.sender.conn.nc.PublishMsg(&p.msg.Msg)
}

func (p *publishing) answered(i int, m *nats.Msg, err error) {
	o := p.out[i].outcome
	if err == nil {
		var seq uint64
		seq, err = sequenceOf(m.Data)
		o.Offset = int64(seq) - 1
	}
	if err != nil {
		o.Err = wrap(err, "send", p.out[i].m.Destination)
	}
}

// sequenceOf reads the server's answer to a message, {"stream":"S","seq":1}.
func sequenceOf(data []byte) (uint64, error) {
	const seq = `,"seq":`
	if i := bytes.Index(data, []byte(seq)); i > 0 && !bytes.Contains(data, []byte(`"error"`)) {
		digits := data[i+len(seq):]
		n := 0
		for n < len(digits) && '0' <= digits[n] && digits[n] <= '9' {
			n++
		}
		return strconv.ParseUint(string(digits[:n]), 10, 64)
	}
	var answer struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return 0, err
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	return answer.Seq, nil
}

// explain finds out why nobody took messages: a stream that is gone, or one
// that has no leader at present.
func (s *sender) explain(ctx context.Context, p *publishing) {
	gone := make(map[string]error) // by subject
	for i := range p.out {
		if o := p.out[i].outcome; o.Err != nil && errors.Is(o.Err, nats.ErrNoResponders) {
			at := p.subject(i)
			if _, ok := gone[at]; !ok {
				gone[at] = s.conn.missing(ctx, "send", p.out[i].queue, int(p.out[i].partition))
			}
			if gone[at] != nil {
				o.Err = gone[at]
			}
		}
	}
}
