package nats_test

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/openmessaging/openmessaging-go/impl/nats"
	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
)

func TestConformance(t *testing.T) {
	m := &machine{parent: t.TempDir(), users: true}
	if err := m.start(server.RANDOM_PORT); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { natsserver.Stop(m.server) })
	tck.Run(t, tck.Target{
		URL:         "oms:nats://" + natsserver.Address(m.server) + "/tck?sync=always",
		Credentials: secret("app"),
		ReadOnly:    secret("reader"),
		Faults:      tck.Faults{Restart: m.restart, Kill: m.kill, AckLag: 300 * time.Millisecond},
	})
}

func secret(name string) func(context.Context) (spi.Credentials, error) {
	return func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: name, AccountKey: name}, nil
	}
}

// machine is a server that can be restarted and killed.
type machine struct {
	parent string
	users  bool // it asks for credentials

	mu     sync.Mutex
	server *server.Server
	dir    string
	kills  int
}

func (m *machine) start(port int) error {
	if m.dir == "" {
		m.dir = filepath.Join(m.parent, "store")
	}
	s, err := natsserver.Start(m.dir, func(o *server.Options) {
		o.Port = port
		if m.users {
			o.Users = []*server.User{{Username: "app", Password: "app"}, {Username: "reader", Password: "reader", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{"oms.>"}},
			}}}
		}
	})
	if err == nil {
		m.server = s
	}
	return err
}

// restart stops the server in good order and starts it again.
func (m *machine) restart(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	port := portOf(m.server)
	natsserver.Stop(m.server)
	return m.start(port)
}

// kill goes on with the files as they are at this moment, while the server
// writes them: what a process leaves that is killed. It shows nothing of what
// a power failure does.
func (m *machine) kill(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kills++
	next := filepath.Join(m.parent, "killed-"+strconv.Itoa(m.kills))
	if err := natsserver.Copy(next, m.dir); err != nil {
		return err
	}
	port := portOf(m.server)
	natsserver.Stop(m.server)
	m.dir = next
	return m.start(port)
}

func portOf(s *server.Server) int {
	_, port, _ := net.SplitHostPort(natsserver.Address(s))
	n, _ := strconv.Atoi(port)
	return n
}

var _ spi.Driver = nats.Driver{}
