package server

import (
	"context"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// need is a right that a request asks for: one of the verbs on a resource.
type need struct {
	verbs []auth.Verb
	what  auth.Resource
	// reply names the reply queue that it is about, where one is enough: anybody
	// has the right then who knows its name, or only who made it.
	reply   string
	anybody bool
}

// access tells which rights every RPC needs, all of them, by what it asks for. A
// test walks the services: an RPC that is not here is a failure there, and
// forbidden here. Requests of the streams are judged one by one: each append of
// Publish, the subscription of Receive again with all that is delivered and
// settled.
var access = map[string]func(request any) []need{
	wirepb.LoginService_Login_FullMethodName: strangers,

	wirepb.MessagingService_Open_FullMethodName: nothing,
	wirepb.MessagingService_Ping_FullMethodName: nothing,

	wirepb.MessagingService_Prepare_FullMethodName: on(func(q *wirepb.PrepareRequest) []need {
		return []need{queue(q.GetAppend().GetQueue(), auth.Publish)}
	}),
	wirepb.MessagingService_EndTransaction_FullMethodName:    nothing, // the groups of producers are the user's own
	wirepb.MessagingService_CheckTransactions_FullMethodName: nothing, // likewise

	wirepb.MessagingService_OpenProducer_FullMethodName: nothing, // the ids are the user's own
	wirepb.MessagingService_Publish_FullMethodName: on(func(q *wirepb.Append) []need {
		return anybody(q.GetQueue(), queue(q.GetQueue(), auth.Publish))
	}),
	wirepb.MessagingService_PublishTransacted_FullMethodName: on(func(q *wirepb.PublishTransactedRequest) (needs []need) {
		for _, a := range q.GetAppends() {
			needs = append(needs, anybody(a.GetQueue(), queue(a.GetQueue(), auth.Publish))...)
		}
		for _, a := range q.GetAcknowledgements() {
			needs = append(needs, queue(a.GetQueue(), auth.Consume), group(a.GetQueue(), a.GetGroup(), auth.Consume))
		}
		return needs
	}),
	wirepb.MessagingService_Receive_FullMethodName: on(func(q *wirepb.Subscribe) []need {
		return maker(q.GetQueue(), queue(q.GetQueue(), auth.Consume), group(q.GetQueue(), q.GetGroup(), auth.Consume))
	}),
	wirepb.MessagingService_Resolve_FullMethodName: browse[*wirepb.ResolveRequest],
	wirepb.MessagingService_Read_FullMethodName:    browse[*wirepb.ReadRequest],
	wirepb.MessagingService_Await_FullMethodName:   browse[*wirepb.AwaitRequest],

	wirepb.ResourceService_CreateNamespace_FullMethodName: on(func(q *wirepb.CreateNamespaceRequest) []need {
		return []need{namespace(q.GetNamespace(), auth.Manage)}
	}),
	wirepb.ResourceService_DeleteNamespace_FullMethodName: on(func(q *wirepb.DeleteNamespaceRequest) []need {
		return []need{namespace(q.GetNamespace(), auth.Manage)}
	}),
	wirepb.ResourceService_ListNamespaces_FullMethodName: nothing, // those that may not be browsed are left out
	wirepb.ResourceService_CreateQueue_FullMethodName: on(func(q *wirepb.CreateQueueRequest) []need {
		return anybody(q.GetQueue().GetName(), queue(q.GetQueue().GetName(), auth.Manage)) // those of one user are counted
	}),
	wirepb.ResourceService_DeleteQueue_FullMethodName: on(func(q *wirepb.DeleteQueueRequest) []need {
		return maker(q.GetQueue(), queue(q.GetQueue(), auth.Manage))
	}),
	wirepb.ResourceService_AddPartitions_FullMethodName: manage[*wirepb.AddPartitionsRequest],
	wirepb.ResourceService_GetQueue_FullMethodName: on(func(q *wirepb.GetQueueRequest) []need {
		return anybody(q.GetQueue(), queue(q.GetQueue(), auth.Browse, auth.Publish, auth.Consume)) // who sends must know the partitions
	}),
	wirepb.ResourceService_ListQueues_FullMethodName: on(func(q *wirepb.ListQueuesRequest) []need {
		return []need{namespace(q.GetNamespace(), auth.Browse)}
	}),
	wirepb.ResourceService_ListPartitions_FullMethodName: browse[*wirepb.ListPartitionsRequest],
	wirepb.ResourceService_ListGroups_FullMethodName:     browse[*wirepb.ListGroupsRequest], // groups that may not be browsed are left out
	wirepb.ResourceService_GetStats_FullMethodName: on(func(q *wirepb.GetStatsRequest) (needs []need) { // what may not be browsed of all is left out
		for _, name := range q.GetQueues() {
			needs = append(needs, queue(name, auth.Browse))
		}
		if len(needs) == 0 {
			needs = append(needs, namespace(q.GetNamespace(), auth.Browse))
		}
		return needs
	}),
	wirepb.ResourceService_FindMessages_FullMethodName: on(func(q *wirepb.FindMessagesRequest) []need {
		return []need{queue(wire.FromFind(q).Where(q.GetQueue()), auth.Browse)}
	}),
	wirepb.ResourceService_SeekGroup_FullMethodName: on(func(q *wirepb.SeekGroupRequest) []need {
		return []need{group(q.GetQueue(), q.GetGroup(), auth.Manage)}
	}),
	wirepb.ResourceService_DeleteGroup_FullMethodName: on(func(q *wirepb.DeleteGroupRequest) []need {
		return []need{group(q.GetQueue(), q.GetGroup(), auth.Manage)}
	}),
	wirepb.ResourceService_ConfigureGroup_FullMethodName: on(func(q *wirepb.ConfigureGroupRequest) []need {
		return []need{group(q.GetQueue(), q.GetGroup(), auth.Manage)}
	}),
	wirepb.ResourceService_GetGroup_FullMethodName: on(func(q *wirepb.GetGroupRequest) []need {
		return []need{group(q.GetQueue(), q.GetGroup(), auth.Browse)}
	}),
	wirepb.ResourceService_Redrive_FullMethodName: on(func(q *wirepb.RedriveRequest) []need {
		if q.GetDryRun() { // it tells what is in the dead-letter queue
			return []need{queue(om.DeadLetterQueue(q.GetQueue(), q.GetGroup()), auth.Browse)}
		}
		return []need{group(q.GetQueue(), q.GetGroup(), auth.Manage)} // nobody else gets what is redriven
	}),
	wirepb.ResourceService_SetFilter_FullMethodName: manage[*wirepb.SetFilterRequest],
	wirepb.ResourceService_CancelDelayed_FullMethodName: on(func(q *wirepb.CancelDelayedRequest) []need {
		return []need{queue(q.GetQueue(), auth.Publish)} // who has sent it knows its id
	}),
	// A transaction of one queue or another; who looks sees the message.
	wirepb.ResourceService_ListTransactions_FullMethodName:  func(any) []need { return []need{server(auth.Browse)} },
	wirepb.ResourceService_GetTransaction_FullMethodName:    func(any) []need { return []need{server(auth.Browse)} },
	wirepb.ResourceService_DecideTransaction_FullMethodName: operate,

	// A route moves messages between queues, whoever owns them.
	wirepb.ResourceService_CreateRoute_FullMethodName: operate,
	wirepb.ResourceService_UpdateRoute_FullMethodName: operate,
	wirepb.ResourceService_DeleteRoute_FullMethodName: operate,
	wirepb.ResourceService_ListRoutes_FullMethodName:  func(any) []need { return []need{server(auth.Browse)} },

	wirepb.AdminService_Status_FullMethodName: func(any) []need { return []need{server(auth.Browse)} },
	wirepb.AdminService_Backup_FullMethodName: operate,

	wirepb.SecurityService_ListUsers_FullMethodName:       operate,
	wirepb.SecurityService_CreateUser_FullMethodName:      operate,
	wirepb.SecurityService_UpdateUser_FullMethodName:      operate,
	wirepb.SecurityService_DeleteUser_FullMethodName:      operate,
	wirepb.SecurityService_PreparePassword_FullMethodName: operate,
	wirepb.SecurityService_SetPassword_FullMethodName:     operate,
	wirepb.SecurityService_ListRoles_FullMethodName:       operate,
	wirepb.SecurityService_CreateRole_FullMethodName:      operate,
	wirepb.SecurityService_DeleteRole_FullMethodName:      operate,
	wirepb.SecurityService_Grant_FullMethodName:           operate,
	wirepb.SecurityService_Revoke_FullMethodName:          operate,
	wirepb.SecurityService_CheckPermission_FullMethodName: operate,
	wirepb.SecurityService_GetQuota_FullMethodName:        operate,
	wirepb.SecurityService_SetQuota_FullMethodName:        operate,
}

// unknown is what nobody has: a request of another type than the table says.
var unknown = []need{{verbs: []auth.Verb{0}, what: auth.Server()}}

// on judges requests of a type.
func on[Q any](f func(Q) []need) func(any) []need {
	return func(request any) []need {
		if q, ok := request.(Q); ok {
			return f(q)
		}
		return unknown
	}
}

// ofQueue is a request about one queue.
type ofQueue interface{ GetQueue() string }

func browse[Q ofQueue](request any) []need {
	return on(func(q Q) []need { return []need{queue(q.GetQueue(), auth.Browse)} })(request)
}

func manage[Q ofQueue](request any) []need {
	return on(func(q Q) []need { return []need{queue(q.GetQueue(), auth.Manage)} })(request)
}

// strangers may call what is for those who have not logged in.
func strangers(any) []need { return nil }

// nothing is needed but a login.
func nothing(any) []need { return nil }

// operate is for who runs the server.
func operate(any) []need { return []need{server(auth.Manage)} }

func server(v auth.Verb) need { return need{verbs: []auth.Verb{v}, what: auth.Server()} }

func namespace(name string, v auth.Verb) need {
	return need{verbs: []auth.Verb{v}, what: auth.Namespace(name)}
}

func queue(name string, vs ...auth.Verb) need {
	ns, name := om.SplitQueueName(name, om.DefaultNamespace)
	return need{verbs: vs, what: auth.Queue(ns, name)}
}

func group(of, name string, v auth.Verb) need {
	ns, _ := om.SplitQueueName(of, om.DefaultNamespace)
	return need{verbs: []auth.Verb{v}, what: auth.Group(ns, name)}
}

// anybody gives what is needed of a reply queue to all who are logged in and know
// its name, which nobody can guess.
func anybody(queue string, needs ...need) []need {
	if om.IsReplyQueue(queue) {
		for i := range needs {
			needs[i].reply, needs[i].anybody = queue, true
		}
	}
	return needs
}

// maker gives what is needed of a reply queue to the user who made it.
func maker(queue string, needs ...need) []need {
	if om.IsReplyQueue(queue) {
		for i := range needs {
			needs[i].reply = queue
		}
	}
	return needs
}

// replies reports whether the caller has a right because it is about a reply queue.
func (s *Server) replies(p *auth.Principal, n need) bool {
	if p == nil || n.reply == "" {
		return false
	}
	return n.anybody || s.opts.Broker.MadeReplyQueue(p.Name, n.reply)
}

// allow refuses what the caller has no right to, before anything is looked at.
func (s *Server) allow(ctx context.Context, method string, request any) error {
	if s.opts.Security == nil {
		return nil
	}
	needs := access[method]
	if needs == nil {
		return om.NewError(om.CodeForbidden, "call", "", "nobody may call %s", method)
	}
	p := PrincipalOf(ctx)
	for _, n := range needs(request) {
		if s.replies(p, n) {
			continue
		}
		if err := s.opts.Security.Authorizer.AllowAny(p, n.verbs, n.what); err != nil {
			return err
		}
	}
	return nil
}

// sees reports whether the caller may browse something in a list.
func (s *Server) sees(ctx context.Context, what auth.Resource) bool {
	return s.opts.Security == nil || s.opts.Security.Authorizer.May(PrincipalOf(ctx), auth.Browse, what)
}
