package server

import (
	"context"
	"path"
	"strings"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

// tellChange logs who has changed a resource. Changes of users and rights are
// logged by package auth.
func (s *Server) tellChange(ctx context.Context, method string, request any) {
	if !strings.HasPrefix(method, "/"+wirepb.ResourceService_ServiceDesc.ServiceName+"/") {
		return
	}
	needs := access[method](request)
	if len(needs) == 0 || needs[0].verbs[0] != auth.Manage {
		return
	}
	what := needs[0].what.String()
	switch q := request.(type) {
	case interface{ GetRoute() *wirepb.Route }:
		what = "route:" + q.GetRoute().GetName()
	case *wirepb.DeleteRouteRequest:
		what = "route:" + q.GetName()
	}
	s.opts.Logger.Info("resource changed", "call", path.Base(method), "resource", what, "account", account(ctx), "client", client(ctx))
}
