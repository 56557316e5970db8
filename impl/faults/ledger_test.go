package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// ledger is what children said about a store, and judges what is found in it.
type ledger struct {
	expiring bool // retention may remove messages
	begins   map[target]int64
	intended map[stream]uint64 // → the highest number that was to be sent
	stored   map[target]map[int64]tag
	settling map[share]map[int64]bool // false: an Ack was begun, true: it returned

	bytes                         int // of bodies that verify found last
	sent, acked, found, undecided int // for the log
	copied                        int // by the route
}

// keptBytes is what retention must leave of bodies when it has removed something.
const keptBytes = 32 << 20

// stream is the messages of a producer in a partition.
type stream struct {
	producer uint32
	target
}

// share is a group's view of a partition.
type share struct {
	group uint16
	target
}

func newLedger() *ledger {
	return &ledger{
		begins:   make(map[target]int64),
		intended: make(map[stream]uint64),
		stored:   make(map[target]map[int64]tag),
		settling: make(map[share]map[int64]bool),
	}
}

// read takes in what a child prints, until it ends. Words of a line without
// numbers are sent to words.
func (l *ledger) read(r io.Reader, words chan<- string) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // also the half line of a killed child
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "opening", "ready":
			words <- word
			continue
		case "error":
			return errors.New("the child's " + rest)
		}
		var a [6]int64
		n, _ := fmt.Sscan(rest, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5])
		to := target{uint16(a[1]), uint16(a[2])}
		switch {
		case word == "sending" && n == 5:
			l.intended[stream{uint32(a[0]), to}] = uint64(a[3] + a[4] - 1)
		case word == "sent" && n == 6:
			for i := range a[4] {
				if err := l.store(to, a[5]+i, tag{uint32(a[0]), to.queue, to.partition, uint64(a[3] + i)}); err != nil {
					return err
				}
				l.sent++
			}
		case (word == "acking" || word == "acked") && n == 5:
			s := share{uint16(a[0]), to}
			if l.settling[s] == nil {
				l.settling[s] = make(map[int64]bool)
			}
			for o := a[3]; o < a[4]; o++ {
				l.settling[s][o] = l.settling[s][o] || word == "acked"
			}
			if word == "acked" {
				l.acked += int(a[4] - a[3])
			}
		default:
			return fmt.Errorf("the child said %q", line)
		}
	}
}

// store notes that a message lies at an offset, for ever.
func (l *ledger) store(at target, offset int64, t tag) error {
	if l.stored[at] == nil {
		l.stored[at] = make(map[int64]tag)
	}
	if before, ok := l.stored[at][offset]; ok && before != t {
		return fmt.Errorf("%s partition %d, offset %d holds %+v and %+v", loadQueues[at.queue].Name, at.partition, offset, before, t)
	}
	l.stored[at][offset] = t
	return nil
}

// verify compares a store with the ledger.
func (l *ledger) verify(ctx context.Context, c spi.Conn) error {
	l.bytes = 0
	// Two commits: retention has had its turn after the first.
	for range 2 {
		if err := optional[spi.Pinger](c).Ping(ctx); err != nil {
			return err
		}
	}
	for i, q := range loadQueues {
		infos, err := optional[spi.Describer](c).Partitions(ctx, q.Name)
		if errors.Is(err, om.CodeDestinationNotFound) && len(l.stored) == 0 {
			continue // killed before the queue was made
		}
		if err != nil {
			return err
		}
		for _, info := range infos {
			at := target{uint16(i), uint16(info.Partition)}
			if err := l.verifyPartition(ctx, c, at, info); err != nil {
				return fmt.Errorf("%s partition %d: %w", q.Name, info.Partition, err)
			}
		}
		groups, err := optional[spi.Describer](c).Groups(ctx, q.Name)
		if err != nil {
			return err
		}
		for j, g := range loadGroups {
			known := false
			for _, info := range groups {
				known = known || info.Group == g
			}
			if !known {
				if err := l.neverSettled(uint16(j), uint16(i)); err != nil {
					return err
				}
				continue
			}
			if err := l.verifyGroup(ctx, c, uint16(j), uint16(i)); err != nil {
				return fmt.Errorf("group %s of %s: %w", g, q.Name, err)
			}
		}
	}
	if !l.expiring {
		if err := l.verifyRoute(ctx, c); err != nil {
			return err
		}
	}
	for at, begin := range l.begins {
		if begin > 0 && l.bytes < keptBytes {
			return fmt.Errorf("%+v begins at offset %d, and only %d bytes are kept", at, begin, l.bytes)
		}
	}
	return nil
}

// verifyPartition reads a whole partition.
func (l *ledger) verifyPartition(ctx context.Context, c spi.Conn, at target, info om.PartitionInfo) error {
	switch {
	case info.Begin > 0 && !l.expiring:
		return fmt.Errorf("it begins at offset %d", info.Begin)
	case info.Begin < l.begins[at]:
		return fmt.Errorf("it begins at offset %d and began at %d before", info.Begin, l.begins[at])
	}
	l.begins[at] = info.Begin
	last := make(map[uint32]uint64) // producer → number
	for next := info.Begin; next < info.End; {
		ds, err := optional[spi.Streamer](c).ReadAt(ctx, info.Queue, info.Partition, next, 1000)
		if err != nil {
			return err
		}
		if len(ds) == 0 {
			return fmt.Errorf("it ends at offset %d, and offset %d is not there", info.End, next)
		}
		for _, d := range ds {
			if d.Offset != next {
				return fmt.Errorf("offset %d follows where %d is due", d.Offset, next)
			}
			next++
			t, err := parseBody(d.Message.Body)
			if err != nil {
				return fmt.Errorf("offset %d: %w", d.Offset, err)
			}
			switch {
			case t.queue != at.queue || t.partition != at.partition:
				return fmt.Errorf("offset %d holds %+v, which was sent elsewhere", d.Offset, t)
			case t.number == 0 || t.number > l.intended[stream{t.producer, at}]:
				return fmt.Errorf("offset %d holds %+v, which was never sent", d.Offset, t)
			case last[t.producer] != 0 && t.number != last[t.producer]+1, last[t.producer] == 0 && t.number != 1 && info.Begin == 0:
				return fmt.Errorf("offset %d: number %d of producer %d follows %d", d.Offset, t.number, t.producer, last[t.producer])
			}
			last[t.producer] = t.number
			if err := l.store(at, d.Offset, t); err != nil {
				return err
			}
			l.found++
			l.bytes += len(d.Message.Body)
		}
	}
	for offset, t := range l.stored[at] {
		if offset >= info.End {
			return fmt.Errorf("it ends at offset %d, and %+v was acknowledged at %d", info.End, t, offset)
		}
		if offset < info.Begin {
			delete(l.stored[at], offset)
		}
	}
	return nil
}

// neverSettled checks that nothing was settled by a group that is not there.
func (l *ledger) neverSettled(group, queue uint16) error {
	for s, offsets := range l.settling {
		if s.group != group || s.queue != queue {
			continue
		}
		for o, done := range offsets {
			if done {
				return fmt.Errorf("group %s of %s is gone and has acknowledged offset %d", loadGroups[group], loadQueues[queue].Name, o)
			}
		}
	}
	return nil
}

// verifyGroup receives all that a group has not settled.
func (l *ledger) verifyGroup(ctx context.Context, c spi.Conn, group, queue uint16) (err error) {
	name := loadQueues[queue].Name
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: name, Group: loadGroups[group], Lease: time.Hour})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	delivered := make(map[target]map[int64]bool)
	for {
		left, err := undelivered(ctx, c, name, loadGroups[group])
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		while, cancel := context.WithTimeout(ctx, time.Second)
		ds, err := r.Receive(while, 1000)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue // what was left has gone to the dead-letter queue
		}
		if err != nil {
			return fmt.Errorf("with %d messages left: %w", left, err)
		}
		for _, d := range ds {
			at := target{queue, uint16(d.Partition)}
			if delivered[at] == nil {
				delivered[at] = make(map[int64]bool)
			}
			if delivered[at][d.Offset] {
				return fmt.Errorf("partition %d, offset %d is delivered twice under one lease", d.Partition, d.Offset)
			}
			delivered[at][d.Offset] = true
			if t, err := parseBody(d.Message.Body); err != nil || l.stored[at][d.Offset] != t {
				return fmt.Errorf("partition %d, offset %d is delivered as %+v, %w", d.Partition, d.Offset, t, err)
			}
			if l.settling[share{group, at}][d.Offset] {
				return fmt.Errorf("partition %d, offset %d was acknowledged and is delivered again", d.Partition, d.Offset)
			}
		}
	}
	if err := l.verifyDead(ctx, c, group, queue, delivered); err != nil {
		return err
	}
	for p := range loadQueues[queue].Partitions {
		at := target{queue, uint16(p)}
		settling := l.settling[share{group, at}]
		for offset := range l.stored[at] {
			if _, begun := settling[offset]; !begun && !delivered[at][offset] {
				return fmt.Errorf("partition %d, offset %d was never acknowledged and is not delivered", p, offset)
			}
		}
		// The store has decided what a kill left open.
		for offset, done := range settling {
			switch {
			case done:
			case delivered[at][offset]:
				delete(settling, offset)
				l.undecided++
			default:
				settling[offset] = true
				l.undecided++
			}
		}
	}
	return nil
}

// undelivered returns how many unsettled messages are in nobody's hands.
func undelivered(ctx context.Context, c spi.Conn, queue, group string) (int64, error) {
	infos, err := optional[spi.Describer](c).Groups(ctx, queue)
	for _, info := range infos {
		if info.Group == group {
			return info.Lag - info.InFlight, nil
		}
	}
	return 0, errors.Join(err, fmt.Errorf("no group %s", group))
}
