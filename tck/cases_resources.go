package tck

import (
	"fmt"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var resourceCases = table{
	"R085": createAndList,
	"R086": createExisting,
	"R087": deleteOrSwitchMissing,
	"R088": namespaceIsolation,
	"R089": queueNameForm,
	"R092": queueMetadata,
}

// namespace makes another namespace, deleted after the case.
func (t *trial) namespace() string {
	name := unique("tck-other")
	t.NoError(t.AP().Resources().CreateNamespace(t.ctx, name), "create namespace %s", name)
	t.dropLater(name)
	return name
}

func queueNames(qs []om.QueueConfig) []string {
	var names []string
	for _, q := range qs {
		names = append(names, q.Name)
	}
	return names
}

func createAndList(t *trial) {
	rs := t.AP().Resources()
	name := t.namespace()
	spaces, err := rs.Namespaces(t.ctx)
	t.NoError(err, "list namespaces")
	if !slices.Contains(spaces, name) {
		t.Errorf("namespace %s is not listed after it was created", name)
	}
	scope := rs.Namespace(name)
	t.NoError(scope.CreateQueue(t.ctx, om.QueueConfig{Name: "fresh", Description: "by the kit"}), "create queue")
	queues, err := scope.Queues(t.ctx)
	t.NoError(err, "list queues")
	equalLists(t, "queues after one was created", queueNames(queues), []string{om.JoinQueueName(name, "fresh")})
	t.NoError(scope.DeleteQueue(t.ctx, "fresh"), "delete queue")
	queues, err = scope.Queues(t.ctx)
	t.NoError(err, "list queues")
	equal(t, "queues after it was deleted", len(queues), 0)
}

func createExisting(t *trial) {
	rs := t.AP().Resources()
	name := t.namespace()
	t.Is(rs.CreateNamespace(t.ctx, name), "create a namespace that exists", om.CodeNamespaceExists)
	q := om.JoinQueueName(name, "q")
	t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q}), "create queue")
	t.Send(t.Producer(), message(q, "kept"))
	t.Is(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q}), "create a queue that exists", om.CodeDestinationExists)
	equal(t, "body of the message after the queue was to be created again", string(t.Receive(t.Pull([]string{q})).Body), "kept")
}

func deleteOrSwitchMissing(t *trial) {
	rs := t.AP().Resources()
	t.Is(rs.DeleteQueue(t.ctx, t.Missing()), "delete a queue that does not exist", om.CodeDestinationNotFound)
	missing := unique("tck-missing")
	t.Is(rs.DeleteNamespace(t.ctx, missing), "delete a namespace that does not exist", om.CodeNamespaceNotFound)
	_, err := rs.Namespace(missing).Queues(t.ctx)
	t.Is(err, "list the queues of a namespace that does not exist", om.CodeNamespaceNotFound)
}

func namespaceIsolation(t *trial) {
	rs := t.AP().Resources()
	a, b := om.JoinQueueName(t.namespace(), "same"), om.JoinQueueName(t.namespace(), "same")
	for _, q := range []string{a, b} {
		t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q}), "create queue %s", q)
	}
	t.Send(t.Producer(), message(a, "for a"))
	t.Nothing(t.Pull([]string{b}), "a queue of the same name in another namespace must share nothing")
	equal(t, "body", string(t.Receive(t.Pull([]string{a})).Body), "for a")
}

func queueNameForm(t *trial) {
	rs := t.AP().Resources()
	name := t.namespace()
	long := om.JoinQueueName(name, "orders")
	t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: long}), "create queue %s", long)
	c, err := rs.Namespace(name).Queue(t.ctx, "orders")
	t.NoError(err, "the queue by its short name in its namespace")
	equal(t, "name of the queue", c.Name, long)
	t.NoError(rs.Namespace(name).CreateQueue(t.ctx, om.QueueConfig{Name: "short"}), "create a queue by its short name")
	t.Send(t.Producer(), message(om.JoinQueueName(name, "short"), "a"))
	_, err = rs.Queue(t.ctx, om.JoinQueueName(name, "none"))
	t.Is(err, "a queue that does not exist", om.CodeDestinationNotFound)
}

func queueMetadata(t *trial) {
	n := 1
	if t.Has(om.CapPartitions) {
		n = 3
	}
	q := t.QueueOf(n)
	t.SendAll(t.Producer(), q, "a", "b")
	ps, err := t.AP().Resources().Partitions(t.ctx, q)
	t.NoError(err, "partitions")
	equal(t, "partitions of the queue", len(ps), n)
	stored := int64(0)
	for i, p := range ps {
		equal(t, fmt.Sprintf("queue of partition %d", i), p.Queue, q)
		if i > 0 && p.Partition <= ps[i-1].Partition {
			t.Errorf("the partitions are not ascending: %d after %d", p.Partition, ps[i-1].Partition)
		}
		stored += p.Messages
	}
	if t.Has(om.CapPartitions) {
		equal(t, "messages stored in the partitions", stored, 2)
	}
	c := t.Pull([]string{q}, om.WithGroup("readers"))
	t.Receive(c)
	groups, err := t.AP().Resources().Groups(t.ctx, q)
	t.NoError(err, "groups")
	if !slices.ContainsFunc(groups, func(g om.GroupInfo) bool { return g.Group == "readers" }) {
		t.Errorf("a group that receives is not listed: %v", groups)
	}
	_, err = t.AP().Resources().Partitions(t.ctx, t.Missing())
	t.Is(err, "partitions of a queue that does not exist", om.ErrDestination)
}

var filterCases = table{
	"R090": filterSQL,
	"R091": routingDuplicates,
	"R098": broadcast,
	"G35":  filterBadExpression,
	"G36":  routingCycle,
}

func filterSQL(t *trial) {
	for _, c := range []struct {
		expression string
		want       []string
	}{
		{"price > 10", []string{"b", "c"}},
		{"price > 10 AND color = 'red'", []string{"b"}},
		{"color IN ('red', 'blue') AND price BETWEEN 5 AND 15", []string{"a", "b"}},
		{"color IS NULL", []string{"d"}},
		{"NOT (color = 'red')", []string{"c"}},
		{"color LIKE 'b%'", []string{"c"}},
	} {
		q := t.Queue()
		t.NoError(t.AP().Resources().SetFilter(t.ctx, q, om.SQL(c.expression)), "set filter %s", c.expression)
		var ms []*om.Message
		for _, x := range []struct {
			body, color string
			price       float64
		}{{"a", "red", 5}, {"b", "red", 15}, {"c", "blue", 25}, {"d", "", 0}} {
			m := message(q, x.body)
			if x.color != "" {
				m.Properties["color"], m.Properties["price"] = om.String(x.color), om.Double(x.price)
			}
			ms = append(ms, m)
		}
		_, err := t.Producer().SendBatch(t.ctx, ms)
		t.NoError(err, "send")
		got := t.Pull([]string{q})
		equalLists(t, "messages that match "+c.expression, sortedBodies(t.ReceiveN(got, len(c.want))), c.want)
		t.Nothing(got, "a message that does not match "+c.expression+" must not be delivered")
	}
}

func filterBadExpression(t *trial) {
	q := t.Queue()
	rs := t.AP().Resources()
	t.NoError(rs.SetFilter(t.ctx, q, om.SQL("n = 1")), "set a filter")
	for _, bad := range []string{"n =", "((n = 1)", "n === 1", "'open", "SELECT * FROM x"} {
		t.Is(rs.SetFilter(t.ctx, q, om.SQL(bad)), "set filter "+bad, om.CodeBadParameter)
	}
	p, c := t.Producer(), t.Pull([]string{q})
	for i := range int32(3) {
		m := message(q, fmt.Sprint(i))
		m.Properties["n"] = om.Integer(i)
		t.Send(p, m)
	}
	equal(t, "body of what passes the filter that was there", string(t.Receive(c).Body), "1")
	t.Nothing(c, "a refused filter must leave the one that was there")
}

// route makes a route, deleted after the case.
func (t *trial) route(from, to string) (string, error) {
	name := unique("tck-route")
	return name, t.AP().Resources().CreateRoute(t.ctx, om.RouteConfig{Name: name, Source: from, Target: to})
}

func routingDuplicates(t *trial) {
	a, b := t.Queue(), t.Queue()
	name, err := t.route(a, b)
	t.NoError(err, "create route")
	t.Send(t.Producer(), message(a, "copied"))
	for _, q := range []string{a, b} {
		equal(t, "body in "+q, string(t.Receive(t.Pull([]string{q})).Body), "copied")
	}
	rs := t.AP().Resources()
	routes, err := rs.Routes(t.ctx)
	t.NoError(err, "routes")
	if !slices.ContainsFunc(routes, func(r om.RouteConfig) bool { return r.Name == name && r.Source == a && r.Target == b }) {
		t.Errorf("the route is not listed: %v", routes)
	}
	t.NoError(rs.DeleteRoute(t.ctx, name), "delete route")
	t.Send(t.Producer(), message(a, "only in the first"))
	t.Nothing(t.Pull([]string{b}), "a route that was deleted must copy nothing")
}

func routingCycle(t *trial) {
	a, b, c := t.Queue(), t.Queue(), t.Queue()
	rs := t.AP().Resources()
	for _, r := range [][2]string{{a, b}, {b, c}} {
		name, err := t.route(r[0], r[1])
		t.NoError(err, "create route")
		defer func() { t.Succeeds(rs.DeleteRoute(t.ctx, name), "delete route") }()
	}
	for _, r := range [][2]string{{c, a}, {b, a}, {a, a}} {
		_, err := t.route(r[0], r[1])
		t.Is(err, "a route that makes a cycle", om.CodeBadParameter)
	}
}

// broadcast gives each consumer a group of its own, which is how the contract
// says it.
func broadcast(t *trial) {
	const consumers, n = 3, 10
	q := t.manyPartitions()
	var cs []om.PullConsumer
	for range consumers {
		cs = append(cs, t.Pull([]string{q}, om.WithGroup(unique("broadcast"))))
	}
	t.SendAll(t.Producer(), q, numbered(n)...)
	want := numbered(n)
	slices.Sort(want)
	for i, c := range cs {
		ds := t.ReceiveN(c, n)
		equalLists(t, fmt.Sprintf("messages to consumer %d of %d", i+1, consumers), sortedBodies(ds), want)
		t.Ack(c, ds...)
	}
	for _, c := range cs {
		t.Nothing(c, "every consumer gets every message once")
	}
}
