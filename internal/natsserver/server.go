// Package natsserver runs NATS servers with JetStream inside a test's process,
// on random ports of the loopback.
package natsserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTime is within which time a server must be ready.
const startTime = 30 * time.Second

// Start starts a server that stores in a folder and syncs before it
// acknowledges, unless change says otherwise. It logs nothing and leaves signals
// alone. Shut it down with [Stop].
func Start(dir string, change func(*server.Options)) (*server.Server, error) {
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, SyncAlways: true, MaxPayload: 8 << 20,
	}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(startTime) {
		Stop(s)
		return nil, fmt.Errorf("the NATS server was not ready within %v", startTime)
	}
	return s, nil
}

// Stop shuts a server down and waits until it has gone.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Address returns host and port of a server.
func Address(s *server.Server) string { return s.Addr().String() }

// Cluster is three servers that form a cluster.
type Cluster struct {
	Servers [3]*server.Server // nil for one that is killed
}

// StartCluster starts three servers that store below dir.
func StartCluster(dir string) (*Cluster, error) {
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	var routes []string
	for _, port := range ports[:3] {
		routes = append(routes, "nats://127.0.0.1:"+strconv.Itoa(port))
	}
	c := &Cluster{}
	for i := range c.Servers {
		change := func(o *server.Options) {
			o.Port, o.ServerName = ports[3+i], "n"+strconv.Itoa(i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}
		s, err := Start(filepath.Join(dir, strconv.Itoa(i)), change)
		if err != nil {
			c.Stop()
			return nil, err
		}
		c.Servers[i] = s
	}
	for end := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		for _, s := range c.Servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.Servers) {
				return c, nil
			}
		}
		if time.Now().After(end) {
			c.Stop()
			return nil, errors.New("the cluster has no leader")
		}
	}
}

// Addresses returns host and port of all servers, comma-separated.
func (c *Cluster) Addresses() string {
	var all []string
	for _, s := range c.Servers {
		if s != nil {
			all = append(all, Address(s))
		}
	}
	return strings.Join(all, ",")
}

// Kill ends a server.
func (c *Cluster) Kill(i int) {
	Stop(c.Servers[i])
	c.Servers[i] = nil
}

// Stop stops all servers.
func (c *Cluster) Stop() {
	for i, s := range c.Servers {
		if s != nil {
			c.Kill(i)
		}
	}
}

// freePorts returns ports of the loopback that nobody listens to.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Copy copies the files of a server's folder as they are at this moment, while
// the server writes them: what a process that is killed leaves. A file that goes
// away meanwhile is left out.
func Copy(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			target := filepath.Join(to, strings.TrimPrefix(path, from))
			if d.IsDir() {
				return os.MkdirAll(target, 0o700)
			}
			var data []byte
			if data, err = os.ReadFile(path); err == nil {
				return os.WriteFile(target, data, 0o600)
			}
		}
		if errors.Is(err, fs.ErrNotExist) && path != from {
			return nil
		}
		return err
	})
}
