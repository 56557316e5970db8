package badger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/report"
)

func lookup(t *testing.T) spi.Driver {
	d, err := spi.DefaultRegistry.Lookup("badger")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformanceInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tck.Check(t.Context(), tck.Target{URL: "oms:badger://local/tck?memory=true"}, tck.Selection{})
		for _, c := range r.Cases {
			if c.Verdict == report.Fail || c.Verdict == report.Error {
				t.Errorf("%s: %s: %s\n%s", c.Name(), c.Verdict, c.Message, strings.Join(c.Log, "\n"))
			}
		}
		if r.Conclusion != report.Conformant {
			t.Errorf("%s: %s", r.Conclusion, r.Reason)
		}
	})
}

func TestConformanceOnDisk(t *testing.T) {
	m := &machine{Driver: lookup(t), parent: t.TempDir()}
	m.dir = filepath.Join(m.parent, "store")
	tck.Run(t, tck.Target{
		URL:    badger.URL(m.dir, "retain_bytes", "256MB"), // small files, which kill copies
		Driver: m,
		Faults: tck.Faults{Restart: m.restart, Kill: m.kill},
	})
}

// machine is the driver on a machine that can be restarted and killed.
type machine struct {
	spi.Driver
	parent string

	mu    sync.Mutex
	dir   string
	kills int
	open  []spi.Conn
}

// Open opens the store that the machine has now, whatever path the URL names.
func (m *machine) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cfg.URL = cfg.URL.Clone()
	cfg.URL.Options.Set("path", m.dir)
	c, err := m.Driver.Open(ctx, cfg)
	if err == nil {
		m.open = append(m.open, c)
	}
	return c, err
}

// restart closes the store in good order.
func (m *machine) restart(ctx context.Context) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.open {
		err = errors.Join(err, c.Close(ctx))
	}
	m.open = nil
	return err
}

// kill goes on with the files as they are at this moment, while the store is
// open: what a process leaves that is killed.
func (m *machine) kill(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kills++
	next := filepath.Join(m.parent, "killed-"+string(rune('0'+m.kills)))
	if err := os.CopyFS(next, os.DirFS(m.dir)); err != nil {
		return err
	}
	m.dir = next
	return nil
}
