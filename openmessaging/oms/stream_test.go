package oms_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func streamer(t *testing.T, f *fake) om.StreamConsumer {
	t.Helper()
	c, err := open(t, f).NewStreamConsumer(t.Context())
	ok(t, err)
	return c
}

func cursorAt(t *testing.T, c om.StreamConsumer, p om.Position) om.Cursor {
	t.Helper()
	k, err := c.Open(t.Context(), "q", 0, p)
	ok(t, err)
	return k
}

func TestR099_forward_and_backward(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		bodies := numbered(600)
		for _, gap := range []int{5, 6, 7, 298, 299, 596, 597, 598, 599} { // at the end too
			bodies[gap] = "gap"
		}
		f.fill("q", bodies...)
		want := slices.DeleteFunc(bodies, func(b string) bool { return b == "gap" })
		c := streamer(t, f)
		k := cursorAt(t, c, om.Begin())
		var got []string
		for d, err := range k.Forward(t.Context()) {
			ok(t, err)
			got = append(got, string(d.Body))
			is(t, d.Ack(t.Context()), errors.ErrUnsupported)
			if len(got) == len(want) {
				break
			}
		}
		sameList(t, "forward", got, want)
		equal(t, "position", k.Position(), om.AtOffset(596))

		slices.Reverse(want)
		for _, from := range []om.Position{om.End(), om.AtOffset(596), om.AtOffset(9999)} {
			got = nil
			k = cursorAt(t, c, from)
			for d, err := range k.Backward(t.Context()) {
				ok(t, err)
				got = append(got, string(d.Body))
				equal(t, "position", k.Position(), om.AtOffset(d.Offset))
			}
			sameList(t, "backward", got, want)
		}
		for range cursorAt(t, c, om.Begin()).Backward(t.Context()) {
			t.Fatal("a message before the beginning")
		}
	})
}

func TestStream_turns_round(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", numbered(4)...)
		k := cursorAt(t, streamer(t, f), om.AtOffset(2))
		for _, want := range []string{"2", "3"} {
			for d, err := range k.Forward(t.Context()) {
				ok(t, err)
				equal(t, "forward", string(d.Body), want)
				break
			}
		}
		for d, err := range k.Backward(t.Context()) {
			ok(t, err)
			equal(t, "backward", string(d.Body), "3")
			break
		}
		equal(t, "position", k.Position(), om.AtOffset(3))
	})
}

// A cursor that is asked for one message at a time, or for all, reads the
// partition a few times and not once for each message.
func TestStream_reads_ahead(t *testing.T) {
	const n = 20_000
	for _, single := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			f := newFake("q")
			f.fill("q", numbered(n)...)
			k := cursorAt(t, streamer(t, f), om.Begin())
			walk := func(way func(context.Context) iter.Seq2[*om.Delivery, error], first, step int) {
				f.reads = 0
				for want, count := first, 0; count < n; {
					for d, err := range way(t.Context()) {
						ok(t, err)
						equal(t, "offset", d.Offset, int64(want))
						want += step
						if count++; single || count == n {
							break
						}
					}
				}
				if f.reads > 15 {
					t.Errorf("%d reads for %d messages, single %v", f.reads, n, single)
				}
			}
			walk(k.Forward, 0, 1)
			walk(k.Backward, n-1, -1)
		})
	}
}

// Large bodies are read a few at a time, and not much more often than once.
func TestStream_large_bodies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		large := strings.Repeat("x", 1<<20)
		f.fill("q", slices.Repeat([]string{large}, 60)...)
		f.fill("q", numbered(600)...)
		f.fill("q", slices.Repeat([]string{large}, 60)...)
		got := 0
		k := cursorAt(t, streamer(t, f), om.End())
		for d, err := range k.Backward(t.Context()) {
			ok(t, err)
			got++
			equal(t, "offset", d.Offset, int64(720-got))
		}
		equal(t, "messages", got, 720)
		if all := 120 * len(large); f.reads > 100 || f.readBytes > 2*all {
			t.Errorf("%d reads of %d bytes in all; there are %d", f.reads, f.readBytes, all)
		}
	})
}

func TestG14_stream_ends_with_one_error(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		c := streamer(t, f)
		collect := func(ctx context.Context) (errs []error) {
			for _, err := range cursorAt(t, c, om.Begin()).Forward(ctx) {
				errs = append(errs, err)
			}
			return errs
		}
		errs := collect(within(t, time.Second))
		equal(t, "errors", len(errs), 1)
		is(t, errs[0], om.ErrTimeout)
		go func() {
			synctest.Wait()
			ok(t, c.Stop(t.Context()))
		}()
		errs = collect(t.Context())
		equal(t, "errors", len(errs), 1)
		is(t, errs[0], om.CodeNotRunning)
		ok(t, c.Start(t.Context()))
		k := cursorAt(t, c, om.Begin())
		ok(t, c.Close(t.Context()))
		_, err := c.Open(t.Context(), "q", 0, om.Begin())
		is(t, err, om.ErrClosed)
		for _, err := range k.Backward(t.Context()) {
			is(t, err, om.ErrClosed)
		}
	})
}

func TestR096_stream_undeclared(t *testing.T) {
	f := newFake()
	f.caps = nil
	_, err := open(t, f).NewStreamConsumer(t.Context())
	is(t, err, errors.ErrUnsupported)
}
