package badger

import (
	"context"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sender implements spi.Sender. It encodes the messages of a call into one
// chunk for each partition.
type sender struct {
	spi.Life
	conn    *conn
	encoder *batch.Encoder
}

func newSender(c *conn) *sender {
	return &sender{conn: c, encoder: batch.NewEncoder(batch.Limits{
		Limits:        spi.Limits{Body: broker.MaxBody, Properties: broker.MaxProperties, Header: broker.MaxHeader},
		ChunkMessages: broker.MaxChunkMessages,
		Delay:         broker.MaxDelay, DelayedMessages: broker.MaxDelayedMessages, DelayedBytes: broker.MaxDelayedBytes,
	}, c.capabilities)}
}

func (s *sender) Close(ctx context.Context) error {
	s.conn.Disown(s)
	return s.End(ctx, nil)
}

func (s *sender) queue(destination string) (batch.Queue, error) {
	q, err := s.conn.broker.Queue("send", destination)
	if err != nil {
		return nil, err
	}
	return q, nil
}

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.Begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	outcomes := make([]spi.Outcome, len(ms))
	parts := s.encoder.Divide(ms, outcomes, s.queue)
	appends := make([]broker.Append, len(parts))
	for i := range parts {
		p := &parts[i]
		appends[i] = broker.Append{Queue: p.Queue.(*broker.Queue), Partition: p.Partition, Chunk: s.encoder.Encode(p, ms)}
	}
	if err := s.conn.broker.Publish(ctx, appends); err != nil {
		return nil, err // the parts' memory is still being read
	}
	for i := range parts {
		p, a := &parts[i], &appends[i]
		s.encoder.Release(p)
		if a.Err != nil {
			p.Refused(a.Err, outcomes)
			continue
		}
		s.encoder.Stored(p, p.Partition, a.Base, outcomes)
	}
	return outcomes, nil
}
