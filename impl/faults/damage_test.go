package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// A store to be damaged has a queue of two partitions with equally many
// messages, and a group that has settled four of five stretches.
const (
	fillQueue      = "q"
	fillGroup      = "g"
	fillPartitions = 2
	fillStretch    = 50
)

// filling is a kind of store to be damaged.
type filling struct {
	Name     string
	Options  []string
	Producer uint32
	Batch    int64 // messages of a Send
	Messages int64 // of a partition
	End      string
	Only     []string // file names that are damaged; all when empty
}

// How the process ends that fills a store.
const (
	endClosed   = "closed"
	endKilled   = "killed"
	endFlushing = "killed while flushing" // with two write-ahead logs
)

var fillings = []filling{
	{"buckets, closed", []string{"retain_bytes", "64MiB"}, 1, 20, 2400, endClosed, nil},
	{"buckets, killed", []string{"retain_bytes", "64MiB"}, 1, 20, 2400, endKilled, nil},
	{"tables, closed", nil, inTree, 1, 2600, endClosed, nil},
	{"tables, killed", nil, inTree, 1, 2600, endKilled, nil},
	{"tables, killed while flushing", nil, inTree, 1, 10_000, endFlushing, []string{"*.mem", "MANIFEST"}},
}

func (f filling) tag(partition int32, offset int64) tag {
	return tag{producer: f.Producer, partition: uint16(partition), number: uint64(offset + 1)}
}

func (f filling) settled(offset int64) bool { return offset/fillStretch%5 != 0 }

// fillChild makes the store FAULTS_FILLING in FAULTS_PATH, prints after each
// round of sends how many messages each partition has, and ends as it is to.
func fillChild() error {
	var f filling
	if err := json.Unmarshal([]byte(os.Getenv("FAULTS_FILLING")), &f); err != nil {
		return err
	}
	ctx := context.Background()
	dir := os.Getenv("FAULTS_PATH")
	c, err := connect(ctx, dir, f.Options...)
	if err != nil {
		return err
	}
	if err := f.fill(ctx, c, dir); err != nil {
		return err
	}
	if f.End == endClosed {
		return c.Close(ctx)
	}
	return die()
}

// die kills this process.
func die() error {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	waitForParent()
	return err
}

func (f filling) fill(ctx context.Context, c spi.Conn, dir string) error {
	if err := optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: fillQueue, Partitions: fillPartitions}); err != nil {
		return err
	}
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	if err != nil {
		return err
	}
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: fillQueue, Group: fillGroup, Lease: time.Hour})
	if err != nil {
		return err
	}
	for at := int64(0); at < f.Messages; at += f.Batch {
		for p := range int32(fillPartitions) {
			var ms []*om.Message
			for i := range f.Batch {
				ms = append(ms, message(fillQueue, p, f.tag(p, at+i).body()))
			}
			if _, err := send(ctx, s, ms...); err != nil {
				return err
			}
			ds, err := r.Receive(ctx, int(f.Batch))
			if err != nil {
				return err
			}
			ds = slices.DeleteFunc(ds, func(d spi.Received) bool { return !f.settled(d.Offset) })
			if err := ack(ctx, r, ds...); err != nil {
				return err
			}
		}
		fmt.Println(at + f.Batch)
		if f.End == endFlushing {
			if logs, err := filepath.Glob(filepath.Join(dir, "b-*", "*.mem")); err != nil || len(logs) > 1 {
				return err
			}
		}
	}
	return nil
}

// damageCase is a file that is damaged, and how.
type damageCase struct {
	Filling filling
	Store   string // the folder of the undamaged store
	File    string // its file
	How     string // flip, truncate, delete
	At      int64  // of flip and truncate
	Mask    byte   // of flip
}

// verdict is what became of a case.
type verdict struct {
	Outcome  string // refused, all there, reported; or wrong
	Detail   string
	Findings int // of store.Check
	Writes   string
}

const (
	refused  = "refused"   // the store is not opened
	allThere = "all there" // everything is there and right
	reported = "reported"  // reading the damaged part gives an error
	wrong    = "WRONG"
)

// damageChild judges the cases that it reads, one to a line, in the folder
// FAULTS_PATH.
func damageChild() error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c damageCase
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		v, err := c.judge(os.Getenv("FAULTS_PATH"))
		if err != nil {
			return err
		}
		if err := out.Encode(v); err != nil {
			return err
		}
	}
}

// judge checks one copy of the store and opens another.
func (c damageCase) judge(work string) (v verdict, err error) {
	dir := filepath.Join(work, "store")
	if err := c.apply(dir); err != nil {
		return v, err
	}
	report, checkErr := store.Check(store.Options{Path: dir, Logger: quiet}, store.CheckOptions{State: broker.CheckState})
	v.Findings = len(report.Findings)
	if checkErr != nil {
		v.Findings++
	}
	if err := c.apply(dir); err != nil {
		return v, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	v.Outcome, v.Detail, v.Writes = c.Filling.look(ctx, dir)
	if v.Findings == 0 && (v.Outcome == refused || v.Outcome == reported) {
		v.Outcome, v.Detail = wrong, "store.Check finds nothing; the store: "+v.Detail
	}
	return v, nil
}

// apply makes a damaged copy of the store.
func (c damageCase) apply(dir string) error {
	if err := errors.Join(os.RemoveAll(dir), copyFolder(dir, c.Store, c.File)); err != nil {
		return err
	}
	path := filepath.Join(dir, c.File)
	switch c.How {
	case "delete":
		return os.Remove(path)
	case "truncate":
		return os.Truncate(path, c.At)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], c.At)
	b[0] ^= c.Mask
	if err == nil {
		_, err = f.WriteAt(b[:], c.At)
	}
	return errors.Join(err, f.Close())
}

// copyFolder copies a store; what is zero in its files becomes holes. Tables are
// shared, except one.
func copyFolder(to, from, except string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case filepath.Ext(rel) == ".sst" && rel != except:
			return os.Link(path, target) // Badger writes them once
		}
		return copyFile(target, path)
	})
}

var copyBuffer, zeros [256 << 10]byte

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	size, err := in.Seek(0, io.SeekEnd)
	for at := int64(0); err == nil && at < size; {
		at, err = nextData(in, at, size)
		if err != nil || at >= size {
			break
		}
		b := copyBuffer[:min(size-at, int64(len(copyBuffer)))]
		_, err = in.ReadAt(b, at)
		if err == nil && !bytes.Equal(b, zeros[:len(b)]) {
			_, err = out.WriteAt(b, at)
		}
		at += int64(len(b))
	}
	return errors.Join(err, out.Truncate(size), out.Close())
}

// look opens a store that may be damaged and reads all of it.
func (f filling) look(ctx context.Context, dir string) (outcome, detail, writes string) {
	c, err := connect(ctx, dir, f.Options...)
	if err != nil {
		if why := badError(err, dir); why != "" {
			return wrong, "opening: " + why, ""
		}
		return refused, err.Error(), ""
	}
	told, err := f.examine(ctx, c, dir)
	writes = tryWriting(ctx, c)
	if closeErr := c.Close(ctx); err == nil && closeErr != nil && om.CodeOf(closeErr) != om.CodeStorageError {
		err = fmt.Errorf("close: %w", closeErr)
	}
	switch {
	case err != nil:
		return wrong, err.Error(), writes
	case told != nil:
		return reported, told.Error(), writes
	}
	return allThere, "", writes
}

// badError tells what is wrong with an error of a damaged store: it must say
// that data is damaged, or name the file.
func badError(err error, dir string) string {
	var e *om.Error
	switch {
	case !errors.As(err, &e):
		return "no *openmessaging.Error: " + err.Error()
	case e.Code == om.CodeStorageCorrupt:
		return ""
	case strings.Contains(strings.ReplaceAll(err.Error(), fmt.Sprintf("%q", dir), ""), dir):
		return ""
	}
	return "neither damage nor a file: " + err.Error()
}

// examine reads everything by offset and then as the group. It returns in told
// the first error that tells of damage, and in err what must not be.
func (f filling) examine(ctx context.Context, c spi.Conn, dir string) (told, err error) {
	infos, err := optional[spi.Describer](c).Partitions(ctx, fillQueue)
	if err != nil {
		return nil, fmt.Errorf("the queue: %w", err)
	}
	if len(infos) != fillPartitions {
		return nil, fmt.Errorf("%d partitions", len(infos))
	}
	note := func(e error) error {
		if why := badError(e, dir); why != "" {
			return errors.New(why)
		}
		if told == nil {
			told = e
		}
		return nil
	}
	for _, info := range infos {
		if info.Begin != 0 || info.End != f.Messages {
			return told, fmt.Errorf("partition %d has offsets %d to %d", info.Partition, info.Begin, info.End)
		}
		for next, step := int64(0), int64(1); next < info.End; {
			ds, err := optional[spi.Streamer](c).ReadAt(ctx, fillQueue, info.Partition, next, 1000)
			if err != nil {
				if err := note(err); err != nil {
					return told, fmt.Errorf("reading partition %d, offset %d: %w", info.Partition, next, err)
				}
				next, step = next+step, 2*step
				continue
			}
			if len(ds) == 0 {
				return told, fmt.Errorf("partition %d: nothing and no error at offset %d", info.Partition, next)
			}
			step = 1
			for _, d := range ds {
				if err := f.right(d, next); err != nil {
					return told, err
				}
				next++
			}
		}
	}
	err = f.examineGroup(ctx, c, note)
	return told, err
}

func (f filling) right(d spi.Received, offset int64) error {
	if d.Offset != offset {
		return fmt.Errorf("partition %d: offset %d follows where %d is due", d.Partition, d.Offset, offset)
	}
	if !bytes.Equal(d.Message.Body, f.body(d.Partition, offset)) {
		return fmt.Errorf("partition %d, offset %d has wrong bytes", d.Partition, offset)
	}
	return nil
}

// bodies are the bodies of the store that this process judges.
var bodies [fillPartitions][][]byte

func (f filling) body(partition int32, offset int64) []byte {
	for o := int64(len(bodies[partition])); o <= offset; o++ {
		bodies[partition] = append(bodies[partition], f.tag(partition, o).body())
	}
	return bodies[partition][offset]
}

// examineGroup receives what the group has not settled, up to the first error
// that tells of damage.
func (f filling) examineGroup(ctx context.Context, c spi.Conn, note func(error) error) error {
	groups, err := optional[spi.Describer](c).Groups(ctx, fillQueue)
	if err != nil || len(groups) != 1 {
		return fmt.Errorf("groups %v, %w", groups, err)
	}
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: fillQueue, Group: fillGroup, Lease: time.Hour})
	if err != nil {
		return err
	}
	due := make(map[[2]int64]bool)
	for p := range int64(fillPartitions) {
		for o := range f.Messages {
			if !f.settled(o) {
				due[[2]int64{p, o}] = true
			}
		}
	}
	for {
		left, err := undelivered(ctx, c, fillQueue, fillGroup)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		ds, err := r.Receive(ctx, 500)
		if err != nil {
			return note(err)
		}
		for _, d := range ds {
			if err := f.right(d, d.Offset); err != nil {
				return fmt.Errorf("delivered: %w", err)
			}
			at := [2]int64{int64(d.Partition), d.Offset}
			if !due[at] {
				return fmt.Errorf("partition %d, offset %d is settled and delivered again", d.Partition, d.Offset)
			}
			delete(due, at)
		}
	}
	if len(due) > 0 {
		return fmt.Errorf("%d unsettled messages are not delivered", len(due))
	}
	return nil
}

// tryWriting tells whether the store still accepts messages.
func tryWriting(ctx context.Context, c spi.Conn) string {
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	if err == nil {
		_, err = send(ctx, s, message(fillQueue, 0, nil))
	}
	if err != nil {
		return om.CodeOf(err).String()
	}
	return "accepted"
}

// damages lists how a file is to be damaged. Positions lie in the part of it
// that is in use: Badger makes its files larger than their content.
func (f filling) damages(rnd *rand.Rand, dir, file string) (cases []damageCase, err error) {
	used, err := usedSize(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	if used == 0 {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		used = info.Size()
	}
	add := func(how string, at int64) {
		cases = append(cases, damageCase{Filling: f, Store: dir, File: file, How: how, At: at, Mask: byte(1 + rnd.IntN(255))})
	}
	if used > 0 {
		for _, at := range []int64{0, used / 2, used - 1, rnd.Int64N(used), rnd.Int64N(used), rnd.Int64N(used)} {
			add("flip", at)
		}
		add("truncate", used/2)
		add("truncate", used-1)
	}
	add("truncate", 0)
	add("delete", 0)
	return cases, nil
}

// usedSize returns the size of a file without the zeros at its end.
func usedSize(path string) (used int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	for at := int64(0); err == nil && at < size; {
		if at, err = nextData(f, at, size); err != nil || at >= size {
			break
		}
		b := copyBuffer[:min(size-at, int64(len(copyBuffer)))]
		if _, err = f.ReadAt(b, at); err == nil {
			if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
				used = at + int64(n)
			}
			at += int64(len(b))
		}
	}
	return used, err
}
