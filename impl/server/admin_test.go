package server_test

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func (c *client) admin() wirepb.AdminServiceClient { return wirepb.NewAdminServiceClient(c.cc) }

func TestStatus(t *testing.T) {
	c := newFixture(t, server.Options{}).dial()
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("a")})
	before := time.Now().UnixMilli()
	s, err := c.admin().Status(c.ctx, &wirepb.StatusRequest{})
	c.must(err)
	if s.GetServerVersion() != server.Version || s.GetNow() < before || s.GetStored() <= 0 || s.GetReserve() != 0 || s.GetRefusal() != "" || s.GetHost() == "" {
		t.Errorf("%v", s)
	}
}

// TestBackup checks the order of a backup's pieces and their checksums.
func TestBackup(t *testing.T) {
	c := newFixture(t, server.Options{}).dial()
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("a", "b")})
	s, err := c.admin().Backup(c.ctx, &wirepb.BackupRequest{})
	c.must(err)
	r, err := s.Recv()
	c.must(err)
	begin := r.GetBegin()
	if begin.GetCommit() == 0 {
		t.Fatalf("it begins with %v", r)
	}
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("later")}) // is not in it
	bytes := int64(0)
	for r, err = s.Recv(); err == nil && r.GetPart() != nil; r, err = s.Recv() {
		p := r.GetPart()
		if p.GetEntries() == 0 || crc32.Checksum(p.GetData(), crc32.MakeTable(crc32.Castagnoli)) != p.GetSum() {
			t.Errorf("%d entries, checksum %d", p.GetEntries(), p.GetSum())
		}
		bytes += int64(len(p.GetData()))
	}
	c.must(err)
	if end := r.GetEnd(); end.GetMessages() != 2 || end.GetBytes() != bytes || end.GetBuckets() != 1 {
		t.Errorf("it ends with %v", r)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("then comes %v", err)
	}
}

// TestBackupIsNotReadToTheEnd checks that a client that stops to read a backup
// holds nobody up: it is told when the server goes away.
func TestBackupIsNotReadToTheEnd(t *testing.T) {
	f := newFixture(t, server.Options{Drain: time.Millisecond})
	c := f.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	body := string(make([]byte, 1<<20))
	for range 12 {
		c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk(body)})
	}
	s, err := c.admin().Backup(c.ctx, &wirepb.BackupRequest{})
	c.must(err)
	_, err = s.Recv() // the begin; the rest waits
	c.must(err)
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("the others go on")})
	other := f.dial().subscribe("q", "g")
	ended := make(chan error, 1)
	go func() { ended <- f.server.Shutdown(context.Background()) }()
	for waiting := error(nil); waiting == nil; { // until the server ends its streams
		_, waiting = other.Recv()
	}
	for err == nil {
		var r *wirepb.BackupResponse
		if r, err = s.Recv(); err == nil && r.GetEnd() != nil {
			t.Error("the backup is said to be complete")
		}
	}
	if code(err) != om.CodeServiceUnavailable {
		t.Errorf("it ends with %v", err)
	}
	f.must(<-ended)
}
