//go:build unix

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

// deployed is a server that runs as a process with the example configuration.
type deployed struct {
	*testing.T
	dir, address string
	cmd          *exec.Cmd
	lines        chan map[string]any // of the log
}

// deploy writes the example configuration with the folders and addresses of the
// test, and all that it names.
func deploy(t *testing.T) *deployed {
	t.Helper()
	d := &deployed{T: t, dir: t.TempDir()}
	content, err := os.ReadFile("deploy/oms.yaml")
	d.must(err)
	text := strings.NewReplacer("/etc/oms", d.dir, "/var/lib/oms", filepath.Join(d.dir, "store"),
		"listen: :7650", "listen: 127.0.0.1:0", "127.0.0.1:7651", "127.0.0.1:0", "reserve: 1GiB", "reserve: 1MiB").Replace(string(content))
	d.write("oms.yaml", text)
	d.write("admin.password", rootKey+"\n")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	d.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	d.must(err)
	private, err := x509.MarshalECPrivateKey(key)
	d.must(err)
	d.write("server.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	d.write("server.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})))
	return d
}

func (d *deployed) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *deployed) write(name, content string) {
	d.Helper()
	d.must(os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600))
}

// begin starts the process and waits until it serves.
func (d *deployed) begin() {
	d.Helper()
	self, err := os.Executable()
	d.must(err)
	d.cmd = exec.CommandContext(d.Context(), self, "serve", "--config", filepath.Join(d.dir, "oms.yaml"))
	d.cmd.Env = append(os.Environ(), asProgram+"=1")
	log, err := d.cmd.StderrPipe()
	d.must(err)
	d.must(d.cmd.Start())
	d.lines = make(chan map[string]any, 1000)
	go func(to chan<- map[string]any) {
		defer close(to)
		for s := bufio.NewScanner(log); s.Scan(); {
			line := map[string]any{"msg": s.Text()} // when it is no JSON
			_ = json.Unmarshal(s.Bytes(), &line)
			to <- line
		}
	}(d.lines)
	d.address, _ = d.line("serving")["address"].(string)
}

// line waits for a line of the log.
func (d *deployed) line(message string) map[string]any {
	d.Helper()
	var before []any
	for line := range d.lines {
		if line["msg"] == message {
			return line
		}
		before = append(before, line)
	}
	d.Fatalf("%q is not in %v", message, before)
	return nil
}

// end has the process end in good order.
func (d *deployed) end() {
	d.Helper()
	d.must(d.cmd.Process.Signal(syscall.SIGTERM))
	d.line("stopped")
	for line := range d.lines {
		d.Errorf("after the end: %v", line)
	}
	d.must(d.cmd.Wait())
}

func (d *deployed) url() string {
	return remote.URL(d.address, "tls", "true", "ca", filepath.Join(d.dir, "server.pem"))
}

func (d *deployed) open() om.AccessPoint {
	d.Helper()
	ap, err := oms.Open(d.Context(), d.url(), oms.WithCredentials(func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: "admin", AccountKey: rootKey}, nil
	}))
	d.must(err)
	d.Cleanup(func() { _ = ap.Close(context.Background()) })
	return ap
}

// TestDeployedServer runs the example configuration: a user logs in over TLS,
// what is sent stays, SIGHUP has the file read again and SIGTERM ends it. A backup
// that is made meanwhile and restored has messages and users.
func TestDeployedServer(t *testing.T) {
	d := deploy(t)
	config := filepath.Join(d.dir, "oms.yaml")
	if code, out, stderr := command(t, "serve", "--config", config, "--check"); code != 0 {
		t.Fatal(code, out, stderr)
	}
	d.begin()
	ap := d.open()
	d.must(ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
	p, err := ap.NewProducer(t.Context())
	d.must(err)
	_, err = p.Send(t.Context(), om.NewMessage("q", []byte("kept")))
	d.must(err)
	content, err := os.ReadFile(config)
	d.must(err)
	d.write("oms.yaml", strings.Replace(string(content), "level: info ", "level: debug", 1))
	d.must(d.cmd.Process.Signal(syscall.SIGHUP))
	if line := d.line("the configuration was read again"); line["log.level"] != "debug" {
		t.Error(line)
	}
	s := newShell(t, strings.Replace(d.url(), "oms://", "oms://admin@", 1))
	s.env = append(s.env, "OMS_ACCOUNT_KEY="+rootKey)
	s.must("oms backup --to kept.oms && oms restore kept.oms --path restored")
	if code, out := s.run("OMS_ACCOUNT_KEY=wrong oms backup --to stolen.oms"); code != 1 || !strings.Contains(out, "1401") {
		t.Errorf("a backup for anybody: status %d: %s", code, out)
	}
	d.end()

	d.must(os.RemoveAll(filepath.Join(d.dir, "store")))
	d.must(os.Rename(filepath.Join(s.dir, "restored"), filepath.Join(d.dir, "store")))
	d.must(os.Remove(filepath.Join(d.dir, "admin.password"))) // who is there needs none
	d.begin()
	c, err := d.open().NewPullConsumer(t.Context(), om.WithGroup("g"))
	d.must(err)
	d.must(c.Bind(t.Context(), "q"))
	got, err := c.Receive(t.Context())
	d.must(err)
	if string(got.Body) != "kept" {
		t.Errorf("received %q", got.Body)
	}
	d.must(got.Ack(t.Context()))
	d.must(c.Close(t.Context()))
	d.end()
}

// TestUnitFile checks what the systemd unit runs and how it ends it.
func TestUnitFile(t *testing.T) {
	f, err := os.Open("deploy/oms.service")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		if !ok || values[name] != "" {
			t.Errorf("%q is no setting, or is there twice", line)
		}
		values[name] = value
	}
	wellFormed(t, strings.Replace(values["ExecStart"], "/usr/local/bin/oms ", "oms ", 1))
	for name, want := range map[string]string{
		"ExecReload": "/bin/kill -HUP $MAINPID", "RestartPreventExitStatus": "2", "StateDirectory": "oms", "TimeoutStopSec": "60", "User": "oms", "NoNewPrivileges": "yes",
	} {
		if values[name] != want {
			t.Errorf("%s is %q, not %q", name, values[name], want)
		}
	}
}
