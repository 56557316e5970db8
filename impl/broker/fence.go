package broker

import (
	"context"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// MaxProducerIDs is how many producer ids are remembered; the one that was opened
// longest ago is forgotten, and then nobody is fenced off by it.
const MaxProducerIDs = 10_000

// Epoch is one life of a producer with an id. A later life of the same id fences
// it off.
type Epoch struct {
	ProducerID string
	Number     uint32 // from 1
}

// epochRecord is the stored form of the newest epoch of a producer id.
type epochRecord struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Number   uint32
	Opened   int64 // milliseconds since 1970 UTC
}

// OpenProducer begins a new epoch of a producer id, durably: chunks of the
// earlier ones are refused from now on with CodeProducerFenced.
func (b *Broker) OpenProducer(ctx context.Context, id string) (Epoch, error) {
	if err := checkName("open producer", "producer", id); err != nil {
		return Epoch{}, err
	}
	c := &openProducer{id: id}
	err := b.submit(ctx, c)
	return Epoch{id, c.number}, err
}

type openProducer struct {
	id     string
	number uint32 // the answer
}

func (c *openProducer) apply(b *Broker, tx *transaction) error {
	r, known := b.epochs[c.id]
	if !known && len(b.epochs) >= MaxProducerIDs {
		b.forgetProducer(tx)
	}
	r.Number, r.Opened = r.Number+1, tx.now
	b.setEpoch(c.id, r)
	tx.batch.Put(keyEpoch+c.id, encode(r))
	c.number = r.Number
	return nil
}

// forgetProducer forgets the producer id that was opened longest ago.
func (b *Broker) forgetProducer(tx *transaction) {
	oldest, since := "", int64(0)
	for id, r := range b.epochs {
		if oldest == "" || r.Opened < since || r.Opened == since && strings.Compare(id, oldest) < 0 {
			oldest, since = id, r.Opened
		}
	}
	b.epochsMu.Lock()
	delete(b.epochs, oldest)
	b.epochsMu.Unlock()
	tx.batch.Delete(keyEpoch + oldest)
}

func (b *Broker) setEpoch(id string, r epochRecord) {
	b.epochsMu.Lock()
	defer b.epochsMu.Unlock()
	b.epochs[id] = r
}

// isFenced reports whether a later epoch has begun.
func (b *Broker) isFenced(e Epoch) bool {
	if e.ProducerID == "" {
		return false
	}
	b.epochsMu.RLock()
	defer b.epochsMu.RUnlock()
	return e.Number < b.epochs[e.ProducerID].Number
}

// fenced refuses what a producer does after a later epoch has begun.
func (b *Broker) fenced(e Epoch, op, resource string) error {
	if !b.isFenced(e) {
		return nil
	}
	return om.NewError(om.CodeProducerFenced, op, resource,
		"another producer with the id %q has started; stop this one, or give it another id", e.ProducerID)
}
