package openmessaging

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
