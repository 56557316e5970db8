package server_test

import (
	"flag"
	"runtime"
	"testing"

	"golang.org/x/net/http2"

	"github.com/openmessaging/openmessaging-go/impl/server"
)

var idle = flag.Int("server.idle", 200, "connections of TestIdleConnections; each takes two file descriptors")

// idleBytes is the most that a connection may take that is open and idle.
const idleBytes = 32 << 10

// TestIdleConnections opens connections as clients do that have nothing to do,
// as many as -server.idle says, and tells what each takes of memory: heap and
// stacks of the server, in the same process the little that the test's ends need.
func TestIdleConnections(t *testing.T) {
	n := *idle
	f := newFixture(t, server.Options{MaxConnections: n + 10})
	friend := f.friend()
	friend.roundTrip()
	memory := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := memory()
	speakers := make([]*speaker, n)
	for i := range speakers {
		speakers[i] = f.speaker()
		for acknowledged := false; !acknowledged; {
			frame, err := speakers[i].ReadFrame()
			f.must(err)
			settings, ok := frame.(*http2.SettingsFrame)
			acknowledged = ok && settings.IsAck()
		}
	}
	friend.roundTrip()
	each := (memory() - before) / int64(n)
	t.Logf("%d idle connections take %d bytes each", n, each)
	if each > idleBytes {
		t.Errorf("%d bytes for an idle connection, %d are the most", each, idleBytes)
	}
	for _, s := range speakers {
		f.must(s.conn.Close())
	}
	f.alive()
}
