package openmessaging_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

// declaredCodes reads the constants of type Code from the source, so that a
// new one without an entry in the table is noticed.
func declaredCodes(t *testing.T) map[string]Code {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]Code{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				s := spec.(*ast.ValueSpec)
				typ, ok := s.Type.(*ast.Ident)
				if !ok || typ.Name != "Code" {
					if strings.HasPrefix(s.Names[0].Name, "Code") {
						t.Errorf("%s is not declared as a Code with its own number", s.Names[0].Name)
					}
					continue
				}
				if len(s.Names) != 1 || len(s.Values) != 1 {
					t.Fatalf("%s: one code a line, please, with its own number", s.Names[0].Name)
				}
				number, ok := s.Values[0].(*ast.BasicLit)
				if !ok {
					t.Fatalf("the number of %s is not written out", s.Names[0].Name)
				}
				n, err := strconv.Atoi(number.Value)
				if err != nil {
					t.Fatal(err)
				}
				codes[s.Names[0].Name] = Code(n)
			}
		}
	}
	return codes
}

var classes = []error{ErrSecurity, ErrTimeout, ErrDestination, ErrMessageFormat, ErrTransaction, ErrUnsupported, ErrClosed, ErrRuntime}

func TestEveryCodeIsInTheTable(t *testing.T) {
	codes := declaredCodes(t)
	if len(codes) < 40 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	names := map[Code]string{}
	texts := map[string]string{}
	for name, c := range codes {
		if other := texts[c.String()]; other != "" {
			t.Errorf("%s and %s have the text %q", name, other, c)
		}
		texts[c.String()] = name
		if !slices.Contains(classes, c.Class()) {
			t.Errorf("%s has the class %v", name, c.Class())
		}
		for _, class := range classes {
			if errors.Is(NewError(c, "op", "r", ""), class) != (class == c.Class()) {
				t.Errorf("%s: wrong answer to %v", name, class)
			}
		}
		if other := names[c]; other != "" {
			t.Errorf("%s and %s have the number %d", name, other, c)
		}
		names[c] = name
		if strings.HasPrefix(c.String(), "status ") {
			t.Errorf("%s has no text", name)
		}
		if c.Error() != fmt.Sprintf("%s (%d)", c.String(), int(c)) {
			t.Errorf("%s: %s", name, c.Error())
		}
	}
	if Code(77).String() != "status 77" || Code(77).Class() != ErrRuntime || Code(77).Retryable() {
		t.Error("an unknown code")
	}
}

func TestG06_errors_is_class(t *testing.T) {
	err := fmt.Errorf("outer: %w", NewError(CodeDestinationNotFound, "send", "orders", "create it: %w", io.EOF))
	for _, target := range []error{ErrDestination, CodeDestinationNotFound, io.EOF} {
		if !errors.Is(err, target) {
			t.Errorf("it is not %v", target)
		}
	}
	for _, target := range []error{ErrTimeout, CodeNamespaceNotFound, ErrRuntime, errors.ErrUnsupported} {
		if errors.Is(err, target) {
			t.Errorf("it is %v", target)
		}
	}
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeDestinationNotFound || e.Op != "send" || e.Resource != "orders" {
		t.Errorf("%+v", e)
	}
}

func TestR095_code_and_text(t *testing.T) {
	for err, want := range map[*Error]string{
		NewError(CodeDestinationNotFound, "send", "orders", "create it"): `openmessaging: send "orders": destination not found (1404): create it`,
		NewError(CodeClosed, "send", "", ""):                             `openmessaging: send: closed (20001)`,
		{Code: CodeTimeout}:                                              `openmessaging: request timeout (1410)`,
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
	}
}

func TestG07_errors_unsupported_std(t *testing.T) {
	err := error(NewError(CodeUnsupported, "seek", "q", ""))
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// TestClasses holds the codes that portable programs tell apart to their class,
// so that the table is not its own judge.
func TestClasses(t *testing.T) {
	for code, class := range map[Code]error{
		CodeUnauthorized: ErrSecurity, CodeForbidden: ErrSecurity,
		CodeTimeout: ErrTimeout, CodeNoNewMessage: ErrTimeout, CodeFlushTimeout: ErrTimeout,
		CodeDestinationNotFound: ErrDestination, CodeNamespaceNotFound: ErrDestination, CodeGroupNotFound: ErrDestination,
		CodePropertiesTooLarge: ErrMessageFormat, CodeHeaderTooLarge: ErrMessageFormat, CodeBodyTooLarge: ErrMessageFormat, CodeMalformedMessage: ErrMessageFormat,
		CodeCheckerMissing: ErrTransaction, CodeTransactionState: ErrTransaction, CodeTransactionNotExists: ErrTransaction,
		CodeUnsupported: ErrUnsupported, CodeClosed: ErrClosed,
		CodeBadParameter: ErrRuntime, CodeServerError: ErrRuntime, CodeMalformedURL: ErrRuntime,
	} {
		if err := NewError(code, "op", "r", ""); !errors.Is(err, class) {
			t.Errorf("%v is not of the class %v", err, class)
		}
	}
}

// TestSpecificationNumbers holds the specification's codes to their numbers.
func TestSpecificationNumbers(t *testing.T) {
	for code, number := range map[Code]int{
		CodeUnauthorized: 1401, CodeBodyRequired: 1402, CodeForbidden: 1403, CodeDestinationNotFound: 1404, CodeNamespaceNotFound: 1405,
		CodeDestinationExists: 1406, CodeNamespaceExists: 1407, CodeTimeout: 1410, CodePropertiesTooLarge: 1411, CodeHeaderTooLarge: 1412,
		CodeBodyTooLarge: 1413, CodeBadParameter: 1418, CodeDriverUnavailable: 10000, CodeMalformedURL: 10001, CodeMalformedVersion: 10002,
		CodeIncompatibleVersion: 10003,
	} {
		if int(code) != number {
			t.Errorf("%v should be %d", code, number)
		}
	}
}

func TestG08_timeout_matches_both(t *testing.T) {
	err := WrapError(context.DeadlineExceeded, "receive", "q")
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || CodeOf(err) != CodeTimeout {
		t.Error(err)
	}
	err = WrapError(context.Canceled, "receive", "q")
	if errors.Is(err, ErrTimeout) || !errors.Is(err, context.Canceled) || CodeOf(err) != CodeCanceled {
		t.Error(err)
	}
}

func TestG09_retryable_flag(t *testing.T) {
	retryable := map[Code]bool{
		CodeTimeout: true, CodeNoNewMessage: true, CodeStorageBusy: true, CodeServiceUnavailable: true,
		CodeFlushTimeout: true, CodeBufferFull: true, CodeMaxInFlight: true,
	}
	for name, c := range declaredCodes(t) {
		if c.Retryable() != retryable[c] || Retryable(NewError(c, "", "", "")) != retryable[c] {
			t.Errorf("%s: retryable is %v", name, c.Retryable())
		}
	}
	if Retryable(nil) || Retryable(io.EOF) || !Retryable(fmt.Errorf("x: %w", context.DeadlineExceeded)) {
		t.Error("nil, foreign or context error")
	}
}

func TestWrapError(t *testing.T) {
	if WrapError(nil, "op", "r") != nil || CodeOf(nil) != 0 {
		t.Error("nil")
	}
	named := fmt.Errorf("more: %w", NewError(CodeClosed, "send", "q", ""))
	if WrapError(named, "op", "r") != named {
		t.Error("an error that names its operation was wrapped")
	}
	if CodeOf(WrapError(io.EOF, "op", "r")) != CodeServerError {
		t.Error("a foreign error")
	}
	// A Code is an error by itself and keeps its class and its flag.
	for _, bare := range []error{CodeStorageBusy, fmt.Errorf("driver: %w", CodeStorageBusy)} {
		err := WrapError(bare, "op", "r")
		if CodeOf(bare) != CodeStorageBusy || !errors.Is(err, CodeStorageBusy) || errors.Is(err, CodeServerError) || !Retryable(err) {
			t.Error(err)
		}
	}
	if err := WrapError(CodeClosed, "op", "r"); !errors.Is(err, ErrClosed) || errors.Is(err, ErrRuntime) {
		t.Error(err)
	}
	unnamed := WrapError(&Error{Code: CodeForbidden}, "op", "r")
	if CodeOf(unnamed) != CodeForbidden || !strings.Contains(unnamed.Error(), "op") {
		t.Error(unnamed)
	}
}

func TestG27_batch_error(t *testing.T) {
	if NewBatchError(nil) != nil || NewBatchError(make([]error, 3)) != nil {
		t.Error("no failure is an error")
	}
	err := NewBatchError([]error{nil, io.EOF, nil, NewError(CodeBodyTooLarge, "send", "q", "")})
	var b *BatchError
	if !errors.As(err, &b) || b.Failed() != 2 || b.At(0) != nil || b.At(1) != io.EOF || b.At(3) == nil || b.At(4) != nil || b.At(-1) != nil {
		t.Errorf("%+v", b)
	}
	if !errors.Is(err, io.EOF) || !errors.Is(err, CodeBodyTooLarge) || len(b.Unwrap()) != 2 {
		t.Error(err)
	}
	if want := "openmessaging: 2 of 4 messages failed; message 1: EOF"; err.Error() != want {
		t.Error(err)
	}
}
