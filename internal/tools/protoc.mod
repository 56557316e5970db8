// The plugins by which buf makes Go of protobuf files, apart from buf: their
// version is that of the runtime in go.mod.
module github.com/openmessaging/openmessaging-go/internal/tools

go 1.26.0

tool (
	google.golang.org/grpc/cmd/protoc-gen-go-grpc
	google.golang.org/protobuf/cmd/protoc-gen-go
)

require (
	google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.6.2 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
