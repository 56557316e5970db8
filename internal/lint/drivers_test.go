package lint

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/impl/nats"
	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

var update = flag.Bool("update", false, "write the table of docs/drivers.md anew")

// TestDriversTable compares the table of docs/drivers.md with what the drivers
// declare.
func TestDriversTable(t *testing.T) {
	const path, begin, end = "../../docs/drivers.md", "<!-- table: do not edit by hand -->\n", "<!-- end of table -->"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(doc, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	want := bytes.Join([][]byte{before, []byte(begin), driversTable(t), []byte(end), after}, nil)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(doc, want) {
		t.Errorf("%s is not what the drivers declare; run go test ./internal/lint -run Drivers -update", path)
	}
}

func driversTable(t *testing.T) []byte {
	server, err := natsserver.Start(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer natsserver.Stop(server)
	drivers := []struct {
		name string
		caps om.Capabilities
	}{
		{"badger", declared(t, badger.Driver{}, badger.URL(t.TempDir()))},
		{"nats", declared(t, nats.Driver{}, "oms:nats://"+natsserver.Address(server)+"/table?sync=always")},
		{"memory", declared(t, memory.New().Driver("memory"), "oms:memory://local/table")},
	}
	var b bytes.Buffer
	b.WriteString("| Capability | |")
	for _, d := range drivers {
		fmt.Fprintf(&b, " %s |", d.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(drivers)) + "\n")
	for _, c := range capabilityConstants(t) {
		fmt.Fprintf(&b, "| `%s` | %s |", c.name, c.text)
		for _, d := range drivers {
			mark := ""
			if d.caps.Has(om.Capability(c.name)) {
				mark = "yes"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n`auth` is declared by nats when the server demands credentials, `persistent` by badger and nats when they store in files.\n")
	return b.Bytes()
}

// declared opens a driver and returns its capabilities.
func declared(t *testing.T, d spi.Driver, url string) om.Capabilities {
	u, err := om.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Open(t.Context(), spi.Config{URL: u, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	return conn.Capabilities()
}

type capabilityConstant struct{ name, text string }

// capabilityConstants reads the capabilities and what they mean from the
// contract's source.
func capabilityConstants(t *testing.T) (all []capabilityConstant) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../openmessaging/capability.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 || v.Comment == nil {
			return true
		}
		name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, capabilityConstant{name, strings.TrimSpace(v.Comment.Text())})
		return true
	})
	if len(all) < 20 {
		t.Fatalf("only %d capabilities were found", len(all))
	}
	return all
}
