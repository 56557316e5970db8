package nats

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/openmessaging/openmessaging-go/impl/envelope"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/sends"
)

// sender implements spi.Sender.
type sender struct {
	spi.Life
	c    *conn
	id   string // random; makes message ids unique together with last
	last atomic.Uint64
}

func (c *conn) NewSender(ctx context.Context, _ spi.SenderConfig) (spi.Sender, error) {
	s := &sender{c: c, id: rand.Text()[:16] + "-"}
	return s, cmp.Or(c.Begin(ctx, "new sender", ""), c.Own(s))
}

func (s *sender) Close(ctx context.Context) error {
	s.c.Disown(s)
	return s.End(ctx, nil)
}

// limits of a message. All of it together must be within the server's
// max_payload, which the client library checks.
var limits = spi.Limits{Properties: 256 << 10, Header: 8 << 10}

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.Begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	find := func(name string) (*queue, error) { return s.c.known(ctx, name) }
	call := sends.Admit(ms, find, func(m *om.Message, q *queue, o *spi.Outcome) error {
		if err := limits.Admit("send", m, s.c.capabilities, q.Partitions); err != nil {
			return err
		}
		if o.MessageID = m.MessageID; m.MessageID == "" { // else it is sent again
			o.MessageID = s.next()
		}
		o.Partition = sends.Partition(m, q.partitionOf, func() int32 { return q.partitionOf(o.MessageID) }) // the same one when it is sent again
		return nil
	})
	call.Send(minBatch, maxBatch, func(q *queue) bool { return q.batches }, func(groups [][]int) []int { return s.send(ctx, call, groups) })
	return call.Outcomes, nil
}

// next returns an id that was not used before.
func (s *sender) next() string { return s.id + strconv.FormatUint(s.last.Add(1), 36) }

// The server takes at most maxBatch messages in an atomic batch. It makes and
// removes files for each: for fewer than minBatch messages that takes longer
// than to sync every one of them.
const (
	minBatch = 24
	maxBatch = 1000
)

// send sends groups of messages at once. It returns the messages of batches that
// were refused. To send these again one by one is right whatever became of their
// batch: the server knows their ids.
func (s *sender) send(ctx context.Context, call *sends.Call[*queue], groups [][]int) (refused []int) {
	m := &nats.Msg{Header: nats.Header{}}
	subject := func(i int) string { return call.Queues[i].subjects[call.Outcomes[i].Partition] }
	asked := func(g int) string { return subject(groups[g][len(groups[g])-1]) }
	answers := s.c.calls.ask(ctx, len(groups), asked, func(g int, reply string) (err error) {
		places, batch, commit := groups[g], len(groups[g]) > 1, ""
		if batch {
			s.c.batch.Lock() // so that the server has one of this connection open at most
			defer s.c.batch.Unlock()
			envelope.Put(m.Header, "Nats-Batch-Id", s.next())
			defer clear(m.Header)
		}
		for k, i := range places {
			if m.Reply = ""; k == len(places)-1 {
				m.Reply, commit = reply, "1"
			}
			if batch {
				envelope.Put(m.Header, "Nats-Batch-Sequence", strconv.Itoa(k+1))
				envelope.Put(m.Header, "Nats-Batch-Commit", commit)
			}
			envelope.Put(m.Header, nats.MsgIdHdr, call.Outcomes[i].MessageID)
			m.Data, m.Subject = envelope.Pack(call.Messages[i], m.Header), subject(i)
			err = cmp.Or(err, s.c.nc.PublishMsg(m)) // the server refuses a batch with a gap
		}
		return err
	})
	gone := make(map[*queue]error) // why nobody took a queue's messages
	for g, a := range answers {
		places, q := groups[g], call.Queues[groups[g][0]]
		got, err := ack{}, a.Err
		if err == nil {
			got, err = readAck(a.Value)
		}
		switch {
		case errors.Is(err, nats.ErrNoResponders): // the queue is gone, or has no leader at present
			if _, asked := gone[q]; !asked {
				_, gone[q] = s.c.lookUp(ctx, q.Name)
			}
			err = cmp.Or(gone[q], err)
		case len(places) > 1 && (a.Err == nil && got.Count != len(places) || errors.Is(err, nats.ErrMaxPayload) || violation(err)):
			s.c.queues.Delete(q.Name) // its stream may have been changed
			refused = append(refused, places...)
			continue
		}
		for k, i := range places {
			call.Outcomes[i].Err, call.Outcomes[i].Offset = err, int64(got.Seq)-int64(len(places)-k)
		}
	}
	return refused
}

// ack is what the server answers. A batch has the sequence number of its last
// message, and as a Count how many it has.
type ack struct {
	Seq   uint64
	Count int
	Error *jetstream.APIError
}

// readAck reads an answer, as a rule {"stream":"S","seq":1}.
func readAck(data []byte) (a ack, err error) {
	if _, seq, ok := bytes.Cut(data, []byte(`,"seq":`)); ok {
		if a.Seq, err = strconv.ParseUint(string(bytes.TrimSuffix(seq, []byte("}"))), 10, 64); err == nil && a.Seq > 0 {
			return a, nil
		}
	}
	if err = json.Unmarshal(data, &a); err == nil && a.Error != nil {
		err = a.Error
	}
	return a, err
}
