// The tools that make parts of this module, apart from its own dependencies, so
// that users do not get them:
//
//	go tool -modfile=internal/tools/go.mod mockgen -help
module github.com/openmessaging/openmessaging-go/internal/tools

go 1.25.0

tool github.com/golang/mock/mockgen

require (
	github.com/golang/mock v1.7.0-rc.1 // indirect
	golang.org/x/mod v0.31.0 // indirect
	golang.org/x/sync v0.19.0 // indirect
	golang.org/x/tools v0.40.1-0.20260108161641-ca281cf95054 // indirect
)
