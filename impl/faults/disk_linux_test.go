package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func freeSpace(t *testing.T, path string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * int64(s.Bsize)
}

// mount mounts a disk in memory until the test ends.
func mount(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk; TestReserve runs without")
	}
	dir := t.TempDir()
	if err := unix.Mount("faults", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v; TestReserve runs without", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(dir, 0)); err != nil {
			t.Error(err, unix.Unmount(dir, unix.MNT_DETACH))
		}
	})
	return dir
}

// TestReadOnlyDisk opens a store on a disk that cannot be written.
func TestReadOnlyDisk(t *testing.T) {
	disk := mount(t, "size=64m")
	dir := filepath.Join(disk, "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("faults", disk, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("the disk cannot be made read-only: %v", err)
	}
	refuse(t, dir, om.CodeStorageError, dir, "read-only")
}

// fullVariable tells the child of TestDiskFull where the small disk is.
const fullVariable = "FAULTS_DISK"

const (
	diskSize    = "size=400m"
	diskReserve = 128 << 20
)

// TestDiskFull fills a small disk. Badger's files are mapped into memory: a disk
// that is really full kills the process. So it runs in a process of its own.
func TestDiskFull(t *testing.T) {
	for _, c := range diskLoads {
		t.Run(c.name, func(t *testing.T) {
			if disk := os.Getenv(fullVariable); disk != "" {
				fillDisk(t, disk, c)
				return
			}
			disk := mount(t, diskSize)
			ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
			cmd.Env = append(os.Environ(), fullVariable+"="+disk)
			out, err := cmd.CombinedOutput()
			if len(out) > 6000 {
				out = append(append(out[:3000:3000], "\n[...]\n"...), out[len(out)-3000:]...)
			}
			t.Logf("%s", out)
			if err != nil {
				t.Errorf("the process: %v", err)
			}
		})
	}
}

// diskLoad is what a small disk is filled with: messages to each of the
// partitions with each Send.
type diskLoad struct {
	name string
	size int
}

var diskLoads = []diskLoad{
	{"value-log", 64 << 10},
	{"tree", 7000}, // Badger writes them three times: log, table, merged table
}

const diskPartitions = 8

func fillDisk(t *testing.T, disk string, load diskLoad) {
	ctx := t.Context()
	dir, ballast := filepath.Join(disk, "store"), filepath.Join(disk, "ballast")
	writeFile(t, ballast, 48<<20)
	options := []string{"reserve", fmt.Sprint(diskReserve)}
	c, err := connect(ctx, dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: diskPartitions}); err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sent := int64(0) // to each partition
	sendOne := func() error {
		var ms []*om.Message
		for p := range int32(diskPartitions) {
			body := make([]byte, load.size)
			copy(body, tag{producer: 1, partition: uint16(p), number: uint64(sent)}.body()[:tagSize])
			ms = append(ms, message("q", p, body))
		}
		_, err := send(ctx, s, ms...)
		if err == nil {
			sent++
		}
		return err
	}
	fillUp := func(when string) {
		t.Helper()
		var err error
		for err == nil {
			err = sendOne()
		}
		free := freeSpace(t, disk)
		t.Logf("%s: refused with %d MiB free after %d messages: %v", when, free>>20, sent*diskPartitions, err)
		if om.CodeOf(err) != om.CodeStorageBusy || !om.Retryable(err) {
			t.Errorf("%s: %v", when, err)
		}
	}
	settled := 0
	settle := func() error {
		ds, err := r.Receive(ctx, 10)
		if err != nil {
			t.Errorf("receive: %v", err)
			return nil
		}
		if err := ack(ctx, r, ds...); err != nil {
			return err
		}
		settled += len(ds)
		return nil
	}

	fillUp("at first")
	if err := settle(); err != nil {
		t.Errorf("ack on a full disk: %v", err)
	}
	if _, err := optional[spi.Streamer](c).ReadAt(ctx, "q", 0, 0, 10); err != nil {
		t.Errorf("read on a full disk: %v", err)
	}
	before := sent
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	fillUp("when space has returned")
	if sent == before {
		t.Error("nothing is accepted when space has returned")
	}

	// Others fill what is left. Merging tables gives space back meanwhile.
	var busy error
	for i := 0; i < 10 && busy == nil; i++ {
		writeFile(t, fmt.Sprint(ballast, i), freeSpace(t, disk)-diskReserve/2+(1<<20))
		busy = settle()
	}
	t.Logf("with %d MiB free: %v", freeSpace(t, disk)>>20, busy)
	if om.CodeOf(busy) != om.CodeStorageBusy {
		t.Errorf("ack below half of the reserve: %v", busy)
	}
	if _, err := optional[spi.Streamer](c).ReadAt(ctx, "q", 0, 0, 10); err != nil {
		t.Errorf("read below half of the reserve: %v", err)
	}
	removeFiles(t, ballast+"*")
	if err := settle(); err != nil {
		t.Errorf("ack when space has returned: %v", err)
	}
	if err := c.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}

	for left := int64(1 << 20); left > 0; left /= 2 { // to the last byte
		writeFile(t, fmt.Sprint(ballast, left), freeSpace(t, disk)/left*left)
	}
	if _, err := connect(ctx, dir, options...); om.CodeOf(err) != om.CodeStorageBusy {
		t.Errorf("open on a full disk: %v", err)
	}
	removeFiles(t, ballast+"*")
	c = mustConnect(t, dir, options...)
	for p := range int32(diskPartitions) {
		for next := int64(0); next < sent; {
			ds, err := optional[spi.Streamer](c).ReadAt(ctx, "q", p, next, 100)
			if err != nil || len(ds) == 0 {
				t.Fatalf("partition %d, offset %d: %d messages, %v", p, next, len(ds), err)
			}
			for _, d := range ds {
				want := tag{producer: 1, partition: uint16(p), number: uint64(next)}.body()[:tagSize]
				if d.Offset != next || len(d.Message.Body) != load.size || string(d.Message.Body[:tagSize]) != string(want) {
					t.Fatalf("partition %d, offset %d: wrong message at %d", p, next, d.Offset)
				}
				next++
			}
		}
	}
	groups, err := optional[spi.Describer](c).Groups(ctx, "q")
	if err != nil || len(groups) != 1 || groups[0].Lag != sent*diskPartitions-int64(settled) {
		t.Errorf("groups %+v, %v; %d of %d messages were acknowledged", groups, err, settled, sent*diskPartitions)
	}
}

// writeFile writes a file of that many bytes that take up space.
func writeFile(t *testing.T, path string, bytes int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for left := bytes; left > 0 && err == nil; left -= int64(len(block)) {
		_, err = f.Write(block[:min(left, int64(len(block)))])
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func removeFiles(t *testing.T, pattern string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// diskUse returns the bytes that the files below a folder take up on disk.
func diskUse(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var s unix.Stat_t
		if err == nil && unix.Lstat(path, &s) == nil { // else it is just being removed
			total += s.Blocks * 512
		}
		return nil
	})
	return total
}
