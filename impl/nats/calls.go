package nats

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/openmessaging/openmessaging-go/spi/await"
)

// calls sends requests many at once and gathers their answers by one
// subscription. The client's own PublishMsgAsync costs a fifth of the rate, by
// a future, a JSON decoder and a map of texts for each message, and has
// nothing like it for acknowledgements.
type calls struct {
	await.Calls[[]byte]
	nc     *nats.Conn
	prefix string // of the subjects of answers, which end with call and place
}

// violation reports whether err tells that an account may not do something.
func violation(err error) bool { return errors.Is(err, nats.ErrPermissionViolation) }

// concerns reports whether a break ends what was sent to a subject: a lost
// connection ends all, a violation of permissions what it names.
func concerns(err error, subject string) bool {
	return !violation(err) || strings.Contains(err.Error(), strconv.Quote(subject))
}

func (c *calls) start(nc *nats.Conn) error {
	c.nc, c.prefix, c.Limit = nc, nc.NewInbox()+".", answerTime
	sub, err := nc.Subscribe(c.prefix+"*", func(m *nats.Msg) {
		call, place, _ := strings.Cut(m.Subject[len(c.prefix):], "-")
		n, err := strconv.Atoi(call)
		i, err2 := strconv.Atoi(place)
		if err != nil || err2 != nil {
			return
		}
		if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			err = nats.ErrNoResponders
		}
		c.Answer(n, i, m.Data, err)
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	return err
}

// ready returns why nothing can be sent, nil when it can. The client would take
// what it cannot send while it signs in, and lose it.
func (c *calls) ready() error {
	switch {
	case c.nc.IsClosed():
		return nats.ErrConnectionClosed
	case !c.nc.IsConnected():
		return nats.ErrDisconnected
	}
	return nil
}

// bound returns a context for a call of the client library, which does not
// notice that the connection is lost; end goes around the call's error.
func (c *calls) bound(ctx context.Context) (within context.Context, end func(error) error) {
	return c.Breaks.Within(ctx, answerTime, nats.ErrTimeout, func(err error) bool { return !violation(err) })
}

// requests implements await.Requests. It makes the message of a request, which
// is used until it is called again.
type requests struct {
	*calls
	put func(i int) *nats.Msg
}

func (r requests) Send(call, i int) error {
	if err := r.ready(); err != nil {
		return err
	}
	m := r.put(i)
	m.Reply = r.prefix + strconv.Itoa(call) + "-" + strconv.Itoa(i)
	return r.nc.PublishMsg(m)
}

func (r requests) Concerned(i int, err error) bool { return concerns(err, r.put(i).Subject) }

func (c *calls) ask(ctx context.Context, n int, put func(i int) *nats.Msg) []await.Answer[[]byte] {
	return c.Ask(ctx, n, requests{c, put})
}
