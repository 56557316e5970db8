package openmessaging_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestPositionRoundTrip(t *testing.T) {
	for p, want := range map[Position]string{
		{}:                                       "begin",
		Begin():                                  "begin",
		End():                                    "end",
		AtOffset(0):                              "offset:0",
		AtOffset(math.MaxInt64):                  "offset:9223372036854775807",
		AtTime(now):                              "time:2026-01-02T03:04:05Z",
		AtTime(now.Add(time.Millisecond)):        "time:2026-01-02T03:04:05.001Z",
		AtTime(now.In(time.FixedZone("", 3600))): "time:2026-01-02T03:04:05Z",
	} {
		got, err := ParsePosition(p.String())
		if err != nil || got != p || p.String() != want {
			t.Errorf("%q, want %q, is read as %v %v", p, want, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.OneOf(
			rapid.Map(rapid.Int64Min(0), AtOffset),
			rapid.Map(rapid.Int64(), func(n int64) Position { return AtTime(time.Unix(n%(1<<37), n&0x3fffffff)) }),
		).Draw(t, "position")
		at, ok := p.Time()
		if ok && (at.Year() < 0 || at.Year() > 9999) {
			t.Skip("String does not promise that")
		}
		if got, err := ParsePosition(p.String()); err != nil || got != p {
			t.Fatalf("%q is read as %v %v", p, got, err)
		}
	})
}

func TestPositionKinds(t *testing.T) {
	for _, p := range []Position{Begin(), End(), AtOffset(7), AtTime(now)} {
		offset, isOffset := p.Offset()
		at, isTime := p.Time()
		kinds := 0
		for _, is := range []bool{p.IsBegin(), p.IsEnd(), isOffset, isTime} {
			if is {
				kinds++
			}
		}
		if kinds != 1 || isOffset != (offset == 7) || isTime != at.Equal(now) {
			t.Errorf("%v is of %d kinds: offset %d, time %v", p, kinds, offset, at)
		}
	}
}

// A negative offset stands for the oldest message, as 0 does (R099), and its
// text is understood like that of any other position.
func TestR099_negative_offset_as_text(t *testing.T) {
	if n, ok := AtOffset(-7).Offset(); n != -7 || !ok {
		t.Errorf("a driver sees %d %v", n, ok)
	}
	if p, err := ParsePosition(AtOffset(-7).String()); err != nil || p != AtOffset(0) {
		t.Errorf("%q is read as %v %v", AtOffset(-7), p, err)
	}
}

// A position that a program keeps in JSON comes back as it was, and what is no
// position is refused.
func TestPositionInJSON(t *testing.T) {
	type state struct {
		At Position
	}
	for _, p := range []Position{{}, End(), AtOffset(42), AtTime(now)} {
		text, err := json.Marshal(state{p})
		var got state
		if err := errors.Join(err, json.Unmarshal(text, &got)); err != nil || got.At != p {
			t.Errorf("%v is kept as %s and comes back as %v, %v", p, text, got.At, err)
		}
	}
	if text, err := json.Marshal(AtTime(time.Unix(1<<40, 0))); !errors.Is(err, CodeBadParameter) {
		t.Errorf("a time that cannot be read back is written as %s, %v", text, err)
	}
	if err := new(Position).UnmarshalText([]byte("offset:x")); !errors.Is(err, CodeBadParameter) {
		t.Error(err)
	}
}

func TestParsePositionRefusals(t *testing.T) {
	for _, s := range []string{
		"", "beginn", "begin:", "end:1", "Begin", " begin", "offset", "offset:", "offset:-1", "offset:x", "offset:9223372036854775808",
		"time", "time:", "time:yesterday", "time:0000-01-01T00:00:00+23:59", "time:9999-12-31T23:59:59-23:59", strings.Repeat("x", 1000),
	} {
		p, err := ParsePosition(s)
		if !errors.Is(err, CodeBadParameter) {
			t.Errorf("ParsePosition(%q) = %v %v", s, p, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{
		"begin", "end", "offset:42", "offset:-1", "time:2018-02-07T00:00:00Z",
		"time:0000-01-01T00:00:00+23:59", "time:9999-12-31T23:59:59.999999999-23:59",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			if !errors.Is(err, CodeBadParameter) {
				t.Error(err)
			}
			return
		}
		if again, err := ParsePosition(p.String()); err != nil || again != p {
			t.Errorf("%q is %v, which is read as %v %v", s, p, again, err)
		}
	})
}
