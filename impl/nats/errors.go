package nats

import (
	"context"
	"errors"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// wrap gives an error of the client library or the server its status code.
func wrap(err error, op, resource string) error {
	var e *om.Error
	if err == nil || errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return om.NewError(codeOf(err), op, resource, "%w", err)
}

func codeOf(err error) om.Code {
	var api *jetstream.APIError
	var code om.Code
	switch {
	case errors.As(err, &code):
		return code
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return om.CodeGroupNotFound
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return om.CodeDestinationNotFound
	case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
		return om.CodeDestinationExists
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return om.CodeUnauthorized
	case errors.Is(err, nats.ErrPermissionViolation):
		return om.CodeForbidden
	case errors.Is(err, nats.ErrMaxPayload):
		return om.CodeBodyTooLarge
	case errors.Is(err, nats.ErrTimeout):
		return om.CodeTimeout
	case errors.As(err, &api):
		return codeOfAPI(api)
	}
	return om.CodeServiceUnavailable // of the network, and of a server that goes
}

// The server's own error codes that the status alone does not tell.
const (
	errMessageTooLarge = 10054
	errHeaderTooLarge  = 10097
	errNoStorage       = 10047
	errNoLeader        = 10009
	errOffline         = 10118
)

func codeOfAPI(e *jetstream.APIError) om.Code {
	switch e.ErrorCode {
	case errMessageTooLarge:
		return om.CodeBodyTooLarge
	case errHeaderTooLarge:
		return om.CodeHeaderTooLarge
	case errNoStorage:
		return om.CodeStorageError
	case errNoLeader, errOffline:
		return om.CodeServiceUnavailable
	}
	switch e.Code {
	case http.StatusBadRequest:
		return om.CodeBadParameter
	case http.StatusUnauthorized, http.StatusForbidden:
		return om.CodeForbidden
	case http.StatusTooManyRequests:
		return om.CodeStorageBusy
	case http.StatusServiceUnavailable:
		return om.CodeServiceUnavailable
	}
	return om.CodeServerError
}
