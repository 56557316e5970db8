package lease

import (
	"context"
	"sync"
)

// Turns asks the partitions of a queue in turn, for the Fetch of systems that
// are asked for messages partition by partition. Its zero value is ready; one
// call at a time.
type Turns struct{ next int }

// Fetch asks for messages that are there, of so many of n partitions at once
// that no more than limit can come, and when there are none asks all to wait
// for some. ask asks partitions for up to limit messages each and says whether
// some came.
func (t *Turns) Fetch(n, limit int, ask func(partitions []int, limit int, wait bool) (came bool, err error)) error {
	at := min(n, limit)
	for asked := 0; asked < n; asked += at {
		partitions := make([]int, min(at, n-asked))
		for i := range partitions {
			partitions[i] = t.next % n
			t.next = partitions[i] + 1
		}
		if came, err := ask(partitions, limit/len(partitions), false); err != nil || came {
			return err
		}
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	_, err := ask(all, limit, true)
	return err
}

// Round counts what comes of one request to each of some partitions. Its
// methods may be called concurrently.
type Round struct {
	wait bool
	done chan struct{}

	mu   sync.Mutex
	left map[int]int // messages that a partition may still send
	came bool
	err  error
	over bool
}

// NewRound returns a round of up to limit messages of each partition. With wait
// it is over when one message has come, else when all have sent what is there.
func NewRound(partitions []int, limit int, wait bool) *Round {
	r := &Round{wait: wait, done: make(chan struct{}), left: make(map[int]int, len(partitions))}
	for _, p := range partitions {
		r.left[p] = limit
	}
	return r
}

// Came counts n messages of a partition, and nothing more to come of it for 0.
// An error ends the round.
func (r *Round) Came(partition, n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left[partition] -= n; n == 0 || r.left[partition] <= 0 {
		delete(r.left, partition)
	}
	if r.came = r.came || n > 0; r.err == nil {
		r.err = err
	}
	if !r.over && (len(r.left) == 0 || r.err != nil || r.wait && r.came) {
		r.over = true
		close(r.done)
	}
}

// Await blocks until the round is over or ctx ends, and says whether messages
// have come.
func (r *Round) Await(ctx context.Context) (came bool, err error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		err = r.err
	}
	return r.came, err
}

// Done reports whether no message can come any more.
func (r *Round) Done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.left) == 0
}
