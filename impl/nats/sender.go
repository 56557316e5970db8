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

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/envelope"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
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
	outs := make([]spi.Outcome, len(ms))
	queues := make([]*queue, len(ms))
	sent := make([]int, 0, len(ms)) // places of the messages that are not refused
	var turn uint32                 // of messages without a partition of their own
	for i, m := range ms {
		var err error
		if i > 0 && queues[i-1] != nil && m.Destination == ms[i-1].Destination {
			queues[i] = queues[i-1]
		} else {
			if queues[i], err = s.c.known(ctx, m.Destination); err == nil {
				turn = queues[i].turns.Add(1)
			}
		}
		if err == nil {
			err = limits.Admit("send", m, s.c.capabilities, queues[i].Partitions)
		}
		if outs[i].Err = err; err != nil {
			continue
		}
		outs[i].Partition = partitionOf(m, queues[i].Partitions, turn)
		if outs[i].MessageID = m.MessageID; m.MessageID == "" { // else sent again
			outs[i].MessageID = s.id + strconv.FormatUint(s.last.Add(1), 36)
		}
		sent = append(sent, i)
	}
	id := []string{""}
	packed := &nats.Msg{Header: nats.Header{nats.MsgIdHdr: id}}
	answers := s.c.calls.ask(ctx, len(sent), func(k int) *nats.Msg {
		i := sent[k]
		id[0] = outs[i].MessageID
		packed.Data, packed.Subject = envelope.Pack(ms[i], packed.Header), queues[i].subjects[outs[i].Partition]
		return packed
	})
	gone := make(map[*queue]error) // why nobody took a queue's messages
	for k, a := range answers {
		o, q := &outs[sent[k]], queues[sent[k]]
		switch {
		case errors.Is(a.Err, nats.ErrNoResponders): // the queue is gone, or has no leader at present
			if _, asked := gone[q]; !asked {
				_, gone[q] = s.c.lookUp(ctx, q.Name)
			}
			o.Err = cmp.Or(gone[q], a.Err)
		case a.Err != nil:
			o.Err = a.Err
		default:
			var seq uint64
			seq, o.Err = sequenceOf(a.Value)
			o.Offset = int64(seq) - 1
		}
	}
	return outs, nil
}

// partitionOf returns the partition that a message asks for, the one of its
// key, or else that of the call.
func partitionOf(m *om.Message, partitions int, turn uint32) int32 {
	if n, asked := m.Ext.Partition.Get(); asked {
		return n
	}
	if m.Ext.MessageKey != "" {
		return chunk.Partition(m.Ext.MessageKey, partitions)
	}
	return int32(turn % uint32(partitions))
}

// sequenceOf reads the server's answer to a message, as a rule {"stream":"S","seq":1}.
func sequenceOf(data []byte) (uint64, error) {
	if _, seq, ok := bytes.Cut(data, []byte(`,"seq":`)); ok && !bytes.Contains(data, []byte(`"error"`)) {
		if n, err := strconv.ParseUint(string(bytes.TrimSuffix(seq, []byte("}"))), 10, 64); err == nil {
			return n, nil
		}
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil || ack.Error == nil {
		return ack.Seq, err
	}
	return 0, ack.Error
}
