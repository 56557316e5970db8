package openmessaging

import "time"

// PropertyDeduplicationID is a String property that names what a message
// stands for: of two messages with the same text the second is a repetition,
// whatever their message ids. Package outbox sets it; who publishes again after
// a crash sets the same one. Drivers carry it like every property; one that
// deduplicates by it says so in docs/drivers.md. Its name is good in filters.
const PropertyDeduplicationID = "$deduplicationId"

// DeduplicationID returns the text by which a consumer recognises a repetition
// of m: its PropertyDeduplicationID, or its message id where it has none.
func DeduplicationID(m *Message) string {
	if id := m.Properties.GetString(PropertyDeduplicationID, ""); id != "" {
		return id
	}
	return m.MessageID
}

// Deduplication has a queue store only the first of several messages with the
// same id. A later one is accepted and not stored, and its [SendResult] says
// Duplicate and where the first one is. Messages without the id are stored
// always. It holds for what producers send, delayed messages from when they are
// sent; not for what the provider itself moves into the queue. Zero is none.
// Capability CapDeduplication.
type Deduplication struct {
	// By names what a message is known by: [DeduplicateByKey], or a property of
	// type String. Default [PropertyDeduplicationID].
	By string
	// Window is for how long an id is remembered from when the first message
	// with it was stored. Providers bound it, and how many ids they remember.
	Window time.Duration
}

// DeduplicateByKey in Deduplication.By is the message key: its name in filters.
const DeduplicateByKey = "$messageKey"
