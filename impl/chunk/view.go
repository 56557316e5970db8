package chunk

import (
	"errors"
	"math"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// View shows a message as it lies in a chunk. Its texts share the chunk's
// memory. Times are milliseconds since 1970 UTC, 0 for none.
type View struct {
	Number        int // in the chunk
	BornAt        int64
	QoS           om.QoS
	Compression   string
	CorrelationID string
	TransactionID string
	MessageKey    string
	TraceID       string
	Delay         int64 // milliseconds
	ExpireAt      int64
	Priority      int8

	Chunk      *Chunk
	properties []byte // encoded; nil without any
}

// Chunk is what the messages of a chunk have in common.
type Chunk struct {
	Header
	BornHost string
	Version  string
}

// MessageID returns the message's id.
func (v *View) MessageID() string {
	return string(AppendID(nil, v.Chunk.Producer, v.Chunk.Sequence+uint64(v.Number)))
}

// Property returns a property of the message. An object is returned empty.
func (v *View) Property(key string) (value om.Value, ok bool) {
	if v.properties == nil {
		return om.Value{}, false
	}
	c := cursor{b: v.properties}
	for range c.mapLen() {
		if view(c.stringBytes()) != key {
			c.pass(1)
			continue
		}
		if code := c.peek(); msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32 {
			return om.Object(nil), true
		}
		value = c.value(1)
		return value, c.err == nil
	}
	return om.Value{}, false
}

// Walker goes through the messages of a chunk without decoding them.
type Walker struct {
	cursor
	chunk Chunk
	next  int
}

// Walk returns a Walker for a chunk that [Parse] has accepted; its first
// message is number skip.
func Walk(b []byte, h Header, skip int) *Walker {
	w := &Walker{cursor: cursor{b: b[:h.Size], pos: HeaderSize}, chunk: Chunk{Header: h}}
	w.chunk.BornHost, w.chunk.Version = w.string(), w.string()
	for ; w.next < min(skip, h.Count); w.next++ {
		w.message(nil, h.FirstBorn)
	}
	return w
}

// Next makes v show the next message and reports whether there is one.
func (w *Walker) Next(v *View) bool {
	if w.err != nil || w.next >= w.chunk.Count {
		return false
	}
	*v = View{Number: w.next, Chunk: &w.chunk}
	w.next++
	if w.byte() != msgpcode.FixedArrayLow|4 {
		w.fail(errNoMessage)
		return false
	}
	delta := w.uint()
	if delta > math.MaxInt64-uint64(max(0, w.chunk.FirstBorn)) {
		w.fail(errBornRange)
	}
	v.BornAt = w.chunk.FirstBorn + int64(delta)
	w.viewFields(v)
	start := w.pos
	if w.peek() == msgpcode.Nil {
		w.pos++
	} else if w.pass(0); w.err == nil {
		v.properties = w.b[start:w.pos]
	}
	w.bin()
	return w.err == nil
}

func (w *Walker) viewFields(v *View) {
	if w.peek() == msgpcode.Nil {
		w.pos++
		return
	}
	for range w.mapLen() {
		switch field := w.uint(); field {
		case fieldQoS:
			v.QoS = om.QoS(w.limited(maxQoS))
		case fieldCompression:
			v.Compression = w.string()
		case fieldCorrelationID:
			v.CorrelationID = w.string()
		case fieldTransactionID:
			v.TransactionID = w.string()
		case fieldMessageKey:
			v.MessageKey = w.string()
		case fieldTraceID:
			v.TraceID = w.string()
		case fieldDelay:
			v.Delay = int64(w.limited(maxDelay))
		case fieldExpireAt:
			v.ExpireAt = int64(w.limited(maxExpireAt))
		case fieldPriority:
			v.Priority = int8(w.limited(math.MaxInt8))
		default:
			w.fail(errField)
		}
	}
}

var errField = errors.New("a header field is unknown")

// Err returns what is wrong with the chunk, nil when nothing was found so far.
func (w *Walker) Err() error {
	if w.err == nil {
		return nil
	}
	return damaged("message %d: %w", w.next-1, w.err)
}
