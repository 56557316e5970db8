package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/contexts"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The outcomes of a check.
const (
	isOK      = "ok"
	isWarning = "warning"
	isError   = "error"
)

// finding is what a check has found.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

// examination is one run of oms doctor.
type examination struct {
	Findings []finding `json:"findings"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
}

func (x *examination) add(check, status, advice, format string, args ...any) {
	f := finding{check, status, fmt.Sprintf(format, args...), advice}
	switch status {
	case isOK:
		f.Advice = ""
	case isWarning:
		x.Warnings++
	case isError:
		x.Errors++
	}
	x.Findings = append(x.Findings, f)
}

func doctorCommand() *cobra.Command {
	var t target
	var path string
	asJSON := false
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with a messaging system and this machine",
		Long: `Look for what is wrong: the version, the limit of open files, the context and the
files of its secrets, the connection and how long it takes, the server's clock,
disk and version; with --path, or a URL of the driver badger, the folder of the
store, its permissions and the space that is free. Nothing is changed.

The exit status is 0 when there is no error, 1 when there is one; warnings do not
count.`,
		Example: `  oms doctor
  oms doctor --json
  oms doctor --path ./data`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			x := &examination{Findings: []finding{}}
			x.machine()
			x.system(c, &t, path)
			r := report{header: []string{"CHECK", "STATUS", "FOUND"}, value: x}
			for _, f := range x.Findings {
				r.row(f.Check, f.Status, f.Found)
				if f.Advice != "" {
					r.row("", "", "-> "+f.Advice)
				}
			}
			if err := r.print(c, asJSON); err != nil {
				return failed(err)
			}
			if x.Errors > 0 {
				return &exitError{exitFailed, nil}
			}
			return nil
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&path, "path", "", "folder of a store to look at")
	return c
}

// fewFiles is the limit of open files below which a server runs short of them.
const fewFiles = 4096

func (x *examination) machine() {
	x.add("version", isOK, "", "oms %s, %s, %s/%s", server.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	limit, err := fileLimit()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		x.add("open files", isWarning, "", "the limit is not known: %v", err)
	case limit < fewFiles:
		x.add("open files", isWarning, "have it raised: ulimit -Hn, or LimitNOFILE= of systemd", "the limit is %d; a server with many clients needs more", limit)
	default:
		x.add("open files", isOK, "", "the limit is %d", limit)
	}
}

// system looks at the folder and at what the context names.
func (x *examination) system(c *cobra.Command, t *target, path string) {
	choice, err := contexts.Choose(t.url, t.context)
	none := errors.Is(err, contexts.ErrNone)
	if path != "" {
		x.store(path)
		if none {
			return
		}
	}
	if err != nil {
		x.add("context", isError, "", "%v", err)
		return
	}
	name := choice.Name
	if name == "" {
		name = choice.URL
	}
	x.add("context", isOK, "", "%s, chosen by %s", name, choice.Source)
	x.secrets(choice)
	u, err := om.ParseURL(choice.URL)
	if err != nil {
		x.add("URL", isError, "correct it; oms context add saves it anew", "%v", err)
		return
	}
	if folder := u.Options.Get("path"); u.Driver == "badger" && folder != "" && folder != path {
		if !x.store(folder) {
			return // connecting would make it
		}
	}
	x.connection(c, choice)
}

func (x *examination) secrets(choice contexts.Choice) {
	for _, file := range []string{choice.KeyFile, choice.TokenFile} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		switch {
		case err != nil:
			x.add("secret", isError, "write the file, or save the context with another one", "%v", err)
		case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
			x.add("secret", isWarning, "chmod 600 "+file, "others may read %s", file)
		default:
			x.add("secret", isOK, "", "%s is there, and for its owner only", file)
		}
	}
}

// leastFree is the free space below which the broker refuses messages by default.
const leastFree = 256 << 20

// store looks at the folder of a store without opening it, and reports whether
// there is one.
func (x *examination) store(path string) bool {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", path)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(path, "STORE"))
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		x.add("store", isError, "check the path; oms serve --path makes a store, oms restore one of a backup", "%s holds no store", path)
		return false
	case err != nil:
		x.add("store", isError, "", "%v", err)
		return false
	}
	x.add("store", isOK, "", "%s", path)
	switch err := mayWrite(path); {
	case err != nil:
		x.add("permissions", isError, "run as the folder's owner, or have it given to you", "this user may not write to %s: %v", path, err)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		x.add("permissions", isWarning, "chmod 700 "+path, "others may look into %s (mode %#o)", path, info.Mode().Perm())
	default:
		x.add("permissions", isOK, "", "for its owner only, who is this user")
	}
	free, err := freeBytes(path)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		x.add("disk", isWarning, "", "free space is not known: %v", err)
	default:
		x.disk("disk", free, leastFree)
	}
	return true
}

func (x *examination) disk(check string, free, reserve int64) {
	size := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
	switch {
	case free < reserve:
		x.add(check, isError, "free some space, or limit the store with retain_bytes or retain_age",
			"%s are free, below the reserve of %s: messages are refused", size(free), size(reserve))
	case free < 4*reserve:
		x.add(check, isWarning, "free some space, or limit the store with retain_bytes or retain_age",
			"%s are free; below %s messages are refused", size(free), size(reserve))
	default:
		x.add(check, isOK, "", "%s are free", size(free))
	}
}

// connection connects, and asks the system how it is.
func (x *examination) connection(c *cobra.Command, choice contexts.Choice) {
	began := time.Now()
	ap, err := connect(c, choice)
	if err != nil {
		x.add("connection", isError, connectAdvice(err), "%v", err)
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		_ = ap.Close(ctx) // nothing was done
	}()
	ctx, cancel := context.WithTimeout(c.Context(), connectWithin)
	defer cancel()
	connected := time.Since(began)
	began = time.Now()
	switch err := ap.Ping(ctx); {
	case errors.Is(err, om.ErrUnsupported):
		x.add("connection", isOK, "", "connected in %s", connected.Round(time.Microsecond))
	case err != nil:
		x.add("connection", isError, connectAdvice(err), "connected, but it cannot store: %v", err)
	default:
		x.add("connection", isOK, "", "connected in %s, answers in %s", connected.Round(time.Microsecond), time.Since(began).Round(time.Microsecond))
	}
	var b *broker.Broker
	var cc grpc.ClientConnInterface
	switch {
	case ap.As(&b):
		if err := b.Ready(); err != nil {
			x.add("broker", isError, "", "it refuses messages: %v", err)
		}
	case ap.As(&cc):
		x.server(ctx, cc)
	}
}

func connectAdvice(err error) string {
	switch om.CodeOf(err) {
	case om.CodeServiceUnavailable, om.CodeTimeout:
		return "is the server running, at this address and port, and does a firewall let you through?"
	case om.CodeUnauthorized:
		return "check the account and its key; oms context show tells where they come from"
	}
	return ""
}

// farOff is by how much a clock may be wrong.
const farOff = time.Second

func (x *examination) server(ctx context.Context, cc grpc.ClientConnInterface) {
	began := time.Now()
	s, err := wirepb.NewAdminServiceClient(cc).Status(ctx, &wirepb.StatusRequest{})
	took := time.Since(began)
	if err != nil {
		x.add("server", isWarning, "", "it does not tell how it is: %v", wire.FromStatus(ctx, err, "status", ""))
		return
	}
	x.told(s, began.Add(took/2), took)
}

// told judges what a server says of itself; at is when it said so.
func (x *examination) told(s *wirepb.StatusResponse, at time.Time, took time.Duration) {
	if s.GetServerVersion() != server.Version {
		x.add("server", isWarning, "use the same version on both sides", "it has version %s, this program %s", s.GetServerVersion(), server.Version)
	} else {
		x.add("server", isOK, "", "version %s, %s stored", s.GetServerVersion(), humanize.IBytes(uint64(max(0, s.GetStored()))))
	}
	if s.GetRefusal() != "" {
		x.add("server", isError, "", "it refuses messages: %s", s.GetRefusal())
	}
	off := time.UnixMilli(s.GetNow()).Sub(at).Round(time.Millisecond)
	if off.Abs() > farOff+took {
		x.add("clock", isWarning, "have both machines set their clocks by NTP: delays and expiry are by the clock", "the server's clock differs from this one by %s", off)
	} else {
		x.add("clock", isOK, "", "as on the server")
	}
	if s.GetReserve() > 0 {
		x.disk("server's disk", s.GetFree(), s.GetReserve())
	}
}
