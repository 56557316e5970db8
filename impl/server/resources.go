package server

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// resources implements wirepb.ResourceServiceServer.
type resources struct {
	wirepb.UnimplementedResourceServiceServer
	s      *Server
	broker *broker.Broker
}

// pageQueues and pageGroupPartitions bound a page of a list: its queues, or the
// partitions of its groups.
const (
	pageQueues          = 500
	pageGroupPartitions = 8000
	pageStats           = 10_000 // queues, and about the groups of these
)

func (r *resources) CreateNamespace(ctx context.Context, q *wirepb.CreateNamespaceRequest) (*wirepb.CreateNamespaceResponse, error) {
	return &wirepb.CreateNamespaceResponse{}, r.broker.CreateNamespace(ctx, q.GetNamespace())
}

func (r *resources) DeleteNamespace(ctx context.Context, q *wirepb.DeleteNamespaceRequest) (*wirepb.DeleteNamespaceResponse, error) {
	return &wirepb.DeleteNamespaceResponse{}, r.broker.DeleteNamespace(ctx, q.GetNamespace())
}

func (r *resources) ListNamespaces(ctx context.Context, _ *wirepb.ListNamespacesRequest) (*wirepb.ListNamespacesResponse, error) {
	names := slices.DeleteFunc(r.broker.Namespaces(), func(name string) bool { return !r.s.sees(ctx, auth.Namespace(name)) })
	return &wirepb.ListNamespacesResponse{Namespaces: names}, nil
}

func (r *resources) CreateQueue(ctx context.Context, q *wirepb.CreateQueueRequest) (*wirepb.CreateQueueResponse, error) {
	return &wirepb.CreateQueueResponse{}, r.broker.CreateQueueOf(ctx, account(ctx), wire.FromQueue(q.GetQueue()))
}

func (r *resources) DeleteQueue(ctx context.Context, q *wirepb.DeleteQueueRequest) (*wirepb.DeleteQueueResponse, error) {
	return &wirepb.DeleteQueueResponse{}, r.broker.DeleteQueue(ctx, q.GetQueue())
}

func (r *resources) AddPartitions(ctx context.Context, q *wirepb.AddPartitionsRequest) (*wirepb.AddPartitionsResponse, error) {
	return &wirepb.AddPartitionsResponse{}, r.broker.AddPartitions(ctx, q.GetQueue(), int(q.GetTotal()))
}

func (r *resources) GetQueue(_ context.Context, q *wirepb.GetQueueRequest) (*wirepb.GetQueueResponse, error) {
	queue, err := r.broker.Queue("describe queue", q.GetQueue())
	if err != nil {
		return nil, err
	}
	return &wirepb.GetQueueResponse{Queue: wire.Queue(queue.Config())}, nil
}

func (r *resources) ListQueues(ctx context.Context, q *wirepb.ListQueuesRequest) (*wirepb.ListQueuesResponse, error) {
	queues, err := r.broker.Queues(q.GetNamespace())
	if err != nil {
		return nil, err
	}
	out := &wirepb.ListQueuesResponse{}
	for _, queue := range queues {
		if queue.Name() <= q.GetPage() || !r.seesQueue(ctx, queue.Name()) {
			continue
		}
		if len(out.Queues) == pageQueues {
			out.NextPage = out.Queues[pageQueues-1].GetName()
			break
		}
		out.Queues = append(out.Queues, wire.Queue(queue.Config()))
	}
	return out, nil
}

// seesQueue reports whether a list may name a queue. Who knows the name of a reply
// queue may send to it.
func (r *resources) seesQueue(ctx context.Context, name string) bool {
	return r.s.sees(ctx, browsed(name)) || om.IsReplyQueue(name) && r.broker.MadeReplyQueue(account(ctx), name)
}

func (r *resources) ListPartitions(_ context.Context, q *wirepb.ListPartitionsRequest) (*wirepb.ListPartitionsResponse, error) {
	queue, err := r.broker.Queue("list partitions", q.GetQueue())
	if err != nil {
		return nil, err
	}
	return &wirepb.ListPartitionsResponse{Queue: queue.Name(), Partitions: wire.Partitions(queue.PartitionInfos())}, nil
}

func (r *resources) ListGroups(ctx context.Context, q *wirepb.ListGroupsRequest) (*wirepb.ListGroupsResponse, error) {
	queue, err := r.broker.Queue("list groups", q.GetQueue())
	if err != nil {
		return nil, err
	}
	out := &wirepb.ListGroupsResponse{Queue: queue.Name()}
	partitions := 0
	for _, g := range queue.Groups() {
		if g.Group <= q.GetPage() || !r.s.sees(ctx, group(queue.Name(), g.Group, auth.Browse).what) {
			continue
		}
		if partitions += len(g.Partitions); len(out.Groups) > 0 && partitions > pageGroupPartitions {
			out.NextPage = out.Groups[len(out.Groups)-1].GetGroup()
			break
		}
		out.Groups = append(out.Groups, wire.Group(g))
	}
	return out, nil
}

func (r *resources) GetStats(ctx context.Context, q *wirepb.GetStatsRequest) (*wirepb.GetStatsResponse, error) {
	names := q.GetQueues()
	all := len(names) == 0
	if all {
		queues, err := r.broker.Queues(q.GetNamespace())
		if err != nil {
			return nil, err
		}
		for _, queue := range queues {
			if queue.Name() > q.GetPage() && r.s.sees(ctx, browsed(queue.Name())) {
				names = append(names, queue.Name())
			}
		}
	} else {
		from, err := strconv.Atoi(cmp.Or(q.GetPage(), "0"))
		if err != nil || from < 0 || from > len(names) {
			return nil, om.NewError(om.CodeBadParameter, "read statistics", "", "%.60q is no page of these queues", q.GetPage())
		}
		names = names[from:]
	}
	out := &wirepb.GetStatsResponse{}
	groups := 0
	for i, name := range names {
		if len(out.Queues) == pageStats || groups >= pageStats {
			if out.NextPage = out.Queues[len(out.Queues)-1].GetQueue(); !all {
				out.NextPage = strconv.Itoa(len(q.GetQueues()) - len(names) + i)
			}
			break
		}
		queue, err := r.broker.Queue("read statistics", name)
		var s om.QueueStats
		if err == nil {
			s, err = queue.Stats()
		}
		if all && errors.Is(err, om.CodeDestinationNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		s.Groups = slices.DeleteFunc(s.Groups, func(g om.GroupStats) bool { return !r.s.sees(ctx, group(s.Queue, g.Group, auth.Browse).what) })
		groups += len(s.Groups)
		out.Queues = append(out.Queues, wire.Stats(s))
	}
	return out, nil
}

// browsed is a queue as a resource.
func browsed(name string) auth.Resource { return queue(name, auth.Browse).what }

func (r *resources) FindMessages(ctx context.Context, q *wirepb.FindMessagesRequest) (*wirepb.FindMessagesResponse, error) {
	spans, next, err := r.broker.FindMessages(ctx, q.GetQueue(), wire.FromFind(q))
	if err != nil {
		return nil, err
	}
	out, err := travelling(spans)
	return &wirepb.FindMessagesResponse{Spans: out, Next: next}, err
}

func (r *resources) SeekGroup(ctx context.Context, q *wirepb.SeekGroupRequest) (*wirepb.SeekGroupResponse, error) {
	p, err := om.ParsePosition(q.GetPosition())
	if err != nil {
		return nil, err
	}
	return &wirepb.SeekGroupResponse{}, r.broker.SeekGroup(ctx, q.GetQueue(), q.GetGroup(), p)
}

func (r *resources) DeleteGroup(ctx context.Context, q *wirepb.DeleteGroupRequest) (*wirepb.DeleteGroupResponse, error) {
	return &wirepb.DeleteGroupResponse{}, r.broker.DeleteGroup(ctx, q.GetQueue(), q.GetGroup())
}

func (r *resources) ConfigureGroup(ctx context.Context, q *wirepb.ConfigureGroupRequest) (*wirepb.ConfigureGroupResponse, error) {
	return &wirepb.ConfigureGroupResponse{}, r.broker.ConfigureGroup(ctx, q.GetQueue(), q.GetGroup(), wire.FromGroupConfig(q.GetConfig()))
}

func (r *resources) GetGroup(_ context.Context, q *wirepb.GetGroupRequest) (*wirepb.GetGroupResponse, error) {
	queue, err := r.broker.Queue("describe group", q.GetQueue())
	if err != nil {
		return nil, err
	}
	c, err := queue.Group(q.GetGroup())
	return &wirepb.GetGroupResponse{Config: wire.GroupConfig(c)}, err
}

func (r *resources) Redrive(ctx context.Context, q *wirepb.RedriveRequest) (*wirepb.RedriveResponse, error) {
	out, err := r.broker.Redrive(ctx, q.GetQueue(), q.GetGroup(), wire.FromRedrive(q))
	return wire.Redriven(om.JoinQueueName(om.SplitQueueName(q.GetQueue(), om.DefaultNamespace)), out), err
}

func (r *resources) CancelDelayed(ctx context.Context, q *wirepb.CancelDelayedRequest) (*wirepb.CancelDelayedResponse, error) {
	return &wirepb.CancelDelayedResponse{}, r.broker.CancelDelayed(ctx, q.GetQueue(), q.GetMessageId())
}

func (r *resources) SetFilter(ctx context.Context, q *wirepb.SetFilterRequest) (*wirepb.SetFilterResponse, error) {
	return &wirepb.SetFilterResponse{}, r.broker.SetFilter(ctx, q.GetQueue(), wire.FromFilter(q.GetFilter()))
}

func (r *resources) CreateRoute(ctx context.Context, q *wirepb.CreateRouteRequest) (*wirepb.CreateRouteResponse, error) {
	c, err := wire.FromRoute("create route", q.GetRoute())
	if err == nil {
		err = r.broker.CreateRoute(ctx, c)
	}
	return &wirepb.CreateRouteResponse{}, err
}

func (r *resources) UpdateRoute(ctx context.Context, q *wirepb.UpdateRouteRequest) (*wirepb.UpdateRouteResponse, error) {
	c, err := wire.FromRoute("update route", q.GetRoute())
	if err == nil {
		err = r.broker.UpdateRoute(ctx, c)
	}
	return &wirepb.UpdateRouteResponse{}, err
}

func (r *resources) DeleteRoute(ctx context.Context, q *wirepb.DeleteRouteRequest) (*wirepb.DeleteRouteResponse, error) {
	return &wirepb.DeleteRouteResponse{}, r.broker.DeleteRoute(ctx, q.GetName())
}

// pageRouteBytes bounds a page of routes, which may carry properties.
const pageRouteBytes = 4 << 20

func (r *resources) ListRoutes(_ context.Context, q *wirepb.ListRoutesRequest) (*wirepb.ListRoutesResponse, error) {
	out := &wirepb.ListRoutesResponse{}
	bytes := 0
	for _, c := range r.broker.Routes() {
		if c.Name <= q.GetPage() {
			continue
		}
		w := wire.Route(c)
		if bytes += proto.Size(w); len(out.Routes) > 0 && bytes > pageRouteBytes {
			out.NextPage = out.Routes[len(out.Routes)-1].GetName()
			break
		}
		out.Routes = append(out.Routes, w)
	}
	return out, nil
}

func (r *resources) ListTransactions(_ context.Context, q *wirepb.ListTransactionsRequest) (*wirepb.ListTransactionsResponse, error) {
	ts, err := r.broker.Transactions(q.GetQueue(), int(q.GetMax()))
	out := &wirepb.ListTransactionsResponse{Transactions: make([]*wirepb.TransactionInfo, len(ts))}
	for i, t := range ts {
		out.Transactions[i] = transactionInfo(t)
	}
	return out, err
}

func (r *resources) GetTransaction(_ context.Context, q *wirepb.GetTransactionRequest) (*wirepb.GetTransactionResponse, error) {
	t, err := r.broker.Transaction(q.GetTransactionId())
	return &wirepb.GetTransactionResponse{Transaction: transactionInfo(t)}, err
}

func (r *resources) DecideTransaction(ctx context.Context, q *wirepb.DecideTransactionRequest) (*wirepb.DecideTransactionResponse, error) {
	m := &messaging{s: r.s, broker: r.broker}
	return &wirepb.DecideTransactionResponse{}, m.end(ctx, q.GetTransactionId(), "", broker.Epoch{}, q.GetVerdict())
}

func transactionInfo(t broker.Transaction) *wirepb.TransactionInfo {
	out := &wirepb.TransactionInfo{
		TransactionId: t.ID, Queue: t.Queue, ProducerGroup: t.ProducerGroup, Prepared: t.Prepared.UnixMilli(), Checks: int32(t.Checks), Parked: t.Parked, Chunk: t.Chunk,
	}
	if !t.NextCheck.IsZero() {
		out.NextCheck = t.NextCheck.UnixMilli()
	}
	return out
}
