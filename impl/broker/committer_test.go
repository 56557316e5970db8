package broker

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// TestOneCallIsOneCommit publishes to many partitions in one call: all of it is
// committed together, whoever else is at work.
func TestOneCallIsOneCommit(t *testing.T) {
	const partitions, messages = 8, 4000
	var mu sync.Mutex
	var commits []int // commands of each
	b, err := Open(Config{Store: store.Options{Memory: true}, OnCommit: func(commands int, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		commits = append(commits, commands)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p := newPublisher(t, b, partitions)
	mu.Lock()
	commits = nil
	mu.Unlock()
	b.commits.mu.Lock()
	b.commits.back = time.Hour // no commit waits for more
	b.commits.mu.Unlock()
	for i := range uint64(60) {
		var appends []Append
		for n := range int32(partitions) {
			appends = append(appends, Append{Queue: p.q, Partition: n, Chunk: numberedChunk(uint64(n)+7, messages*i, messages)})
		}
		if err := b.Publish(t.Context(), appends); err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(appends, func(a Append) bool { return a.Err != nil }); i >= 0 {
			t.Fatal(appends[i].Err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if i := slices.IndexFunc(commits, func(n int) bool { return n != partitions }); i >= 0 {
		t.Errorf("commit %d has %d commands, want %d", i, commits[i], partitions)
	}
}
