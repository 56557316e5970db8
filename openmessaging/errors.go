package openmessaging

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Error is the error of every operation: which status, which operation, which
// resource, why (R095).
//
// errors.Is matches the code (a [Code]), its class (such as [ErrTimeout]), the
// standard errors.ErrUnsupported for the unsupported class, and everything in
// the chain of Err, so context errors stay visible (G06–G08).
type Error struct {
	Code     Code
	Op       string // the operation, for example "send"
	Resource string // the queue, namespace, URL or other resource; may be empty
	Err      error  // the cause or an explanation that says what to do; may be nil
}

// NewError returns an *Error whose cause is formatted as by fmt.Errorf; %w
// wraps. An empty format leaves the cause nil.
func NewError(code Code, op, resource, format string, args ...any) *Error {
	e := &Error{Code: code, Op: op, Resource: resource}
	if format != "" {
		e.Err = fmt.Errorf(format, args...)
	}
	return e
}

// Error returns one line: operation, resource, meaning, status number, cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("openmessaging: ")
	if e.Op != "" {
		b.WriteString(e.Op)
		if e.Resource != "" {
			fmt.Fprintf(&b, " %q", e.Resource)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Code.Error())
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the code, its class and, for unsupported, errors.ErrUnsupported.
func (e *Error) Is(target error) bool {
	if c, ok := target.(Code); ok {
		return c == e.Code
	}
	class := e.Code.Class()
	return target == class || (class == ErrUnsupported && target == errors.ErrUnsupported)
}

// Retryable reports whether the same call may succeed later (G09).
func (e *Error) Retryable() bool { return e.Code.Retryable() }

// CodeOf returns the status code of err: 0 for nil, the code of the first
// *[Error] in its chain or else the first [Code], [CodeTimeout] or
// [CodeCanceled] for context errors, [CodeServerError] otherwise.
func CodeOf(err error) Code {
	var e *Error
	var c Code
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	case errors.As(err, &c):
		return c
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	case errors.Is(err, context.Canceled):
		return CodeCanceled
	}
	return CodeServerError
}

// Retryable reports whether err is an *[Error] that says so, or a context
// deadline.
func Retryable(err error) bool { return err != nil && CodeOf(err).Retryable() }

// WrapError gives err an operation and a resource: an *[Error] that already
// names an operation is returned as it is, everything else becomes an *[Error]
// with the code of [CodeOf]. The wrap of nil is nil.
func WrapError(err error, op, resource string) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e.Op != "" {
		return err
	}
	return &Error{Code: CodeOf(err), Op: op, Resource: resource, Err: err}
}

// BatchError tells which messages of a batch failed and why (G27). The others
// were sent.
type BatchError struct {
	errs   []error
	failed int
}

// NewBatchError returns a *BatchError of the per-message errors, which it
// keeps, or nil when all of them are nil.
func NewBatchError(errs []error) error {
	n := 0
	for _, err := range errs {
		if err != nil {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return &BatchError{errs: errs, failed: n}
}

// At returns the error of message i of the batch, nil when it was sent or when
// i is out of range.
func (e *BatchError) At(i int) error {
	if i < 0 || i >= len(e.errs) {
		return nil
	}
	return e.errs[i]
}

// Failed returns how many messages failed.
func (e *BatchError) Failed() int { return e.failed }

// Error counts the failures and tells the first.
func (e *BatchError) Error() string {
	for i, err := range e.errs {
		if err != nil {
			return fmt.Sprintf("openmessaging: %d of %d messages failed; message %d: %v", e.failed, len(e.errs), i, err)
		}
	}
	return "openmessaging: batch"
}

// Unwrap returns the errors of the messages that failed.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, 0, e.failed)
	for _, err := range e.errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
