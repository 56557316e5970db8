package faults_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// holdChild opens the store in FAULTS_PATH, says "holding", and closes it when
// its input ends.
func holdChild() error {
	ctx := context.Background()
	c, err := connect(ctx, os.Getenv("FAULTS_PATH"))
	if err != nil {
		return err
	}
	fmt.Println("holding")
	waitForParent()
	return c.Close(ctx)
}

// refuse checks that a store is not opened, with a code and with words in the
// error, and that the folder is left as it is.
func refuse(t *testing.T, dir string, code om.Code, words ...string) {
	t.Helper()
	before := files(t, dir)
	c, err := connect(t.Context(), dir)
	if err == nil {
		t.Error("the store is opened")
		_ = c.Close(t.Context())
		return
	}
	if om.CodeOf(err) != code {
		t.Errorf("code %d, want %d: %v", om.CodeOf(err), code, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if after := files(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the folder was %v and is %v", before, after)
	}
}

// files lists what lies below a path.
func files(t *testing.T, path string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil && len(names) > 1 {
		t.Fatal(err)
	}
	return names
}

// TestLockNamesHolder opens a store that another process holds: the error names
// that process. When it has ended, killed or not, the store can be opened.
func TestLockNamesHolder(t *testing.T) {
	dir := t.TempDir()
	for _, kill := range []bool{false, true} {
		c, err := startChild("hold", "FAULTS_PATH="+dir)
		if err != nil {
			t.Fatal(err)
		}
		hang := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
		if line, _ := bufio.NewReader(c.out).ReadString('\n'); line != "holding\n" {
			t.Errorf("the child says %q\n%s", line, c.tail())
		}
		refuse(t, dir, om.CodeDriverUnavailable, "in use", fmt.Sprintf("process %d (%s)", c.Process.Pid, filepath.Base(os.Args[0])))
		if kill {
			err = c.Process.Kill()
		} else {
			err = c.in.Close()
		}
		if err := errors.Join(err, c.Wait()); err != nil && !kill {
			t.Errorf("%v\n%s", err, c.tail())
		}
		hang.Stop()
		own, err := connect(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := own.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestForeignFolder opens folders that are no stores of this version.
func TestForeignFolder(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("other files", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "letter.txt"), "dear")
		refuse(t, dir, om.CodeDriverUnavailable, dir, "letter.txt", "empty or a new folder")
	})
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "text")
		refuse(t, file, om.CodeStorageError, file)
	})
	t.Run("below a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "text")
		refuse(t, filepath.Join(file, "store"), om.CodeStorageError, file)
	})
	t.Run("not writable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere; TestReadOnlyDisk covers it")
		}
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.Mkdir(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		refuse(t, dir, om.CodeStorageError, dir)
	})
	for _, sum := range []string{"known", "unknown"} {
		t.Run(sum+" newer format", func(t *testing.T) {
			dir := t.TempDir()
			c, err := connect(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "STORE")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var identity struct {
				Format  int       `json:"format"`
				ID      string    `json:"id"`
				Created time.Time `json:"created"`
				Sum     string    `json:"sum"`
			}
			if err := json.Unmarshal(data, &identity); err != nil {
				t.Fatal(err)
			}
			identity.Format = 2
			if sum == "known" {
				covered := identity.ID + fmt.Sprint(identity.Format, identity.Created.Unix())
				identity.Sum = fmt.Sprintf("%08x", crc32.Checksum([]byte(covered), crc32.MakeTable(crc32.Castagnoli)))
			}
			if data, err = json.Marshal(identity); err != nil {
				t.Fatal(err)
			}
			write(t, path, string(data))
			refuse(t, dir, om.CodeDriverUnavailable, dir, "format 2", "newer program")
		})
	}
}

// TestClosed uses what is closed, and closes it again.
func TestClosed(t *testing.T) {
	ctx := t.Context()
	c := mustConnect(t, t.TempDir())
	if err := optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSender(ctx, spi.SenderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send(ctx, s, message("q", 0, nil)); err != nil {
		t.Fatal(err)
	}
	ds, err := r.Receive(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 2)
	go func() {
		_, err := r.Receive(ctx, 1)
		waiting <- err
	}()
	go func() {
		waiting <- optional[spi.Streamer](c).Await(ctx, "q", 0, 1)
	}()
	for range 2 {
		if err := c.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	check := func(what string, err error) {
		if om.CodeOf(err) != om.CodeClosed {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 2 {
		check("waiting for a message", <-waiting)
	}
	_, err = send(ctx, s, message("q", 0, nil))
	check("send", err)
	_, err = r.Receive(ctx, 1)
	check("receive", err)
	check("ack", ack(ctx, r, ds...))
	_, err = c.NewSender(ctx, spi.SenderConfig{})
	check("new sender", err)
	_, err = c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	check("new receiver", err)
	_, err = optional[spi.Streamer](c).ReadAt(ctx, "q", 0, 0, 1)
	check("read", err)
	check("ping", optional[spi.Pinger](c).Ping(ctx))
	if err := errors.Join(s.Close(ctx), r.Close(ctx)); err != nil {
		t.Errorf("close of a sender and a receiver: %v", err)
	}
}
