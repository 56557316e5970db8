package server

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestEveryCallHasItsRights walks the services that the server registers: the
// table must name each call, and no other.
func TestEveryCallHasItsRights(t *testing.T) {
	s := New(Options{})
	defer s.Stop()
	left := make(map[string]bool)
	for method := range access {
		left[method] = true
	}
	calls := 0
	for service, info := range s.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			calls++
			name := "/" + service + "/" + m.Name
			if access[name] == nil {
				t.Errorf("%s is not in the table: nobody may call it", name)
			}
			delete(left, name)
		}
	}
	if calls < 30 {
		t.Errorf("only %d calls were found", calls)
	}
	for method := range left {
		t.Errorf("the table has %s, which is no call", method)
	}
}

// TestEveryRightFitsItsRequest asks the table with the request that each call
// has: none may be judged as an unknown one.
func TestEveryRightFitsItsRequest(t *testing.T) {
	requests := map[string]any{
		wirepb.MessagingService_Publish_FullMethodName: &wirepb.Append{},
		wirepb.MessagingService_Receive_FullMethodName: &wirepb.Subscribe{},
	}
	for _, file := range []protoreflect.FileDescriptor{wirepb.File_openmessaging_v1_messaging_proto, wirepb.File_openmessaging_v1_resources_proto, wirepb.File_openmessaging_v1_security_proto} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for k := range methods.Len() {
				m := methods.Get(k)
				name := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
				request := requests[name]
				if request == nil {
					made, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
					if err != nil {
						t.Fatal(err)
					}
					request = made.New().Interface()
				}
				needs := access[name](request)
				if len(needs) > 0 && &needs[0] == &unknown[0] {
					t.Errorf("%s is judged by another request than %T", name, request)
				}
			}
		}
	}
}

// TestRedriveNeeds: looking at dead letters is browsing, moving them is managing
// the group.
func TestRedriveNeeds(t *testing.T) {
	for dry, want := range map[bool]need{
		true:  queue("shop://orders//dlq//billing", auth.Browse),
		false: group("shop://orders", "billing", auth.Manage),
	} {
		got := access[wirepb.ResourceService_Redrive_FullMethodName](&wirepb.RedriveRequest{Queue: "shop://orders", Group: "billing", DryRun: dry})
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("dry run %v: %+v, want %+v", dry, got, want)
		}
	}
}

// TestFindNeeds: looking for messages is browsing the queue where they lie, and
// statistics are of queues, or of those of a namespace that may be browsed.
func TestFindNeeds(t *testing.T) {
	needs := func(method string, request any) (all []string) {
		for _, n := range access[method](request) {
			all = append(all, fmt.Sprint(n.verbs, n.what))
		}
		return all
	}
	browse := func(what ...auth.Resource) (all []string) {
		for _, w := range what {
			all = append(all, fmt.Sprint([]auth.Verb{auth.Browse}, w))
		}
		return all
	}
	for _, c := range []struct{ got, want []string }{
		{needs(wirepb.ResourceService_FindMessages_FullMethodName, &wirepb.FindMessagesRequest{Queue: "shop://orders", Delayed: true}), browse(auth.Queue("shop", "orders"))},
		{needs(wirepb.ResourceService_FindMessages_FullMethodName, &wirepb.FindMessagesRequest{Queue: "shop://orders", DeadFor: "g"}), browse(auth.Queue("shop", om.DeadLetterQueue("orders", "g")))},
		{needs(wirepb.ResourceService_GetStats_FullMethodName, &wirepb.GetStatsRequest{Queues: []string{"a", "shop://b"}}), browse(auth.Queue("default", "a"), auth.Queue("shop", "b"))},
		{needs(wirepb.ResourceService_GetStats_FullMethodName, &wirepb.GetStatsRequest{Namespace: "shop"}), browse(auth.Namespace("shop"))},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}
