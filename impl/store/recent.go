package store

import (
	"sync/atomic"
	"weak"
)

// recent finds the records that were read last: a record is often read many
// times, by one reader that takes a part of it at a time and by others. It keeps
// nothing: what nobody uses the next collection of garbage takes, as it would
// without recent. A log has two places, since a reader often looks at the next
// record before it is done with one; it may share them with other logs.
type recent [64][2]atomic.Pointer[recentRecord]

type recentRecord struct {
	log    uint64
	record weak.Pointer[Record]
}

// find returns the record that holds an offset, nil when it is not among them.
func (c *recent) find(log uint64, offset int64) *Record {
	places := &c[log%uint64(len(c))]
	for i := range places {
		if last := places[i].Load(); last != nil && last.log == log {
			if r := last.record.Value(); r != nil && r.Base <= offset && offset < r.End() {
				return r
			}
		}
	}
	return nil
}

func (c *recent) add(log uint64, r *Record) {
	places := &c[log%uint64(len(c))]
	places[1].Store(places[0].Load())
	places[0].Store(&recentRecord{log, weak.Make(r)})
}
