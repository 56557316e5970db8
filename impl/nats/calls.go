package nats

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// calls sends requests many at once and gathers their answers by one
// subscription. The client's own PublishMsgAsync costs a fifth of the rate, by
// a future, a JSON decoder and a map of texts for each message, and has
// nothing like it for acknowledgements.
type calls struct {
	nc      *nats.Conn
	prefix  string                  // of the subjects of answers, which end with call and place
	failure atomic.Pointer[failure] // the next one

	mu   sync.Mutex
	last int
	open map[int]*call
}

// failure is what may have lost answers.
type failure struct {
	done chan struct{} // closed when it has happened
	err  error         // then
}

// concerns reports whether a failure ends what was sent to a subject: a lost
// connection ends all, a violation of permissions what it names.
func (f *failure) concerns(subject string) bool {
	return !errors.Is(f.err, nats.ErrPermissionViolation) || strings.Contains(f.err.Error(), strconv.Quote(subject))
}

func (c *calls) fail(err error) {
	f := c.failure.Swap(&failure{done: make(chan struct{})})
	f.err = err
	close(f.done)
}

// call is the requests of one ask.
type call struct {
	answers []answer
	left    int
	done    chan struct{} // closed when nothing is left
}

type answer struct {
	data []byte
	err  error
	came bool
}

func (c *calls) start(nc *nats.Conn) error {
	c.nc, c.prefix, c.open = nc, nc.NewInbox()+".", make(map[int]*call)
	sub, err := nc.Subscribe(c.prefix+"*", c.take)
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

// ask sends n requests and returns their answers when all have come; those that
// have not when ctx ends, the connection is lost or answerTime is over get an
// error. put makes a request's message, which is used until the next put.
func (c *calls) ask(ctx context.Context, n int, put func(i int) *nats.Msg) []answer {
	a := &call{answers: make([]answer, n), left: n, done: make(chan struct{})}
	if n == 0 {
		return nil
	}
	c.mu.Lock()
	c.last++
	number := c.last
	c.open[number] = a
	c.mu.Unlock()
	reply := append(strconv.AppendInt([]byte(c.prefix), int64(number), 10), '-')
	failed := c.failure.Load()
	for i := range n {
		err := c.ready()
		if err == nil {
			m := put(i)
			m.Reply = string(strconv.AppendInt(reply, int64(i), 10))
			err = c.nc.PublishMsg(m)
		}
		if err != nil {
			c.answer(number, i, answer{err: err})
		}
	}
	timer := time.NewTimer(answerTime)
	defer timer.Stop()
	end := func(err error, concerned func(i int) bool) {
		for i := range n {
			if concerned(i) {
				c.answer(number, i, answer{err: err})
			}
		}
	}
	all := func(int) bool { return true }
	for {
		select {
		case <-a.done:
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.open, number)
			return a.answers
		case <-failed.done:
			end(failed.err, func(i int) bool { return failed.concerns(put(i).Subject) })
			failed = c.failure.Load()
		case <-ctx.Done():
			end(ctx.Err(), all)
		case <-timer.C:
			end(nats.ErrTimeout, all)
		}
	}
}

func (c *calls) take(m *nats.Msg) {
	number, place, _ := strings.Cut(m.Subject[len(c.prefix):], "-")
	n, err := strconv.Atoi(number)
	i, err2 := strconv.Atoi(place)
	a := answer{data: m.Data}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		a.err = nats.ErrNoResponders
	}
	if err == nil && err2 == nil {
		c.answer(n, i, a)
	}
}

func (c *calls) answer(number, i int, with answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.open[number]
	if a == nil || i < 0 || i >= len(a.answers) || a.answers[i].came {
		return
	}
	with.came = true
	a.answers[i] = with
	if a.left--; a.left == 0 {
		close(a.done)
	}
}
