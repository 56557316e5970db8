package openmessaging

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

type positionKind uint8

const (
	positionBegin positionKind = iota
	positionEnd
	positionOffset
	positionTime
)

// Position is a place in a partition. The zero value is Begin. A position out
// of range stands for the nearest end (R099).
type Position struct {
	kind   positionKind
	offset int64
	time   time.Time
}

// Begin is the oldest message that is still stored.
func Begin() Position { return Position{} }

// End is behind the newest message.
func End() Position { return Position{kind: positionEnd} }

// AtOffset is the message with that offset.
func AtOffset(offset int64) Position { return Position{kind: positionOffset, offset: offset} }

// AtTime is the first message stored at or after t, to the millisecond.
func AtTime(t time.Time) Position { return Position{kind: positionTime, time: t.UTC()} }

// IsBegin reports whether p is Begin.
func (p Position) IsBegin() bool { return p.kind == positionBegin }

// IsEnd reports whether p is End.
func (p Position) IsEnd() bool { return p.kind == positionEnd }

// Offset returns the offset of an AtOffset position.
func (p Position) Offset() (int64, bool) { return p.offset, p.kind == positionOffset }

// Time returns the instant of an AtTime position.
func (p Position) Time() (time.Time, bool) { return p.time, p.kind == positionTime }

// String returns the text that ParsePosition understands: "begin", "end",
// "offset:42" or "time:2018-02-07T00:00:00Z". A negative offset is written as
// 0, which stands for the same place; a time whose year does not have four
// digits is not understood.
func (p Position) String() string {
	switch p.kind {
	case positionEnd:
		return "end"
	case positionOffset:
		return "offset:" + strconv.FormatInt(max(p.offset, 0), 10)
	case positionTime:
		return "time:" + p.time.Format(time.RFC3339Nano)
	}
	return "begin"
}

// MarshalText writes what String writes, so that a program can keep a position
// in JSON or a file and come back with it. A time that String does not promise
// to be understood gives 1418.
func (p Position) MarshalText() ([]byte, error) {
	s := p.String()
	_, err := ParsePosition(s)
	return []byte(s), err
}

// UnmarshalText is ParsePosition.
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}

// ParsePosition parses the text of a position as String writes it.
func ParsePosition(s string) (Position, error) {
	kind, value, _ := strings.Cut(s, ":")
	switch {
	case s == "begin":
		return Begin(), nil
	case s == "end":
		return End(), nil
	case kind == "offset":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
			return AtOffset(n), nil
		}
	case kind == "time":
		t, err := time.Parse(time.RFC3339Nano, value)
		if year := t.UTC().Year(); err == nil && year >= 0 && year <= 9999 {
			return AtTime(t), nil
		}
	}
	return Position{}, NewError(CodeBadParameter, "parse position", "", "%s", fmt.Sprintf("%.100q is none of begin, end, offset:<number>, time:<RFC 3339>", s))
}
