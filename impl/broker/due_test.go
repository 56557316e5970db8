package broker

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var dueFlag = flag.Int("broker.due", 50_000, "messages of TestManyDueAtOneInstant, on disk from a million on; -v tells how far it is. "+
	"Ten million take about a minute and 4 GB of disk")

// TestManyDueAtOneInstant has very many messages due at once, each sent by itself:
// none comes before, and all come in the order in which they were sent.
func TestManyDueAtOneInstant(t *testing.T) {
	n := *dueFlag
	o := store.Options{Memory: n < 1_000_000, Reserve: 1}
	if !o.Memory {
		o.Path = t.TempDir()
	}
	progress := logProgress(t)
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, o)
		defer b.Close()
		q := testQueue(t, b)
		due := time.Now().Add(time.Hour).Truncate(time.Second)
		sendDue(t, q, n, func(int) time.Time { return due }, progress)
		time.Sleep(time.Until(due) - 2*time.Second)
		progress("due in two seconds")
		time.Sleep(time.Until(due) - time.Millisecond)
		progress("due in a millisecond")
		if end := q.PartitionInfos()[0].End; end != 0 {
			t.Fatalf("%d messages came a millisecond too early", end)
		}
		readDue(t, q, n, progress, func(at int64, s Span) {
			if s.Header.Sequence+uint64(s.Skip) != uint64(at) {
				t.Fatalf("message %d comes at %d", s.Header.Sequence, at)
			}
		})
		if late := time.Since(due); late < 0 || late > time.Minute {
			t.Errorf("the last one came %v after it was due", late)
		}
	})
}

// BenchmarkDue has messages due at one instant, and in one second, each sent by
// itself. An operation is a message, from the sending of the first to the coming
// of the last, the time to the instant among it; choose how many by -benchtime,
// for example 1000000x.
func BenchmarkDue(b *testing.B) {
	for name, stretch := range map[string]int{"instant": 1, "second": 1000} {
		b.Run(name, func(b *testing.B) { benchmarkDue(b, stretch) })
	}
}

// benchmarkDue reports how late the last message comes and how many of those that
// are due come in a second.
func benchmarkDue(b *testing.B, stretch int) {
	broker := testBroker(b, store.Options{Path: b.TempDir(), Reserve: 1})
	defer broker.Close()
	q := testQueue(b, broker)
	first := time.Now().Add(3*time.Second + time.Duration(b.N)*10*time.Microsecond).Truncate(time.Second)
	last := first.Add(time.Duration(stretch-1) * time.Millisecond)
	progress := logProgress(b)
	sendDue(b, q, b.N, func(i int) time.Time {
		return first.Add(time.Duration(i*7919%stretch) * time.Millisecond)
	}, progress)
	if time.Until(first) < time.Second {
		b.Fatal("sending took too long")
	}
	readDue(b, q, b.N, progress, func(int64, Span) {})
	b.ReportMetric(float64(time.Since(last).Milliseconds()), "ms-late")
	b.ReportMetric(float64(b.N)/time.Since(first).Seconds(), "due/s")
}

func testQueue(t testing.TB, b *Broker) *Queue {
	if err := b.CreateQueue(context.Background(), om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	q, err := b.Queue("test", "q")
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// sendDue sends n messages, each in a chunk of its own.
func sendDue(t testing.TB, q *Queue, n int, due func(i int) time.Time, progress func(string)) {
	for sent := 0; sent < n; {
		as := make([]Append, min(1000, n-sent))
		for i := range as {
			as[i] = Append{Queue: q, Chunk: chunkDue(sent, 0, due(sent))}
			sent++
		}
		if err := q.b.Publish(context.Background(), as); err != nil {
			t.Fatal(err)
		}
		if sent%1_000_000 == 0 {
			progress(fmt.Sprintf("%d sent", sent))
		}
	}
	progress("all sent")
}

// readDue reads n messages as they come.
func readDue(t testing.TB, q *Queue, n int, progress func(string), look func(at int64, s Span)) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for at, told := int64(0), int64(0); at < int64(n); {
		if err := q.Await(ctx, 0, at); err != nil {
			t.Fatal(err)
		}
		spans, err := q.Read(ctx, 0, at, MaxReceive)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spans {
			look(at, s)
			at += int64(s.Count)
		}
		if at/1_000_000 > told {
			told = at / 1_000_000
			progress(fmt.Sprintf("%d came", at))
		}
	}
	progress("all came")
}

// logProgress logs what it is sent, with the time and the memory that it took,
// which a bubble does not know.
func logProgress(t testing.TB) func(string) {
	steps, done := make(chan string), make(chan struct{})
	t.Cleanup(func() {
		close(steps)
		<-done
	})
	go func() {
		defer close(done)
		began := time.Now()
		for step := range steps {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			t.Logf("%6.1f s, heap %d MB: %s", time.Since(began).Seconds(), m.HeapAlloc>>20, step)
		}
	}()
	return func(step string) { steps <- step }
}
