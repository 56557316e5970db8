package openmessaging

import "time"

// TransactionCheck says when a producer is asked what became of a transaction
// that was neither committed nor rolled back (R083). After the last check that
// brings no answer the transaction is rolled back. Zero fields are defaults: those
// of a message the queue's, those of a queue the provider's. Providers bound them.
type TransactionCheck struct {
	After time.Duration // from when the message was prepared to the first check
	Every time.Duration // from check to check
	Max   int           // checks
}

// PrepareConfig is what [PrepareOption] functions set.
type PrepareConfig struct {
	// Check takes the place of the queue's.
	Check TransactionCheck
}

// PrepareOption sets something in a PrepareConfig.
type PrepareOption func(*PrepareConfig)

// WithTransactionCheck says when the producer is asked about this transaction.
func WithTransactionCheck(c TransactionCheck) PrepareOption {
	return func(cfg *PrepareConfig) { cfg.Check = c }
}

// TransactionInfo is a transaction that has not ended, as operators see it.
type TransactionInfo struct {
	ID            string
	Queue         string // for which the message was prepared; empty when it was deleted
	ProducerGroup string
	Prepared      time.Time // when
	Checks        int       // how often a producer was asked
	NextCheck     time.Time // zero for one that is parked
	// Parked says that the transaction was rolled back after the last check. The
	// message is kept, for people to commit or to discard it.
	Parked bool
	// Message is what was prepared. It belongs to the caller.
	Message *Message
}
