package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// maxText bounds the text of an error on its way, in bytes: a status travels in
// a header, whose size clients limit.
const maxText = 2 << 10

// Error returns the form of err that travels, nil for nil.
func Error(err error) *wirepb.Error {
	if err == nil {
		return nil
	}
	out := &wirepb.Error{Code: int32(om.CodeOf(err)), Retryable: om.Retryable(err)}
	var e *om.Error
	switch {
	case !errors.As(err, &e):
		out.Text = clip(err.Error())
	default:
		out.Op, out.Resource = clip(e.Op), clip(e.Resource)
		if e.Err != nil {
			out.Text = clip(e.Err.Error())
		}
	}
	return out
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return string([]rune(s)) // valid UTF-8, which protobuf demands
}

// FromError returns the error that travelled as e, nil for nil: an
// *openmessaging.Error with the code, operation, resource and text of the one on
// the other side. A retryable code that this program does not know becomes
// CodeServiceUnavailable.
func FromError(e *wirepb.Error) error {
	if e == nil {
		return nil
	}
	code := om.Code(e.Code)
	if e.Retryable && !code.Retryable() {
		return om.NewError(om.CodeServiceUnavailable, e.Op, e.Resource, "%s (status %d)", e.Text, e.Code)
	}
	out := &om.Error{Code: code, Op: e.Op, Resource: e.Resource}
	if e.Text != "" {
		out.Err = errors.New(e.Text)
	}
	return out
}

// statusCodes are the gRPC codes of status codes, for tools that know gRPC only;
// others have those of their class.
var statusCodes = map[om.Code]codes.Code{
	om.CodeUnauthorized:        codes.Unauthenticated,
	om.CodeForbidden:           codes.PermissionDenied,
	om.CodeDestinationNotFound: codes.NotFound,
	om.CodeNamespaceNotFound:   codes.NotFound,
	om.CodeGroupNotFound:       codes.NotFound,
	om.CodeDestinationExists:   codes.AlreadyExists,
	om.CodeNamespaceExists:     codes.AlreadyExists,
	om.CodeBadParameter:        codes.InvalidArgument,
	om.CodeBadRequest:          codes.InvalidArgument,
	om.CodeMalformedMessage:    codes.InvalidArgument,
	om.CodeTimeout:             codes.DeadlineExceeded,
	om.CodeCanceled:            codes.Canceled,
	om.CodeUnsupported:         codes.Unimplemented,
	om.CodeUnsupportedVersion:  codes.FailedPrecondition,
	om.CodeIncompatibleVersion: codes.FailedPrecondition,
	om.CodeMaxQueues:           codes.ResourceExhausted,
	om.CodeMaxNamespaces:       codes.ResourceExhausted,
	om.CodeMaxInFlight:         codes.ResourceExhausted,
	om.CodeStorageBusy:         codes.ResourceExhausted,
	om.CodeServiceUnavailable:  codes.Unavailable,
	om.CodeClosed:              codes.Unavailable,
	om.CodeStorageCorrupt:      codes.DataLoss,
}

// Status returns the error with which a call of gRPC ends because of err: a
// status with a wirepb.Error among its details. It is nil for nil, and errors
// that are a status already stay as they are.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code, ok := statusCodes[om.CodeOf(err)]
	if !ok {
		code = codes.Internal
	}
	s := status.New(code, clip(err.Error()))
	if with, err := s.WithDetails(Error(err)); err == nil {
		s = with
	}
	return s.Err()
}

// FromStatus returns the error that err, the error of a gRPC call, stands for:
// ctx's where that has ended, what the other side said in the details, or else
// what the connection itself met.
func FromStatus(ctx context.Context, err error, op, resource string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, ok := status.FromError(err)
	if !ok {
		return om.WrapError(err, op, resource)
	}
	if _, bounded := ctx.Deadline(); bounded && s.Code() == codes.DeadlineExceeded {
		<-ctx.Done() // the other side's clock was a little faster
		return ctx.Err()
	}
	for _, d := range s.Details() {
		if e, ok := d.(*wirepb.Error); ok {
			return FromError(e)
		}
	}
	code := om.CodeServerError
	switch s.Code() {
	case codes.Unavailable, codes.Aborted, codes.Canceled:
		code = om.CodeServiceUnavailable
	case codes.DeadlineExceeded:
		code = om.CodeTimeout
	case codes.Unauthenticated:
		code = om.CodeUnauthorized
	case codes.PermissionDenied:
		code = om.CodeForbidden
	case codes.Unimplemented:
		code = om.CodeUnsupported
	case codes.InvalidArgument, codes.OutOfRange:
		code = om.CodeBadRequest
	case codes.ResourceExhausted:
		code = om.CodeMaxInFlight
	}
	return om.NewError(code, op, resource, "%w", errors.New(s.Message()))
}
