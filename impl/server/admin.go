package server

import (
	"context"
	"errors"
	"hash/crc32"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

// admin implements wirepb.AdminServiceServer.
type admin struct {
	wirepb.UnimplementedAdminServiceServer
	s      *Server
	broker *broker.Broker
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (a *admin) Status(context.Context, *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	out := &wirepb.StatusResponse{ServerVersion: Version, Now: time.Now().UnixMilli(), Host: a.broker.Host(), Stored: a.broker.Stored()}
	if err := a.broker.Ready(); err != nil {
		out.Refusal = err.Error()
	}
	var err error
	out.Free, out.Reserve, err = a.broker.Free()
	return out, err
}

func (a *admin) Backup(_ *wirepb.BackupRequest, stream grpc.ServerStreamingServer[wirepb.BackupResponse]) (err error) {
	ctx := stream.Context()
	shot, err := a.broker.Snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shot.Close()) }()
	a.s.opts.Logger.Info("a backup begins", "client", client(ctx), "account", account(ctx), "commit", shot.Commit())
	out := a.s.newOutbox(stream, "backup")
	begin := &wirepb.BackupBegin{Commit: shot.Commit(), StoreId: shot.StoreID(), Bytes: shot.Bytes()}
	if err := out.send(&wirepb.BackupResponse{Response: &wirepb.BackupResponse_Begin{Begin: begin}}); err != nil {
		return err
	}
	sum, err := shot.Parts(ctx, func(p broker.Part) error {
		select {
		case <-a.s.drained:
			return errDraining
		default:
		}
		part := &wirepb.BackupPart{Bucket: int32(p.Bucket), Entries: int32(p.Entries), Data: p.Data, Sum: crc32.Checksum(p.Data, castagnoli)}
		return out.send(&wirepb.BackupResponse{Response: &wirepb.BackupResponse_Part{Part: part}})
	})
	if err != nil {
		return err
	}
	a.s.opts.Logger.Info("a backup is complete", "client", client(ctx), "commit", sum.Commit, "messages", sum.Messages, "bytes", sum.Bytes)
	return out.send(&wirepb.BackupResponse{Response: &wirepb.BackupResponse_End{End: &wirepb.BackupEnd{
		Format: int32(sum.Format), Buckets: int32(sum.Buckets), Logs: int64(sum.Logs), Records: sum.Records, Messages: sum.Messages,
		StateValues: sum.StateValues, Bytes: sum.Bytes, Digest: sum.Digest,
	}}})
}
