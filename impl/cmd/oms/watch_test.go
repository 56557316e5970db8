package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

func TestRates(t *testing.T) {
	at := time.Unix(1e9, 0)
	delayed, oldest := int64(3), 1.5
	group := func(name string, went int64) groupLook {
		return groupLook{topGroupJSON{Queue: "q", Group: name, Lag: 7, Oldest: &oldest}, went}
	}
	before := look{at, []queueLook{{topQueueJSON{Name: "q"}, 50}}, []groupLook{group("g", 20), group("back", 20)}}
	now := look{
		at.Add(2 * time.Second),
		[]queueLook{{topQueueJSON{Name: "q", Partitions: 1, Messages: 50, Delayed: &delayed}, 90}, {topQueueJSON{Name: "new", Messages: 6}, 6}},
		[]groupLook{group("g", 30), group("back", 0), group("fresh", 50)},
	}
	v := now.since(before)
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2001-09-09T01:46:42.000Z","seconds":2,"in_per_second":23,"out_per_second":5,` +
		`"queues":[{"name":"q","partitions":1,"messages":50,"delayed":3,"prepared":null,"in_per_second":20},{"name":"new","partitions":0,"messages":6,"delayed":null,"prepared":null,"in_per_second":3}],` +
		`"groups":[{"queue":"q","group":"g","consumers":0,"lag":7,"oldest_seconds":1.5,"in_flight":0,"waiting":null,"dead":null,"out_per_second":5},` +
		`{"queue":"q","group":"back","consumers":0,"lag":7,"oldest_seconds":1.5,"in_flight":0,"waiting":null,"dead":null,"out_per_second":0},` +
		`{"queue":"q","group":"fresh","consumers":0,"lag":7,"oldest_seconds":1.5,"in_flight":0,"waiting":null,"dead":null,"out_per_second":0}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestScreenIsCut(t *testing.T) {
	got := screen("longer than that\ntwo\nthree\nfour\n", 6, 3)
	if want := "\x1b[Hlonger\x1b[K\ntwo\x1b[K\n\x1b[J"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTop(t *testing.T) {
	r := startDev(t)
	sendAndReceive(t, r.url, true)
	code, stdout, stderr := command(t, "top", "--once", "--json", "--interval", "100ms", "--url", r.url)
	var v topJSON
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 0 || len(v.Queues) != 1 || v.Queues[0].Messages != 1 || len(v.Groups) != 1 || v.Groups[0].Lag != 1 {
		t.Errorf("status %d: %s%s", code, stdout, stderr)
	}
	code, stdout, _ = command(t, "top", "--once", "--interval", "100ms", "--url", r.url)
	if code != 0 || !strings.Contains(stdout, "IN/S") || !strings.Contains(stdout, "OUT/S") || strings.Contains(stdout, "\x1b") {
		t.Errorf("status %d: %s", code, stdout)
	}
	code, _, stderr = command(t, "top", "--interval", "1ms", "--url", r.url)
	if code != 2 || !strings.Contains(stderr, "is shorter than") {
		t.Errorf("status %d: %s", code, stderr)
	}

	// It goes on until it is interrupted, which is a good end.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	in, out := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"top", "--json", "--interval", "100ms", "--url", r.url}, out, io.Discard)
		_ = out.Close()
	}()
	views := json.NewDecoder(in)
	for range 2 {
		if err := views.Decode(&v); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	_, _ = io.Copy(io.Discard, in)
	if code := <-status; code != 0 {
		t.Errorf("status %d", code)
	}
	r.end()
}

// found returns the findings of a check with a status.
func found(x examination, check, status string) (all []finding) {
	for _, f := range x.Findings {
		if f.Check == check && f.Status == status {
			all = append(all, f)
		}
	}
	return all
}

func doctor(t *testing.T, args ...string) (code int, x examination) {
	t.Helper()
	code, stdout, stderr := command(t, append([]string{"doctor", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &x); err != nil {
		t.Fatalf("%v: status %d: %s%s", args, code, stdout, stderr)
	}
	if (code != 0) != (x.Errors > 0) || code > 1 {
		t.Errorf("%v: status %d with %d errors", args, code, x.Errors)
	}
	return code, x
}

func TestDoctor(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	path := filepath.Join(t.TempDir(), "data")
	r := startDev(t, "--path", path)
	code, x := doctor(t, "--url", r.url, "--path", path)
	for _, check := range []string{"version", "store", "permissions", "context", "connection", "server", "clock"} {
		if len(found(x, check, isOK)) != 1 {
			t.Errorf("%s: %+v", check, x.Findings)
		}
	}
	if code != 0 {
		t.Errorf("status %d: %+v", code, x)
	}
	code, stdout, _ := command(t, "doctor", "--url", r.url)
	if code != 0 || !strings.Contains(stdout, "connection") || !strings.Contains(stdout, "answers in") {
		t.Errorf("status %d: %s", code, stdout)
	}
	url := r.url
	r.end()
	for _, c := range []struct {
		check, part string
		args        []string
	}{
		{"connection", "connect", []string{"--url", url}},
		{"context", "no messaging system is named", nil},
		{"context", "no context is named", []string{"--context", "nobody"}},
		{"URL", "malformed", []string{"--url", "nonsense"}},
		{"store", "holds no store", []string{"--path", filepath.Dir(path)}},
		{"store", "holds no store", []string{"--url", "oms:badger://local/default?path=" + filepath.Dir(path) + "/none"}},
		{"store", "is no folder", []string{"--path", filepath.Join(path, "STORE")}},
	} {
		code, x := doctor(t, c.args...)
		all := found(x, c.check, isError)
		if code != 1 || len(all) != 1 || !strings.Contains(all[0].Found, c.part) {
			t.Errorf("%v: status %d: %+v", c.args, code, x.Findings)
		}
	}
	if _, err := os.Stat(filepath.Dir(path) + "/none"); err == nil {
		t.Error("the doctor has made a store")
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, x := doctor(t, "--path", path); len(found(x, "permissions", isWarning)) != 1 {
		t.Errorf("a folder that others may read: %+v", x.Findings)
	}
}

func TestDoctorReadsSecretsModes(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := startDev(t)
	defer r.end()
	if code, _, stderr := command(t, "context", "add", "here", "--url", r.url, "--account", "a", "--key-file", key); code != 0 {
		t.Fatal(stderr)
	}
	if _, x := doctor(t); len(found(x, "secret", isWarning)) != 1 {
		t.Errorf("a key that others may read: %+v", x.Findings)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if code, x := doctor(t); code != 1 || len(found(x, "secret", isError)) != 1 {
		t.Errorf("no key: %+v", x.Findings)
	}
}

func TestDoctorJudgesTheServer(t *testing.T) {
	at := time.Unix(1e9, 0)
	well := func() *wirepb.StatusResponse {
		return &wirepb.StatusResponse{ServerVersion: server.Version, Now: at.UnixMilli(), Free: 10 << 30, Reserve: 1 << 28}
	}
	for _, c := range []struct {
		check, status string
		change        func(*wirepb.StatusResponse)
	}{
		{"server", isOK, func(*wirepb.StatusResponse) {}},
		{"clock", isOK, func(s *wirepb.StatusResponse) { s.Now += 900 }},
		{"clock", isWarning, func(s *wirepb.StatusResponse) { s.Now += 1500 }},
		{"clock", isWarning, func(s *wirepb.StatusResponse) { s.Now -= 1500 }},
		{"server", isWarning, func(s *wirepb.StatusResponse) { s.ServerVersion = "0.0.1" }},
		{"server", isError, func(s *wirepb.StatusResponse) { s.Refusal = "disk is nearly full" }},
		{"server's disk", isOK, func(*wirepb.StatusResponse) {}},
		{"server's disk", isWarning, func(s *wirepb.StatusResponse) { s.Free = 1 << 29 }},
		{"server's disk", isError, func(s *wirepb.StatusResponse) { s.Free = 1 << 20 }},
	} {
		s := well()
		c.change(s)
		var x examination
		x.told(s, at, 10*time.Millisecond)
		if len(found(x, c.check, c.status)) != 1 {
			t.Errorf("%s is not %s: %+v", c.check, c.status, x.Findings)
		}
	}
}
