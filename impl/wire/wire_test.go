package wire_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// travel sends a status over and back.
func travel(t *testing.T, err error) error {
	t.Helper()
	s, ok := status.FromError(wire.Status(err))
	if !ok {
		t.Fatalf("%v is no status", wire.Status(err))
	}
	data, err := proto.Marshal(s.Proto())
	if err != nil {
		t.Fatal(err)
	}
	p := s.Proto()
	proto.Reset(p)
	if err := proto.Unmarshal(data, p); err != nil {
		t.Fatal(err)
	}
	return wire.FromStatus(t.Context(), status.FromProto(p).Err(), "op", "resource")
}

func TestErrorsTravel(t *testing.T) {
	for _, want := range []*om.Error{
		om.NewError(om.CodeDestinationNotFound, "send", "default://q", "create it first"),
		om.NewError(om.CodeStorageBusy, "send", "", ""),
		om.NewError(om.CodeUnsupported, "nack", "q", "not there"),
		om.NewError(om.CodeStaleReceipt, "", "q", "%w", errors.New("gone")),
		om.NewError(om.CodeTimeout, "x", "y", "late"),
		om.NewError(om.Code(29999), "x", "y", "of a newer server"),
	} {
		for how, err := range map[string]error{"status": travel(t, want), "part": wire.FromError(wire.Error(want))} {
			var got *om.Error
			if !errors.As(err, &got) || got.Code != want.Code || got.Op != want.Op || got.Resource != want.Resource || got.Error() != want.Error() {
				t.Errorf("%s: %#v came as %#v", how, want, err)
			}
			if om.Retryable(err) != om.Retryable(want) || !errors.Is(err, want.Code.Class()) {
				t.Errorf("%s: %v has another class or is not as retryable as %v", how, err, want)
			}
		}
	}
	if wire.Error(nil) != nil || wire.FromError(nil) != nil || wire.Status(nil) != nil || wire.FromStatus(t.Context(), nil, "", "") != nil {
		t.Error("nil does not stay nil")
	}
	if err := wire.FromError(&wirepb.Error{Code: 29998, Text: "later", Retryable: true}); !om.Retryable(err) || !strings.Contains(err.Error(), "29998") {
		t.Errorf("a retryable code that nobody knows: %v", err)
	}
	for _, err := range []error{fmt.Errorf("around: %w", om.NewError(om.CodeGroupNotFound, "seek", "q", "")), context.DeadlineExceeded, errors.New("plain")} {
		if got := travel(t, err); om.CodeOf(got) != om.CodeOf(err) {
			t.Errorf("%v came as %v", err, got)
		}
	}
}

func TestErrorTextsAreBounded(t *testing.T) {
	e := wire.Error(om.NewError(om.CodeBadParameter, strings.Repeat("o", 1<<20), "\xff", "%s", strings.Repeat("ü", 1<<20)))
	if n := proto.Size(e); n > 8<<10 || !utf8.ValidString(e.Text) || !utf8.ValidString(e.Resource) {
		t.Errorf("%d bytes", n)
	}
}

func TestFromStatus(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wire.FromStatus(ended, status.Error(codes.Canceled, ""), "op", "r"); err != context.Canceled {
		t.Error(err)
	}
	late, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := wire.FromStatus(late, status.Error(codes.DeadlineExceeded, ""), "op", "r"); err != context.DeadlineExceeded {
		t.Error(err)
	}
	for code, want := range map[codes.Code]om.Code{
		codes.Unavailable: om.CodeServiceUnavailable, codes.Unauthenticated: om.CodeUnauthorized, codes.PermissionDenied: om.CodeForbidden,
		codes.Unimplemented: om.CodeUnsupported, codes.Internal: om.CodeServerError, codes.DeadlineExceeded: om.CodeTimeout,
	} {
		if err := wire.FromStatus(t.Context(), status.Error(code, "said"), "op", "r"); om.CodeOf(err) != want || !strings.Contains(err.Error(), "said") {
			t.Errorf("%v is %v, want %v", code, err, want)
		}
	}
}

func TestConversions(t *testing.T) {
	q := om.QueueConfig{Name: "a://b", Partitions: 7, Description: "d", Deduplication: om.Deduplication{By: "p", Window: time.Minute}, TransactionCheck: om.TransactionCheck{After: time.Second, Every: time.Minute, Max: 3}}
	if got := wire.FromQueue(wire.Queue(q)); got != q {
		t.Error(got)
	}
	g := om.GroupInfo{
		Queue: "q", Group: "g", Consumers: 1, Lag: 2, InFlight: 3, Lost: 4, Redelivered: 5, OldestLease: time.UnixMilli(6),
		Partitions: []om.GroupPartition{{Partition: 1, Cursor: 2, Lag: 3, InFlight: 4}},
	}
	if d := cmp.Diff(g, wire.FromGroup("q", wire.Group(g))); d != "" {
		t.Error(d)
	}
	ps := []om.PartitionInfo{{Queue: "q", Partition: 1, Begin: 2, End: 3, Messages: 1}}
	if d := cmp.Diff(ps, wire.FromPartitions("q", wire.Partitions(ps))); d != "" {
		t.Error(d)
	}
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Millisecond, time.Second: time.Second, -time.Second: 0, 1<<63 - 1: 100 * 366 * 24 * time.Hour,
	} {
		if got := wire.Duration(wire.Millis(d)); got != want {
			t.Errorf("%v became %v", d, got)
		}
	}
	if d := wire.Duration(1<<63 - 1); d < 0 {
		t.Error(d)
	}
}
