// Package omsmock holds mocks of the interfaces of package openmessaging, for
// unit tests of code that sends and receives. They are made with golang/mock:
// see the example, and the documentation of gomock for what can be expected of
// a mock.
//
// After a change of the interfaces run
//
//	go generate ./openmessaging/omsmock
package omsmock

//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../accesspoint.go -destination=accesspoint.go -package=omsmock
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../allocation.go -destination=allocation.go -package=omsmock
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../consumer.go -destination=consumer.go -package=omsmock -aux_files=github.com/openmessaging/openmessaging-go/openmessaging=../lifecycle.go
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../delivery.go -destination=delivery.go -package=omsmock
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../lifecycle.go -destination=lifecycle.go -package=omsmock
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../producer.go -destination=producer.go -package=omsmock -aux_files=github.com/openmessaging/openmessaging-go/openmessaging=../lifecycle.go
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../resources.go -destination=resources.go -package=omsmock
//go:generate go tool -modfile=../../internal/tools/go.mod mockgen -source=../stream.go -destination=stream.go -package=omsmock -aux_files=github.com/openmessaging/openmessaging-go/openmessaging=../lifecycle.go
