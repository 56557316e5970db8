package openmessaging

import (
	"errors"
	"strconv"
)

// Code is a status code. Codes below 20000 are the specification's
// (OMSResponseStatus of the Java API); codes from 20000 are this binding's, for
// cases the specification has no number for. Numbers are never reused.
//
// A Code is an error so that errors.Is(err, CodeDestinationNotFound) works
// (G06).
type Code int

// Status codes.
const (
	CodeUnsupportedVersion   Code = 1101
	CodeBadRequest           Code = 1400
	CodeUnauthorized         Code = 1401
	CodeBodyRequired         Code = 1402
	CodeForbidden            Code = 1403
	CodeDestinationNotFound  Code = 1404
	CodeNamespaceNotFound    Code = 1405
	CodeDestinationExists    Code = 1406
	CodeNamespaceExists      Code = 1407
	CodeConsumerExists       Code = 1408
	CodeProducerExists       Code = 1409
	CodeTimeout              Code = 1410
	CodePropertiesTooLarge   Code = 1411
	CodeHeaderTooLarge       Code = 1412
	CodeBodyTooLarge         Code = 1413
	CodeNoNewMessage         Code = 1414
	CodeMaxTopics            Code = 1415
	CodeMaxQueues            Code = 1416
	CodeMaxNamespaces        Code = 1417
	CodeBadParameter         Code = 1418
	CodeServerError          Code = 1500
	CodeStorageError         Code = 1501
	CodeStorageBusy          Code = 1502
	CodeServiceUnavailable   Code = 1503
	CodeFlushTimeout         Code = 1504
	CodeDriverUnavailable    Code = 10000
	CodeMalformedURL         Code = 10001
	CodeMalformedVersion     Code = 10002
	CodeIncompatibleVersion  Code = 10003
	CodeUnsupported          Code = 20000
	CodeClosed               Code = 20001
	CodeCanceled             Code = 20002
	CodeBufferFull           Code = 20003
	CodeStaleReceipt         Code = 20004
	CodeMalformedMessage     Code = 20005
	CodeTransactionState     Code = 20006
	CodeNotRunning           Code = 20007
	CodeNotSuspended         Code = 20008
	CodeHandlerPanic         Code = 20009
	CodeMaxInFlight          Code = 20010
	CodeStorageCorrupt       Code = 20011
	CodeGroupNotFound        Code = 20012
	CodeCheckerMissing       Code = 20013
	CodeTransactionNotExists Code = 20014
	CodeMessageNotFound      Code = 20015
	CodeProducerFenced       Code = 20016
	CodeMemberFenced         Code = 20017
	CodeMemberExpired        Code = 20018
)

// The error classes. errors.Is(err, ErrTimeout) holds for every *[Error] whose
// code has that class (G06). ErrUnsupported errors also match the standard
// errors.ErrUnsupported (G07).
var (
	ErrSecurity      = errors.New("openmessaging: security")
	ErrTimeout       = errors.New("openmessaging: timeout")
	ErrDestination   = errors.New("openmessaging: destination")
	ErrMessageFormat = errors.New("openmessaging: message format")
	ErrTransaction   = errors.New("openmessaging: transaction")
	ErrUnsupported   = errors.New("openmessaging: unsupported")
	ErrClosed        = errors.New("openmessaging: closed")
	ErrRuntime       = errors.New("openmessaging: runtime")
)

type codeInfo struct {
	text      string
	class     error
	retryable bool
}

var codes = map[Code]codeInfo{
	CodeUnsupportedVersion:   {"unsupported version", ErrUnsupported, false},
	CodeBadRequest:           {"bad request", ErrRuntime, false},
	CodeUnauthorized:         {"unauthorized", ErrSecurity, false},
	CodeBodyRequired:         {"message body required", ErrMessageFormat, false},
	CodeForbidden:            {"forbidden", ErrSecurity, false},
	CodeDestinationNotFound:  {"destination not found", ErrDestination, false},
	CodeNamespaceNotFound:    {"namespace not found", ErrDestination, false},
	CodeDestinationExists:    {"destination already exists", ErrDestination, false},
	CodeNamespaceExists:      {"namespace already exists", ErrDestination, false},
	CodeConsumerExists:       {"consumer already exists", ErrRuntime, false},
	CodeProducerExists:       {"producer already exists", ErrRuntime, false},
	CodeTimeout:              {"request timeout", ErrTimeout, true},
	CodePropertiesTooLarge:   {"message attributes too large", ErrMessageFormat, false},
	CodeHeaderTooLarge:       {"message header too large", ErrMessageFormat, false},
	CodeBodyTooLarge:         {"message body too large", ErrMessageFormat, false},
	CodeNoNewMessage:         {"no new message", ErrTimeout, true},
	CodeMaxTopics:            {"maximum of topics reached", ErrRuntime, false},
	CodeMaxQueues:            {"maximum of queues reached", ErrRuntime, false},
	CodeMaxNamespaces:        {"maximum of namespaces reached", ErrRuntime, false},
	CodeBadParameter:         {"bad parameter", ErrRuntime, false},
	CodeServerError:          {"server error", ErrRuntime, false},
	CodeStorageError:         {"storage error", ErrRuntime, false},
	CodeStorageBusy:          {"storage busy", ErrRuntime, true},
	CodeServiceUnavailable:   {"service not available", ErrRuntime, true},
	CodeFlushTimeout:         {"flush to disk timed out", ErrTimeout, true},
	CodeDriverUnavailable:    {"cannot open an access point", ErrRuntime, false},
	CodeMalformedURL:         {"malformed access-point URL", ErrRuntime, false},
	CodeMalformedVersion:     {"malformed implementation version", ErrRuntime, false},
	CodeIncompatibleVersion:  {"incompatible implementation version", ErrRuntime, false},
	CodeUnsupported:          {"unsupported", ErrUnsupported, false},
	CodeClosed:               {"closed", ErrClosed, false},
	CodeCanceled:             {"canceled", ErrRuntime, false},
	CodeBufferFull:           {"buffer full", ErrRuntime, true},
	CodeStaleReceipt:         {"stale receipt", ErrRuntime, false},
	CodeMalformedMessage:     {"malformed message", ErrMessageFormat, false},
	CodeTransactionState:     {"wrong transaction state", ErrTransaction, false},
	CodeNotRunning:           {"not running", ErrRuntime, false},
	CodeNotSuspended:         {"not suspended", ErrRuntime, false},
	CodeHandlerPanic:         {"handler panicked", ErrRuntime, false},
	CodeMaxInFlight:          {"too many messages in flight", ErrRuntime, true},
	CodeStorageCorrupt:       {"stored data is damaged", ErrRuntime, false},
	CodeGroupNotFound:        {"consumer group not found", ErrDestination, false},
	CodeCheckerMissing:       {"no transaction checker", ErrTransaction, false},
	CodeTransactionNotExists: {"no such transaction", ErrTransaction, false},
	CodeMessageNotFound:      {"message not found", ErrDestination, false},
	CodeProducerFenced:       {"producer fenced", ErrTransaction, false},
	CodeMemberFenced:         {"member fenced", ErrRuntime, false},
	CodeMemberExpired:        {"session of the member ended", ErrRuntime, false},
}

// Class returns the class sentinel of the code, for example [ErrTimeout];
// unknown codes have [ErrRuntime].
func (c Code) Class() error {
	if info, ok := codes[c]; ok {
		return info.class
	}
	return ErrRuntime
}

// Retryable reports whether the same call may succeed later without a change
// of its arguments (G09).
func (c Code) Retryable() bool { return codes[c].retryable }

// String returns the meaning of the code, for example "destination not found".
func (c Code) String() string {
	if info, ok := codes[c]; ok {
		return info.text
	}
	return "status " + strconv.Itoa(int(c))
}

// Error returns the meaning and the number.
func (c Code) Error() string { return c.String() + " (" + strconv.Itoa(int(c)) + ")" }
