package main

import (
	"context"
	"errors"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

func serverCommand() *cobra.Command {
	return parent("server", "Ask a server how it is", serverStatus())
}

type statusJSON struct {
	Version string    `json:"version"`
	Host    string    `json:"host"`
	Now     time.Time `json:"now"`
	Stored  int64     `json:"stored_bytes"`
	Free    int64     `json:"free_bytes"`
	Reserve int64     `json:"reserve_bytes"`
	Refusal string    `json:"refusal,omitempty"`
}

func serverStatus() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:   "status",
		Short: "Print version, clock, storage and whether messages are accepted",
		Long: `Print a server's version, clock and storage, and whether it accepts messages. The
exit status is 1 when it does not. oms doctor judges all this and looks at more.`,
		Example: "  oms server status\n  oms server status --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				var cc grpc.ClientConnInterface
				if !ap.As(&cc) {
					return errors.New("this is no server of this broker; its URL begins with oms:oms")
				}
				s, err := wirepb.NewAdminServiceClient(cc).Status(ctx, &wirepb.StatusRequest{})
				if err != nil {
					return wire.FromStatus(ctx, err, "status", "")
				}
				return printStatus(c, s, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

func printStatus(c *cobra.Command, s *wirepb.StatusResponse, asJSON bool) error {
	v := statusJSON{s.GetServerVersion(), s.GetHost(), time.UnixMilli(s.GetNow()).UTC(), s.GetStored(), s.GetFree(), s.GetReserve(), s.GetRefusal()}
	bytes := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
	r := report{header: []string{"VERSION", "HOST", "CLOCK", "STORED", "FREE", "RESERVE", "ACCEPTS MESSAGES"}, value: v}
	accepts := "yes"
	if v.Refusal != "" {
		accepts = "no: " + v.Refusal
	}
	r.row(v.Version, v.Host, v.Now.Format(time.RFC3339), bytes(v.Stored), bytes(v.Free), bytes(v.Reserve), accepts)
	if err := r.print(c, asJSON); err != nil {
		return err
	}
	if v.Refusal != "" {
		return &exitError{exitFailed, nil}
	}
	return nil
}
