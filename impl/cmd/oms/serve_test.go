package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// running is a command that runs until it is stopped.
type running struct {
	t      *testing.T
	url    string
	stop   context.CancelFunc
	mu     sync.Mutex
	stderr bytes.Buffer
	code   chan int
	out    chan string // what it printed after its first line
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stderr.Write(p)
}

func (r *running) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stderr.String()
}

// startDev runs oms dev and waits for its first line.
func startDev(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, stop: cancel, code: make(chan int, 1), out: make(chan string, 1)}
	in, out := io.Pipe()
	go func() {
		r.code <- run(ctx, append([]string{"dev", "--listen", "127.0.0.1:0"}, args...), out, r)
		_ = out.Close()
	}()
	lines := bufio.NewReader(in)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err, r.log())
	}
	r.url = strings.TrimSpace(line)
	go func() {
		rest, _ := io.ReadAll(lines)
		r.out <- string(rest)
	}()
	return r
}

// end stops the command and returns what it had printed.
func (r *running) end() string {
	r.t.Helper()
	r.stop()
	if code := <-r.code; code != 0 {
		r.t.Errorf("status %d\n%s", code, r.log())
	}
	if !strings.Contains(r.log(), "msg=stopped") {
		r.t.Errorf("it does not say that it has stopped: %s", r.log())
	}
	return <-r.out
}

func sendAndReceive(t *testing.T, url string, create bool) (body string) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ap, err := oms.Open(ctx, url)
	must(err)
	defer func() { must(ap.Close(ctx)) }()
	if create {
		must(ap.Resources().CreateQueue(ctx, openmessaging.QueueConfig{Name: "q"}))
		p, err := ap.NewProducer(ctx)
		must(err)
		_, err = p.Send(ctx, openmessaging.NewMessage("q", []byte("kept")))
		must(err)
	}
	c, err := ap.NewPullConsumer(ctx, openmessaging.WithGroup("g"))
	must(err)
	must(c.Bind(ctx, "q"))
	d, err := c.Receive(ctx)
	must(err)
	return string(d.Body)
}

func TestDev(t *testing.T) {
	r := startDev(t)
	if !strings.HasPrefix(r.url, "oms:oms://127.0.0.1:") || !strings.HasSuffix(r.url, "/default") {
		t.Errorf("the first line is %q", r.url)
	}
	if got := sendAndReceive(t, r.url, true); got != "kept" {
		t.Errorf("received %q", got)
	}
	code, _, stderr := command(t, "bench", "send", "--messages", "50", "--producers", "2", "--url", r.url)
	if code != 0 {
		t.Errorf("status %d: %s", code, stderr)
	}
	if rest := r.end(); !strings.Contains(rest, "--url "+r.url) || !strings.Contains(rest, fmt.Sprintf("oms.Open(ctx, %q)", r.url)) {
		t.Errorf("it printed %s", rest)
	}
}

func TestDevKeepsWithPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := startDev(t, "--path", dir)
	sendAndReceive(t, r.url, true)
	r.end()
	r = startDev(t, "--path", dir)
	if got := sendAndReceive(t, r.url, false); got != "kept" {
		t.Errorf("received %q", got)
	}
	r.end()
}

func TestServeRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		part string
	}{
		{nil, "path: say in which folder"},
		{[]string{"--path", dir, "--listen", "0.0.0.0:7650"}, "can be reached from other machines"},
		{[]string{"--path", dir, "--listen", ":7650"}, "can be reached from other machines"},
		{[]string{"--path", dir, "--listen", "example.com:7650"}, "can be reached from other machines"},
		{[]string{"--path", dir, "--listen", "7650"}, "missing port"},
		{[]string{"--path", dir, "--listen", l.Addr().String()}, "in use"},
	} {
		code, _, stderr := command(t, append([]string{"serve"}, c.args...)...)
		if code != 2 || !strings.Contains(stderr, c.part) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d: %s", c.args, code, stderr)
		}
	}
	for _, listen := range []string{":0", "0.0.0.0:0", "example.com:7650"} {
		if code, out, stderr := command(t, "dev", "--listen", listen); code != 2 || out != "" || !strings.Contains(stderr, "this broker asks nobody who he is") {
			t.Errorf("dev at %s: status %d: %s%s", listen, code, out, stderr)
		}
	}
	r := startDev(t, "--path", dir)
	code, _, stderr := command(t, "serve", "--path", dir, "--listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(stderr, "is held by process") {
		t.Errorf("a store in use: status %d: %s", code, stderr)
	}
	r.end()
}

func TestPrintConfig(t *testing.T) {
	t.Setenv("OMS_DRAIN", "7s")
	t.Setenv("OMS_DRIAN", "8s")
	t.Setenv("OMS_INIT_ADMIN_PASSWORD", "hunter2")
	code, out, stderr := command(t, "serve", "--path", "data", "--print-config")
	for _, part := range []string{"path: data ", "# flag --path\n", "drain: 7s ", "# environment OMS_DRAIN\n", "[redacted]"} {
		if code != 0 || !strings.Contains(out, part) {
			t.Errorf("status %d, %q is not in %s%s", code, part, out, stderr)
		}
	}
	if strings.Contains(out+stderr, "hunter2") {
		t.Errorf("a secret is printed: %s%s", out, stderr)
	}
	t.Setenv("OMS_INIT_ADMIN_PASSWORD", "")
	code, out, stderr = command(t, "serve", "--path", "data", "--check")
	if code != 0 || out != "the configuration can be used\n" || !strings.Contains(stderr, "OMS_DRIAN; is OMS_DRAIN meant?") {
		t.Errorf("status %d: %s%s", code, out, stderr)
	}
}
