package oms

import (
	"context"
	"errors"
	"fmt"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// wrapper turns the errors of a driver into *openmessaging.Error.
type wrapper struct{ classifier spi.Classifier }

func newWrapper(conn spi.Conn) wrapper {
	c, _ := spi.As[spi.Classifier](conn)
	return wrapper{c}
}

// wrap gives err a code, an operation and a resource; nil stays nil.
func (w wrapper) wrap(err error, op, resource string) error {
	if err == nil {
		return nil
	}
	if w.classifier == nil || isContextError(err) {
		return om.WrapError(err, op, resource)
	}
	var e *om.Error
	if !errors.As(err, &e) {
		if code := w.classifier.Classify(err); code != 0 {
			return &om.Error{Code: code, Op: op, Resource: resource, Err: err}
		}
	}
	return om.WrapError(err, op, resource)
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// cut is the cause of contexts that this package ends, and says with which
// code operations under them fail.
type cut struct {
	code om.Code
	err  error
}

func (c *cut) Error() string { return c.err.Error() }
func (c *cut) Unwrap() error { return c.err }

func sendTimeoutCut(d time.Duration) *cut {
	return &cut{om.CodeTimeout, fmt.Errorf("no answer within the producer's SendTimeout of %v: %w", d, context.DeadlineExceeded)}
}

func stopCut(closed bool) *cut {
	if closed {
		return &cut{om.CodeClosed, fmt.Errorf("closed before it was answered: %w", context.Canceled)}
	}
	return &cut{om.CodeNotRunning, fmt.Errorf("stopped before it was answered: %w", context.Canceled)}
}

func (c *cut) failed(op, resource string) error {
	return &om.Error{Code: c.code, Op: op, Resource: resource, Err: c.err}
}

// ended returns the error of an operation whose ctx has ended; nil while it
// has not.
func ended(ctx context.Context, op, resource string) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	var c *cut
	if errors.As(context.Cause(ctx), &c) {
		return c.failed(op, resource)
	}
	return om.WrapError(err, op, resource)
}

func badParameter(op, resource, format string, args ...any) error {
	return om.NewError(om.CodeBadParameter, op, resource, format, args...)
}

func unsupported(op, resource string, c om.Capability) error {
	return om.NewError(om.CodeUnsupported, op, resource, "the driver does not declare the capability %q", string(c))
}

// notHonest is the error for a declared capability whose interface is missing.
func notHonest(op, resource string, c om.Capability, iface string) error {
	return om.NewError(om.CodeUnsupported, op, resource, "the driver declares the capability %q but offers no spi.%s", string(c), iface)
}
