package nats

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// answerTime is how long the server may take to answer what was sent to it.
const answerTime = 5 * time.Second

// maxCall is the most requests of one call.
const maxCall = 4096

// calls sends requests many at once and gathers their answers, all by one
// subscription.
type calls struct {
	conn   *conn
	prefix string // of the subjects of answers, which end with call and place

	mu   sync.Mutex
	last int
	open map[int]*call
}

// call is up to maxCall requests under way.
type call struct {
	requests requests
	answered []bool
	left     int
	done     chan struct{} // closed when nothing is left
}

// requests are the requests of one call, by their places. answered is called
// once for each, one at a time, with the server's answer or an error.
type requests interface {
	subject(i int) string
	publish(i int, reply string) error
	answered(i int, m *nats.Msg, err error)
}

func newCalls(c *conn) (*calls, error) {
	s := &calls{conn: c, prefix: c.nc.NewInbox() + ".", open: make(map[int]*call)}
	sub, err := c.nc.Subscribe(s.prefix+"*", s.answer)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	return s, err
}

// do sends n requests and returns when all are answered; those that are not
// when ctx ends, the connection is lost or answerTime is over get an error.
func (s *calls) do(ctx context.Context, n int, rs requests) {
	lost := s.conn.connected()
	c := &call{requests: rs, answered: make([]bool, n), left: n, done: make(chan struct{})}
	s.mu.Lock()
	s.last++
	number := s.last
	s.open[number] = c
	s.mu.Unlock()
	reply := append([]byte(s.prefix), strconv.Itoa(number)...)
	reply = append(reply, '-')
	for i := range n {
		if err := rs.publish(i, string(strconv.AppendInt(reply, int64(i), 10))); err != nil {
			s.settle(number, i, nil, err)
		}
	}
	timer := time.NewTimer(answerTime)
	defer timer.Stop()
	var err error
	select {
	case <-c.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-lost:
		err = nats.ErrDisconnected
	case <-s.conn.closed:
		err = om.CodeClosed
	case <-timer.C:
		err = om.NewError(om.CodeTimeout, "", "", "no answer within %v", answerTime)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, number)
	for i, answered := range c.answered {
		if !answered {
			rs.answered(i, nil, err)
		}
	}
}

func (s *calls) answer(m *nats.Msg) {
	number, place, _ := strings.Cut(m.Subject[len(s.prefix):], "-")
	n, err := strconv.Atoi(number)
	i, err2 := strconv.Atoi(place)
	if err == nil && err2 == nil {
		s.settle(n, i, m, nil)
	}
}

func (s *calls) settle(number, i int, m *nats.Msg, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[number]
	if c == nil || i < 0 || i >= len(c.answered) || c.answered[i] {
		return
	}
	if m != nil && len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
		m, err = nil, nats.ErrNoResponders
	}
	c.answered[i] = true
	c.requests.answered(i, m, err)
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

const noResponders = "503"

var publishTo = regexp.MustCompile(`Publish to "([^"]+)"`)

// forbidden ends the requests that the server has refused with err.
func (s *calls) forbidden(err error) {
	to := publishTo.FindStringSubmatch(err.Error())
	if to == nil {
		return
	}
	s.mu.Lock()
	open := make(map[int]*call, len(s.open))
	for number, c := range s.open {
		open[number] = c
	}
	s.mu.Unlock()
	for number, c := range open {
		for i := range c.answered {
			if c.requests.subject(i) == to[1] {
				s.settle(number, i, nil, err)
			}
		}
	}
}
