package omsmock

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var (
	_ om.AccessPoint    = (*MockAccessPoint)(nil)
	_ om.Sender         = (*MockSender)(nil)
	_ om.Producer       = (*MockProducer)(nil)
	_ om.Transaction    = (*MockTransaction)(nil)
	_ om.Receiver       = (*MockReceiver)(nil)
	_ om.Consumer       = (*MockConsumer)(nil)
	_ om.PushConsumer   = (*MockPushConsumer)(nil)
	_ om.PullConsumer   = (*MockPullConsumer)(nil)
	_ om.StreamConsumer = (*MockStreamConsumer)(nil)
	_ om.Cursor         = (*MockCursor)(nil)
	_ om.Resources      = (*MockResources)(nil)
	_ om.Settler        = (*MockSettler)(nil)
	_ om.Acker          = (*MockAcker)(nil)
	_ om.Lifecycle      = (*MockLifecycle)(nil)

	_ om.AllocationStrategy = (*MockAllocationStrategy)(nil)
)

// typesIn returns the exported types of a folder's files and whether each is an
// interface.
func typesIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && s.Name.IsExported() {
				_, types[s.Name.Name] = s.Type.(*ast.InterfaceType)
			}
			return true
		})
	}
	return types
}

// TestEveryInterfaceHasAMock notices an interface in a new file, for which
// doc.go has no line yet.
func TestEveryInterfaceHasAMock(t *testing.T) {
	mocks := typesIn(t, ".")
	interfaces := 0
	for name, is := range typesIn(t, "..") {
		if !is {
			continue
		}
		interfaces++
		if _, ok := mocks["Mock"+name]; !ok {
			t.Errorf("%s has no mock; add its file to doc.go and run go generate ./openmessaging/omsmock", name)
		}
	}
	if interfaces < 14 {
		t.Errorf("only %d interfaces were found", interfaces)
	}
}
