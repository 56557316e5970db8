package nats_test

import (
	"context"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
		Faults:      tck.Faults{Restart: m.restart, Kill: m.kill},
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
// a power failure does. The server writes the progress of consumers a moment
// after it confirms it, which is awaited; see docs/drivers.md.
func (m *machine) kill(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		m.kills++
		next := filepath.Join(m.parent, "killed-"+strconv.Itoa(m.kills))
		if err := natsserver.Copy(next, m.dir); err != nil {
			return err
		}
		same, err := m.sameProgress(ctx, next)
		if err != nil {
			return err
		}
		if same {
			port := portOf(m.server)
			natsserver.Stop(m.server)
			m.dir = next
			return m.start(port)
		}
	}
}

// sameProgress reports whether the consumers in a copy of the server's folder
// are where the server's are. It starts another server on a copy of the copy.
func (m *machine) sameProgress(ctx context.Context, dir string) (bool, error) {
	again := dir + "-again"
	if err := natsserver.Copy(again, dir); err != nil {
		return false, err
	}
	s, err := natsserver.Start(again, nil)
	if err != nil {
		return false, err
	}
	defer natsserver.Stop(s)
	now, err := progress(ctx, m.server)
	if err != nil {
		return false, err
	}
	then, err := progress(ctx, s)
	return maps.Equal(now, then), err
}

type position struct {
	floor   uint64
	pending int
}

// progress returns where all consumers of a server are.
func progress(ctx context.Context, s *server.Server) (map[string]position, error) {
	nc, err := nats.Connect("nats://"+natsserver.Address(s), nats.UserInfo("app", "app"))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	all := make(map[string]position)
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		stream, err := js.Stream(ctx, info.Config.Name)
		if err != nil {
			return nil, err
		}
		consumers := stream.ListConsumers(ctx)
		for c := range consumers.Info() {
			all[c.Stream+" "+c.Name] = position{c.AckFloor.Stream, c.NumAckPending}
		}
		if err := consumers.Err(); err != nil {
			return nil, err
		}
	}
	return all, streams.Err()
}

func portOf(s *server.Server) int {
	_, port, _ := net.SplitHostPort(natsserver.Address(s))
	n, _ := strconv.Atoi(port)
	return n
}
