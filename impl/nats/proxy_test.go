package nats_test

import (
	"net"
	"sync"
	"testing"
)

// proxy stands between client and server and can stall, hold back answers, cut
// connections, and change what the client sends.
type proxy struct {
	to     string
	listen net.Listener
	all    sync.WaitGroup

	mu      sync.Mutex
	turn    sync.Cond
	stalled bool         // nothing passes
	held    bool         // nothing passes to the client
	rewrite func([]byte) // what passes to the server
	conns   map[net.Conn]bool
	closed  bool
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p := &proxy{to: to, listen: l, conns: map[net.Conn]bool{}}
	p.turn.L = &p.mu
	p.all.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		l.Close()
		p.cut()
		p.all.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listen.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.listen.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		if p.closed {
			in.Close()
			out.Close()
		}
		p.mu.Unlock()
		p.all.Go(func() { p.pass(out, in, false) })
		p.all.Go(func() { p.pass(in, out, true) })
	}
}

func (p *proxy) pass(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for p.conns[from] && (p.stalled || p.held && answers) {
			p.turn.Wait()
		}
		if p.rewrite != nil && !answers {
			p.rewrite(b[:n])
		}
		p.mu.Unlock()
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *proxy) change(rewrite func([]byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrite = rewrite
}

func (p *proxy) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = on
	p.turn.Broadcast()
}

func (p *proxy) holdAnswers(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = on
	p.turn.Broadcast()
}

// cut ends all connections; what is held back is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
	p.turn.Broadcast()
}
