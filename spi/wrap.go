package spi

// ConnWrapper forwards to a Conn and lets [As] find what is behind it. Embed
// it and override what the wrapper changes.
type ConnWrapper struct{ Conn }

// Unwrap returns the wrapped Conn.
func (w ConnWrapper) Unwrap() any { return w.Conn }

// SenderWrapper forwards to a Sender and lets [As] find what is behind it.
type SenderWrapper struct{ Sender }

// Unwrap returns the wrapped Sender.
func (w SenderWrapper) Unwrap() any { return w.Sender }

// ReceiverWrapper forwards to a Receiver and lets [As] find what is behind it.
type ReceiverWrapper struct{ Receiver }

// Unwrap returns the wrapped Receiver.
func (w ReceiverWrapper) Unwrap() any { return w.Receiver }
