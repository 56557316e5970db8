package tck

import (
	"context"
	"os"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// openRaw opens the driver without the portable layer; the connection is
// closed after the case.
func (t *trial) openRaw() spi.Conn {
	u, err := om.ParseURL(t.target.URL)
	t.NoError(err, "parse the target's URL")
	conn, err := t.target.Driver.Open(t.ctx, spi.Config{URL: u, Credentials: t.target.Credentials, Logger: t.logger()})
	t.NoError(err, "open the driver")
	t.Cleanup(func(ctx context.Context) { _ = conn.Close(ctx) })
	return conn
}

// stamped sets what the portable layer sets before a driver sees a message.
func stamped(m *om.Message) *om.Message {
	m.Version, m.BornAt = om.SpecVersion, time.Now().UTC().Truncate(time.Millisecond)
	m.BornHost, _ = os.Hostname()
	m.MessageID = ""
	return m
}

func sendWith(ctx context.Context, s spi.Sender, m *om.Message) error {
	outs, err := s.Send(ctx, []*om.Message{m})
	if err != nil {
		return err
	}
	if len(outs) != 1 {
		return om.NewError(om.CodeServerError, "send", m.Destination, "the driver answered %d outcomes for one message", len(outs))
	}
	return outs[0].Err
}

// sendRaw sends a message past the portable layer and its checks.
func (t *trial) sendRaw(m *om.Message) error {
	s, err := t.openRaw().NewSender(t.ctx, spi.SenderConfig{})
	t.NoError(err, "new sender of the driver")
	t.Cleanup(func(ctx context.Context) { _ = s.Close(ctx) })
	return sendWith(t.ctx, s, stamped(m))
}

var senderConfig = spi.SenderConfig{}

func receiverConfig(queue string, lease time.Duration) spi.ReceiverConfig {
	return spi.ReceiverConfig{Queue: queue, Group: "raw", Lease: lease}
}

func receipts(rs []spi.Received) []spi.Receipt {
	out := make([]spi.Receipt, len(rs))
	for i := range rs {
		out[i] = rs[i].Receipt
	}
	return out
}
