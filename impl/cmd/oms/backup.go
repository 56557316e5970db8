package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/archive"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// backupJSON is what oms backup and oms restore print.
type backupJSON struct {
	File    string    `json:"file"`
	Path    string    `json:"path,omitempty"` // of the restored store
	Created time.Time `json:"created"`
	archive.Manifest
}

// snapshot is what a backup is made of.
type snapshot struct {
	commit  uint64
	storeID string
	bytes   int64
	parts   func(ctx context.Context, f func(store.Part) error) (store.Summary, error)
	close   func() error
}

func backupCommand() *cobra.Command {
	var t target
	var path, to string
	asJSON := false
	c := &cobra.Command{
		Use:   "backup --to FILE",
		Short: "Copy everything that a broker has stored into a file, while it runs",
		Long: `Copy everything that a broker has stored into a file: messages, queues, groups
with their progress, routes. The copy is of one moment: what was acknowledged
before it began is in it. The broker goes on meanwhile; what retention drops stays
on its disk until the copy is done. With --path a store is copied that no process
holds, without changing it.

The file is a tar archive with checksums: tar -xf, then sha256sum -c SHA256SUMS.
It gets its name when it is complete and synced; one that is there is not
overwritten.`,
		Example: `  oms backup --to monday.oms
  oms backup --path ./cold --to cold.oms --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return usage(c, errors.New("--to says into which file"))
			}
			if _, err := os.Stat(to); err == nil {
				return &exitError{exitUsage, fmt.Errorf("%s is there already; choose another name", to)}
			}
			if path != "" {
				if t.url != "" || t.context != "" {
					return usage(c, errors.New("--path goes with neither --url nor --context"))
				}
				shot, err := storeSnapshot(path)
				if err != nil {
					return failed(err)
				}
				return failed(backup(c.Context(), c, shot, to, asJSON))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				shot, err := ap.snapshot(ctx)
				if err != nil {
					return err
				}
				return backup(ctx, c, shot, to, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&to, "to", "", "file to write")
	c.Flags().StringVar(&path, "path", "", "folder of a store that no process holds, instead of a broker")
	return c
}

// backup writes the file under another name and gives it its own at the end.
func backup(ctx context.Context, c *cobra.Command, shot *snapshot, to string, asJSON bool) (err error) {
	defer func() { err = errors.Join(err, shot.close()) }()
	f, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".partial-*")
	if err != nil {
		return err
	}
	out := backupJSON{File: to, Created: time.Now().UTC().Truncate(time.Second)}
	progress := newBar(c.ErrOrStderr(), "copied", true)
	out.Manifest, err = writeArchive(ctx, f, shot, out.Created, progress)
	progress.finish()
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), to) // fails when somebody else has made it
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = os.Rename(f.Name(), to) // a file system without links
		}
	}
	if removeErr := os.Remove(f.Name()); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	if err != nil {
		return fmt.Errorf("no backup was made: %w", err)
	}
	return done(c, asJSON, out, "%s: %s and %s as of commit %d, %s in %s",
		to, counted(out.Messages, "message"), counted(out.StateValues, "state value"), out.Commit, humanize.IBytes(uint64(out.Bytes)), counted(int64(out.Parts), "part"))
}

func writeArchive(ctx context.Context, f io.Writer, shot *snapshot, now time.Time, progress *bar) (m archive.Manifest, err error) {
	w, err := archive.NewWriter(f, shot.commit, shot.storeID, now)
	if err != nil {
		return m, err
	}
	var copied int64
	sum, err := shot.parts(ctx, func(p store.Part) error {
		m.Parts++
		copied += int64(len(p.Data))
		progress.set(copied, max(copied, shot.bytes))
		return w.Part(p)
	})
	if err != nil {
		return m, err
	}
	m.Summary = sum
	return m, w.Close(sum)
}

// snapshot asks the broker behind the access point.
func (ap *connection) snapshot(ctx context.Context) (*snapshot, error) {
	var b *broker.Broker
	if ap.As(&b) {
		shot, err := b.Snapshot()
		if err != nil {
			return nil, err
		}
		return &snapshot{shot.Commit(), shot.StoreID(), shot.Bytes(), shot.Parts, shot.Close}, nil
	}
	var cc grpc.ClientConnInterface
	if ap.As(&cc) {
		return remoteSnapshot(ctx, cc)
	}
	return nil, fmt.Errorf("only brokers of this project can be copied, by the drivers oms and badger; %s has means of its own", ap.choice.URL)
}

// storeSnapshot opens a store that no process holds.
func storeSnapshot(path string) (*snapshot, error) {
	if _, err := os.Stat(filepath.Join(path, "STORE")); err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s holds no store: %w", path, err)}
	}
	st, err := store.Open(store.Options{Path: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	shot, err := st.Snapshot()
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &snapshot{shot.Commit(), shot.StoreID(), shot.Bytes(), shot.Parts, func() error { return errors.Join(shot.Close(), st.Close()) }}, nil
}

func remoteSnapshot(ctx context.Context, cc grpc.ClientConnInterface) (*snapshot, error) {
	const op = "backup"
	stream, err := wirepb.NewAdminServiceClient(cc).Backup(ctx, &wirepb.BackupRequest{})
	if err != nil {
		return nil, wire.FromStatus(ctx, err, op, "")
	}
	first, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, wire.FromStatus(ctx, err, op, "")
	}
	begin := first.GetBegin()
	if begin == nil {
		return nil, om.NewError(om.CodeServerError, op, "", "the server does not begin its answer as it should")
	}
	parts := func(ctx context.Context, f func(store.Part) error) (sum store.Summary, err error) {
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return sum, om.NewError(om.CodeServerError, op, "", "the server ended before the backup was complete")
			}
			if err != nil {
				return sum, wire.FromStatus(ctx, err, op, "")
			}
			if e := r.GetEnd(); e != nil {
				return store.Summary{
					Format: int(e.GetFormat()), StoreID: begin.GetStoreId(), Commit: begin.GetCommit(), Buckets: int(e.GetBuckets()), Logs: int(e.GetLogs()),
					Records: e.GetRecords(), Messages: e.GetMessages(), StateValues: e.GetStateValues(), Bytes: e.GetBytes(), Digest: e.GetDigest(),
				}, nil
			}
			p := r.GetPart()
			if crc32.Checksum(p.GetData(), castagnoli) != p.GetSum() {
				return sum, om.NewError(om.CodeServerError, op, "", "a part was damaged on its way; try again")
			}
			if err := f(store.Part{Bucket: int(p.GetBucket()), Entries: int(p.GetEntries()), Data: p.GetData()}); err != nil {
				return sum, err
			}
		}
	}
	return &snapshot{begin.GetCommit(), begin.GetStoreId(), begin.GetBytes(), parts, func() error { return nil }}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func restoreCommand() *cobra.Command {
	var path string
	asJSON := false
	c := &cobra.Command{
		Use:   "restore FILE --path DIR",
		Short: "Make a store of a backup",
		Long: `Make a store of a backup, in a folder that is empty or missing. Everything is
checked on the way; the folder gets its name at the end, so that there is a whole
store or nothing. The new store has an identity of its own.`,
		Example: "  oms restore sunday.oms --path ./restored\n  oms restore sunday.oms --path ./again --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if path == "" {
				return usage(c, errors.New("--path says into which folder"))
			}
			f, err := os.Open(args[0])
			if err != nil {
				return &exitError{exitUsage, err}
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return failed(err)
			}
			progress := newBar(c.ErrOrStderr(), "restored", true)
			out := backupJSON{File: args[0], Path: path}
			var about archive.About
			about, out.Manifest, err = archive.Restore(f, path, slog.New(slog.DiscardHandler), func(n int64) { progress.set(n, max(n, info.Size())) })
			progress.finish()
			if errors.Is(err, archive.ErrNotEmpty) {
				return &exitError{exitUsage, err}
			}
			if err != nil {
				return failed(fmt.Errorf("%s: %w; nothing was restored", args[0], err))
			}
			out.Created = about.Created
			return done(c, asJSON, out, "%s: %s and %s as of commit %d; oms serve --path %[1]s serves them",
				path, counted(out.Messages, "message"), counted(out.StateValues, "state value"), out.Commit)
		},
	}
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&path, "path", "", "folder of the new store")
	return c
}
