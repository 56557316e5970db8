package broker

import "strings"

// keyOrder has a group get the messages of one key one at a time, in the order
// of their offsets: the next one is ready when the one before is settled. Other
// messages do not wait for them.
type keyOrder struct {
	heads  map[string]*keyLine
	lines  map[int64]*keyLine // by the offset of the head
	behind int64              // messages that wait for an earlier one of their key
}

// keyLine is the unsettled messages of a key.
type keyLine struct {
	key  string
	head int64   // is ready or in somebody's hands
	rest []int64 // ascending
}

// keyed is a message with a key.
type keyed struct {
	offset int64
	key    string
}

// join adds a message and reports whether it is the first of its key.
func (o *keyOrder) join(k keyed) bool {
	if line := o.heads[k.key]; line != nil {
		line.rest = append(line.rest, k.offset)
		o.behind++
		return false
	}
	if o.heads == nil {
		o.heads, o.lines = make(map[string]*keyLine), make(map[int64]*keyLine)
	}
	line := &keyLine{key: strings.Clone(k.key), head: k.offset}
	o.heads[line.key], o.lines[k.offset] = line, line
	return true
}

// settled moves the lines on whose heads are in [from, to), and tells the new
// heads. passed reports whether an offset is settled already.
func (o *keyOrder) settled(from, to int64, passed func(int64) bool, ready func(int64)) {
	next := func(line *keyLine) {
		delete(o.lines, line.head)
		for len(line.rest) > 0 {
			line.head, line.rest = line.rest[0], line.rest[1:]
			o.behind--
			if !passed(line.head) {
				o.lines[line.head] = line
				ready(line.head)
				return
			}
		}
		delete(o.heads, line.key)
	}
	if int64(len(o.lines)) < to-from {
		for at, line := range o.lines {
			if from <= at && at < to {
				next(line)
			}
		}
		return
	}
	for at := from; at < to; at++ {
		if line := o.lines[at]; line != nil {
			next(line)
		}
	}
}
