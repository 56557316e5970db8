package server

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
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
