package oms

import (
	"context"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// BatchSender gathers messages and sends them together. Its methods may be
// called concurrently.
type BatchSender struct {
	producer om.Producer
	mu       sync.Mutex
	messages []*om.Message
}

// NewBatch returns an empty BatchSender that sends by p.
func NewBatch(p om.Producer) *BatchSender { return &BatchSender{producer: p} }

// Add adds a message behind the others. It must not be changed until Flush has
// returned; Add does not check it.
func (b *BatchSender) Add(m *om.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
}

// Flush sends what was added, by Producer.SendBatch with its results and
// errors, and empties the BatchSender whatever the outcome.
func (b *BatchSender) Flush(ctx context.Context) ([]om.SendResult, error) {
	b.mu.Lock()
	ms := b.messages
	b.messages = nil
	b.mu.Unlock()
	return b.producer.SendBatch(ctx, ms)
}

// Discard forgets what was added.
func (b *BatchSender) Discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = nil
}

// Len returns how many messages wait for Flush.
func (b *BatchSender) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.messages)
}
