package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi/catalog"
)

var (
	errThere    = errors.New("there already")
	errNotThere = errors.New("not there")
)

// store keeps entries by namespace and queue, and has errors of its own.
type store map[[2]string]catalog.Entry

func (s store) Make(_ context.Context, e catalog.Entry) error {
	if _, ok := s[[2]string{e.Namespace, e.Queue}]; ok {
		return errThere
	}
	s[[2]string{e.Namespace, e.Queue}] = e
	return nil
}

func (s store) Remove(ctx context.Context, e catalog.Entry) error {
	_, err := s.Find(ctx, e)
	delete(s, [2]string{e.Namespace, e.Queue})
	return err
}

func (s store) Find(_ context.Context, e catalog.Entry) (catalog.Entry, error) {
	e, ok := s[[2]string{e.Namespace, e.Queue}]
	if !ok {
		return e, errNotThere
	}
	return e, nil
}

func (s store) List(_ context.Context, namespace string) (es []catalog.Entry, _ error) {
	for _, e := range s {
		if namespace == "" && e.Queue == "" || namespace != "" && e.Namespace == namespace && e.Queue != "" {
			es = append(es, e)
		}
	}
	return es, nil
}

func (store) Classify(err error) om.Code {
	return map[error]om.Code{errThere: om.CodeDestinationExists, errNotThere: om.CodeDestinationNotFound}[err]
}

func TestNamespacesAndQueues(t *testing.T) {
	s, ctx := store{}, t.Context()
	a := catalog.Admin{Store: s, Errors: s, MaxPartitions: 4}
	create := func(name string, partitions int) error {
		return a.CreateQueue(ctx, om.QueueConfig{Name: name, Partitions: partitions, Description: name})
	}
	long := strings.Repeat("x", 256)
	for i, c := range []struct {
		err  error
		want error // a code, an error of the store, or nil
	}{
		{a.CreateNamespace(ctx, "shop"), nil},
		{a.CreateNamespace(ctx, "shop"), om.CodeNamespaceExists},
		{a.CreateNamespace(ctx, om.DefaultNamespace), om.CodeNamespaceExists},
		{a.CreateNamespace(ctx, long), om.CodeBadParameter},
		{create("shop://b", 0), nil},
		{create("shop://a", 4), nil},
		{create("short", 1), nil},
		{create("short", 1), errThere},
		{create("shop://c", 5), om.CodeBadParameter},
		{create("shop://c", -1), om.CodeBadParameter},
		{create("", 1), om.CodeBadParameter},
		{create("none://c", 1), om.CodeNamespaceNotFound},
		{a.DeleteNamespace(ctx, "shop"), om.CodeBadParameter},
		{a.DeleteNamespace(ctx, om.DefaultNamespace), om.CodeBadParameter},
		{a.DeleteNamespace(ctx, "none"), om.CodeNamespaceNotFound},
		{a.DeleteQueue(ctx, "shop://none"), errNotThere},
		{a.DeleteQueue(ctx, "shop://"), om.CodeDestinationNotFound}, // not the namespace
		{a.DeleteQueue(ctx, ""), om.CodeDestinationNotFound},
	} {
		if (c.want == nil) != (c.err == nil) || !errors.Is(c.err, c.want) {
			t.Errorf("step %d: %v instead of %v", i, c.err, c.want)
		}
	}
	names, err := a.Namespaces(ctx)
	qs, err2 := a.Queues(ctx, "shop")
	short, err3 := a.Queue(ctx, "short")
	got := fmt.Sprintln(names, err, len(qs), qs[0].Name, qs[0].Partitions, qs[1].Name, qs[1].Partitions, qs[1].Description, err2, short.Name, err3)
	if want := "[default shop] <nil> 2 shop://a 4 shop://b 1 shop://b <nil> default://short <nil>\n"; got != want {
		t.Errorf("%s\ninstead of\n%s", got, want)
	}
	if _, err := a.Queues(ctx, "none"); !errors.Is(err, om.CodeNamespaceNotFound) {
		t.Error(err)
	}
	if _, err := a.Queue(ctx, "none"); err != errNotThere {
		t.Error(err)
	}
	for _, q := range qs {
		if err := a.DeleteQueue(ctx, q.Name); err != nil {
			t.Error(err)
		}
	}
	if err := a.DeleteNamespace(ctx, "shop"); err != nil || len(s) != 1 {
		t.Error(err, s)
	}
}
