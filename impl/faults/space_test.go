package faults_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// TestRetentionGivesSpaceBack writes twenty times as much as a store may keep:
// it never takes up more than one and a half times its limit. With -faults.full
// the limit is 1 GB instead of 64 MiB, and no acknowledgement may take longer
// than 500 ms.
func TestRetentionGivesSpaceBack(t *testing.T) {
	limit := int64(64 << 20)
	if *fullFlag {
		limit = 1e9
	}
	for _, load := range []spaceLoad{
		{"value log", 64 << 10, 16, 20},
		{"tree", 6000, 1, 2},
	} {
		t.Run(load.name, func(t *testing.T) { load.run(t, limit) })
	}
}

// spaceLoad is what is written: Sends of so many messages of a size, until the
// store has taken times its limit.
type spaceLoad struct {
	name  string
	size  int
	batch int
	times int64
}

const (
	spaceProducers = 4
	spaceWorst     = 500 * time.Millisecond // of an acknowledgement
	spaceEvery     = 20 * time.Millisecond  // between two looks at the disk
)

func (l spaceLoad) run(t *testing.T, limit int64) {
	ctx, dir := t.Context(), t.TempDir()
	if free := freeSpace(t, dir); free < 2*limit+(1<<30) {
		t.Skipf("the disk has only %d MiB free", free>>20)
	}
	c := mustConnect(t, dir, "retain_bytes", fmt.Sprint(limit))
	if err := optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: spaceProducers}); err != nil {
		t.Fatal(err)
	}
	watched, stop := context.WithCancel(ctx)
	most := make(chan int64, 1)
	go func() { most <- watchDisk(watched, dir) }()

	var left atomic.Int64
	left.Store(l.times * limit / int64(l.batch*l.size))
	var wg sync.WaitGroup
	times := make([][]time.Duration, spaceProducers)
	began := time.Now()
	for i := range spaceProducers {
		wg.Go(func() {
			s, err := c.NewSender(ctx, spi.SenderConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			ms := make([]*om.Message, l.batch)
			for j := range ms {
				ms[j] = message("q", int32(i), make([]byte, l.size))
			}
			for left.Add(-1) >= 0 {
				sent := time.Now()
				if _, err := send(ctx, s, ms...); err != nil {
					t.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	stop()
	disk := <-most
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if len(all) == 0 {
		t.Fatal("nothing was sent")
	}
	worst := all[len(all)-1]
	written := int64(len(all)) * int64(l.batch*l.size)
	t.Logf("limit %d MiB, written %d MiB in %v (%.0f MiB/s), most on disk %d MiB (%.2f of the limit); acknowledgements p50 %v, p99.9 %v, worst %v",
		limit>>20, written>>20, took.Round(time.Millisecond), float64(written>>20)/took.Seconds(), disk>>20, float64(disk)/float64(limit),
		all[len(all)/2], all[len(all)*999/1000], worst)
	if disk > limit*3/2 {
		t.Errorf("the store took up %d MiB", disk>>20)
	}
	if *fullFlag && worst > spaceWorst {
		t.Errorf("an acknowledgement took %v", worst)
	}
	infos, err := optional[spi.Describer](c).Partitions(ctx, "q")
	if err != nil {
		t.Fatal(err)
	}
	kept := int64(0)
	for _, p := range infos {
		kept += (p.End - p.Begin) * int64(l.size)
	}
	if kept < limit/2 {
		t.Errorf("only %d MiB of messages are kept", kept>>20)
	}
}

// watchDisk returns the most that a folder took up on disk, until ctx ends.
func watchDisk(ctx context.Context, dir string) (most int64) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		most = max(most, diskUse(dir))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return max(most, diskUse(dir))
		}
	}
}
