package serve

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// closes checks that the server closes a connection.
func (m *machine) closes(c net.Conn, what string) {
	m.Helper()
	m.must(c.SetReadDeadline(time.Now().Add(20 * time.Second)))
	if _, err := io.Copy(io.Discard, c); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			m.Errorf("%s: the server keeps the connection", what)
		}
	}
	_ = c.Close()
}

func (m *machine) connect() net.Conn {
	m.Helper()
	c, err := net.Dial("tcp", m.address)
	m.must(err)
	m.Cleanup(func() { _ = c.Close() })
	return c
}

// TestOtherBytesOnATLSPort speaks other things than HTTP/2 over TLS, and TLS as it
// was: each connection ends, and a friend's goes on.
func TestOtherBytesOnATLSPort(t *testing.T) {
	a := newAuthority(t)
	m := start(t, a.secured)
	m.ca = a.ca()
	friend := m.open(as("root", rootKey))
	for what, said := range map[string]string{
		"HTTP/2 in clear": preface, "HTTP/1 in clear": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "zeros": string(make([]byte, 4096)),
		"a hello that lies": "\x16\x03\x01\xff\xff\x01\xff\xff\xff", "half a hello": "\x16\x03\x01\x02\x00\x01",
	} {
		c := m.connect()
		_, err := io.WriteString(c, said)
		m.must(err)
		if what == "half a hello" {
			m.must(c.(*net.TCPConn).CloseWrite())
		}
		m.closes(c, what)
	}
	for what, config := range map[string]*tls.Config{
		"HTTP/1 over TLS": {NextProtos: []string{"http/1.1"}}, "nothing agreed": {}, "TLS 1.1": {NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
	} {
		config.RootCAs, config.ServerName = pool(t, a.ca()), "localhost"
		c := tls.Client(m.connect(), config)
		if c.HandshakeContext(t.Context()) == nil {
			_, _ = io.WriteString(c, "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n")
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if answer, err := io.ReadAll(c); strings.Contains(string(answer), "200") {
				t.Errorf("%s: %s", what, answer)
			} else if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Errorf("%s: the server keeps the connection", what)
			}
		}
		_ = c.Close()
	}
	m.must(friend.Resources().CreateNamespace(t.Context(), "undisturbed"))
	m.until("the connections are counted as closed", func() bool {
		_, body := m.get("/metrics")
		return strings.Contains(body, "\noms_connections 1\n")
	})
}

// TestStrangersMaySendLittle has calls of many bytes without a login: they are
// cut off before they are read whole.
func TestStrangersMaySendLittle(t *testing.T) {
	m := start(t, nil)
	friend := m.open(as("root", rootKey))
	big := strings.Repeat("n", 10<<20)
	for what, call := range map[string]func(grpc.ClientConnInterface) error{
		"a call": func(cc grpc.ClientConnInterface) error {
			_, err := wirepb.NewResourceServiceClient(cc).CreateNamespace(t.Context(), &wirepb.CreateNamespaceRequest{Namespace: big})
			return err
		},
		"a login": func(cc grpc.ClientConnInterface) error {
			s, err := wirepb.NewLoginServiceClient(cc).Login(t.Context())
			m.must(err)
			_ = s.Send(&wirepb.LoginRequest{Message: []byte(big)})
			_, err = s.Recv()
			return err
		},
	} {
		if err := call(m.raw()); code(err) != om.CodeServiceUnavailable { // else it was read whole and judged
			t.Errorf("%s of many bytes is not cut off: %v", what, err)
		}
	}
	m.withQueues("q")
	_, err := m.producer(friend).Send(t.Context(), om.NewMessage("q", []byte(big[:3<<20]))) // who has logged in may
	m.must(err)
}

// TestSlowStrangerIsDropped sends a byte again and again: that it says something
// gives it no more time to log in.
func TestSlowStrangerIsDropped(t *testing.T) {
	m := start(t, func(l *Loaded) { l.Auth.LoginTime = 2 * time.Second })
	friend := m.open(as("root", rootKey))
	for _, begin := range []string{"", preface} {
		c := m.connect()
		_, err := io.WriteString(c, begin)
		m.must(err)
		over := make(chan struct{})
		go func() {
			defer close(over)
			for i := 0; ; i = (i + 1) % len(preface) {
				b := preface[i]
				if begin != "" {
					b = 0 // a frame of nothing, by bytes
				}
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				<-time.After(time.Millisecond)
			}
		}()
		m.closes(c, "a slow one")
		<-over
	}
	m.must(friend.Resources().CreateNamespace(t.Context(), "undisturbed"))
}

// TestOthersGetInBesideStrangers fills what one address may have waiting for
// logins, and comes from another.
func TestOthersGetInBesideStrangers(t *testing.T) {
	m := start(t, func(l *Loaded) { l.Auth.LoginTime = time.Minute })
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 99)}}
	for range 200 {
		c, err := dialer.Dial("tcp", m.address)
		if err != nil {
			t.Fatalf("this test wants all of 127.0.0.0/8 to be this machine's: %v", err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	m.must(m.open(as("root", rootKey)).Resources().CreateNamespace(t.Context(), "in"))
	if n := strings.Count(m.log.String(), "connections are refused"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
}

// TestGuessingIsLoggedOnce guesses many times: each is refused, soon without a
// look at it, and the log does not grow with it.
func TestGuessingIsLoggedOnce(t *testing.T) {
	m := start(t, nil)
	later := 0
	for range 40 {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+strings.Repeat("x", 100))
		_, err := wirepb.NewMessagingServiceClient(m.raw()).Open(ctx, &wirepb.OpenRequest{Protocol: wire.Protocol})
		switch code(err) {
		case om.CodeUnauthorized:
		case om.CodeServiceUnavailable:
			later++
		default:
			t.Fatal(err)
		}
	}
	if later == 0 {
		t.Error("nobody has to wait")
	}
	if n := strings.Count(m.log.String(), "login refused"); n == 0 || n > 11 {
		t.Errorf("%d lines tell of 40 guesses", n)
	}
	_, body := m.get("/metrics")
	contains(t, body, "oms_logins_refused_total 40\n")
}
