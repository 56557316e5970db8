package stdio

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// dregs is how long is waited for what an ended child still has in its pipes,
// and for the exit of one that closed them.
const dregs = 250 * time.Millisecond

// child is a process with pipes to its three files. It runs until stop.
type child struct {
	cmd     *exec.Cmd
	in      *os.File
	out     *os.File
	read    chan struct{} // closed by who reads out, when that is over
	exited  chan struct{} // closed when the process was reaped; cmd.ProcessState is set
	drained chan struct{} // closed when the error output is over
	errs    *os.File
	tail    tail
}

func start(c Command) (*child, error) {
	p := &child{read: make(chan struct{}), exited: make(chan struct{}), drained: make(chan struct{})}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Dir, p.cmd.Env = c.Dir, c.Env
	ownGroup(p.cmd)
	var theirs, ours []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close()
		}
	}
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(theirs)
			closeAll(ours)
			return nil, err
		}
		if len(ours) == 0 { // the first is the input
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	p.in, p.out, p.errs = ours[0], ours[1], ours[2]
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err := p.cmd.Start()
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	p.tail.to = c.Stderr
	go func() {
		defer close(p.drained)
		_, _ = io.Copy(&p.tail, p.errs)
	}()
	go func() {
		_ = p.cmd.Wait()
		killGroup(p.cmd.Process) // what it left behind
		close(p.exited)
	}()
	return p, nil
}

// stop closes the child's input, gives it grace to end, kills it if it does
// not, and releases the pipes. It is called once.
func (p *child) stop(grace time.Duration) (killed bool) {
	_ = p.in.Close()
	if !within(grace, p.exited) {
		killed = true
		killGroup(p.cmd.Process)
		<-p.exited
	}
	// A process that left the group may hold the pipes open.
	within(dregs, p.drained)
	_ = p.errs.Close()
	<-p.drained
	within(dregs, p.read)
	_ = p.out.Close()
	return killed
}

// within reports whether done was closed before d was over.
func within(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// tailSize is how much of the error output is kept.
const tailSize = 2 << 10

// tail is a writer that keeps the end of what was written and hands all of it
// to another writer.
type tail struct {
	to io.Writer // may be nil

	mu   sync.Mutex
	kept []byte
	cut  bool
}

func (t *tail) Write(b []byte) (int, error) {
	if t.to != nil {
		if _, err := t.to.Write(b); err != nil {
			t.to = nil
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.cut = true
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := string(bytes.TrimSpace(t.kept))
	if t.cut {
		_, rest, ok := strings.Cut(s, "\n")
		if ok {
			s = rest
		}
		s = "…" + s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// lockedWriter lets several children share a writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
