package tck

import (
	"context"
	"fmt"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var bindingCases = table{
	"R101": filterOnBinding,
	"R102": filterUnknown,
	"R103": filterLike,
	"R104": filterSettles,
	"R105": filterPerGroup,
	"R106": filterTypes,
	"R107": filterTag,
}

var routeCases = table{
	"R108": routeFilterOperators,
	"R109": routeStart,
	"R110": routeUpdate,
	"R111": routeDurable,
	"R112": routeKeepsIdentity,
}

// with returns a message with properties.
func with(queue, body string, p om.Properties) *om.Message {
	m := message(queue, body)
	for k, v := range p {
		m.Properties[k] = v
	}
	return m
}

// samples are messages for filters, by their bodies.
func samples(queue string) []*om.Message {
	return []*om.Message{
		with(queue, "a", om.Properties{"n": om.Short(1), "s": om.String("10%")}),
		with(queue, "b", om.Properties{"n": om.Double(1), "s": om.String("100")}),
		with(queue, "c", om.Properties{"n": om.Long(2), "s": om.String("a_c")}),
		with(queue, "d", om.Properties{"n": om.String("1"), "s": om.String("abc")}),
		with(queue, "e", om.Properties{"t": om.Bool(true)}),
	}
}

// filtered receives what a group with a filter gets of the samples and fails the
// case when it is not what matches.
func (t *trial) filtered(f om.Filter, want ...string) {
	q := t.Queue()
	_, err := t.Producer().SendBatch(t.ctx, samples(q))
	t.NoError(err, "send")
	c := t.Pull([]string{q}, om.WithFilter(f))
	var got []string
	for range want {
		got = append(got, string(t.Receive(c).Body))
	}
	equalLists(t, "messages that match "+f.Expression, got, want)
	t.Nothing(c, "a message that does not match "+f.Expression+" must not be delivered")
}

func filterOnBinding(t *trial) {
	t.filtered(om.SQL("n = 2"), "c")
	t.filtered(om.SQL("n >= 1"), "a", "b", "c")
}

func filterUnknown(t *trial) {
	t.filtered(om.SQL("NOT (n = 2)"), "a", "b")
	t.filtered(om.SQL("NOT (none = 1)"))
	t.filtered(om.SQL("none = 1 OR n = 2"), "c")
	t.filtered(om.SQL("NOT (none = 1 AND n = 2)"), "a", "b")
	t.filtered(om.SQL("s NOT LIKE '%0%' AND none IS NULL"), "c", "d")
}

func filterLike(t *trial) {
	t.filtered(om.SQL("s LIKE 'a_c'"), "c", "d")
	t.filtered(om.SQL("s LIKE 'a!_c' ESCAPE '!'"), "c")
	t.filtered(om.SQL("s LIKE '10!%' ESCAPE '!'"), "a")
	t.filtered(om.SQL("s LIKE '10%'"), "a", "b")
	t.filtered(om.SQL("s LIKE '1'"))
}

func filterSettles(t *trial) {
	q := t.Queue()
	_, err := t.Producer().SendBatch(t.ctx, samples(q))
	t.NoError(err, "send")
	c := t.Pull([]string{q}, om.WithGroup("settles"), om.WithFilter(om.SQL("s LIKE 'abc'")))
	d := t.Receive(c)
	t.Nothing(c, "a message that does not match must not be delivered")
	t.Ack(c, d)
	t.NoError(c.Close(t.ctx), "close")
	t.Send(t.Producer(), message(q, "later"))
	all := t.Pull([]string{q}, om.WithGroup("settles"))
	equal(t, "first message to a consumer of the group without the filter", string(t.Receive(all).Body), "later")
	t.Nothing(all, "what the filter left out must not come")
}

func filterPerGroup(t *trial) {
	q := t.Queue()
	filters := map[string]string{"ones": "n = 1", "twos": "n = 2"}
	consumers := make(map[string]om.PullConsumer)
	for group, f := range filters {
		consumers[group] = t.Pull([]string{q}, om.WithGroup(group), om.WithFilter(om.SQL(f)))
	}
	other, err := t.AP().NewPullConsumer(t.ctx, om.WithGroup("ones"), om.WithFilter(om.SQL("n = 3")))
	t.NoError(err, "new pull consumer")
	t.Is(other.Bind(t.ctx, q), "a consumer with another filter than its group's", om.CodeBadParameter)
	t.NoError(other.Close(t.ctx), "close")
	_, err = t.Producer().SendBatch(t.ctx, samples(q))
	t.NoError(err, "send")
	equalLists(t, "messages to the group with n = 1", sortedBodies(t.ReceiveN(consumers["ones"], 2)), []string{"a", "b"})
	equalLists(t, "messages to the group with n = 2", sortedBodies(t.ReceiveN(consumers["twos"], 1)), []string{"c"})
	for group, c := range consumers {
		t.Nothing(c, "what does not match the filter of the group "+group+" must not be delivered")
	}
}

func filterTypes(t *trial) {
	t.filtered(om.SQL("n = 1"), "a", "b")
	t.filtered(om.SQL("n = '1'"), "d")
	t.filtered(om.SQL("NOT (n = '1')"))
	t.filtered(om.SQL("n BETWEEN 0.5 AND 1"), "a", "b")
}

func filterTag(t *trial) {
	q := t.Queue()
	var ms []*om.Message
	for _, tag := range []string{"a", "b", "c", ""} {
		m := message(q, "tag "+tag)
		if tag != "" {
			m.Properties[om.PropertyTags] = om.String(tag)
		}
		ms = append(ms, m)
	}
	_, err := t.Producer().SendBatch(t.ctx, ms)
	t.NoError(err, "send")
	for _, c := range []struct {
		tags string
		want []string
	}{{"a || c", []string{"tag a", "tag c"}}, {"b", []string{"tag b"}}, {"*", []string{"tag ", "tag a", "tag b", "tag c"}}} {
		got := t.Pull([]string{q}, om.WithGroup(unique("tags")), om.WithFilter(om.Tag(c.tags)))
		equalLists(t, "messages with the tags "+c.tags, sortedBodies(t.ReceiveN(got, len(c.want))), c.want)
		t.Nothing(got, "a message without one of the tags "+c.tags+" must not be delivered")
	}
}

// routeOf makes a route, deleted after the case.
func (t *trial) routeOf(r om.RouteConfig) om.RouteConfig {
	r.Name = unique("tck-route")
	t.NoError(t.AP().Resources().CreateRoute(t.ctx, r), "create route")
	t.Cleanup(func(ctx context.Context) { _ = t.AP().Resources().DeleteRoute(ctx, r.Name) })
	return r
}

func routeFilterOperators(t *trial) {
	a, b := t.Queue(), t.Queue()
	t.routeOf(om.RouteConfig{Source: a, Target: b, Filter: om.SQL("n = 2"), Operators: []om.Operator{
		om.SetProperties(om.Properties{"s": om.String("set"), "new": om.Bool(true)}), om.DropProperties("n"),
	}})
	_, err := t.Producer().SendBatch(t.ctx, samples(a))
	t.NoError(err, "send")
	target := t.Pull([]string{b})
	d := t.Receive(target)
	equal(t, "body of the copy", string(d.Body), "c")
	if want := (om.Properties{"s": om.String("set"), "new": om.Bool(true)}); !d.Properties.Equal(want) {
		t.Errorf("properties of the copy: got %v, want %v", d.Properties, want)
	}
	t.Nothing(target, "a message that does not match must not be copied")
	for _, d := range t.ReceiveN(t.Pull([]string{a}), 5) {
		if want := (om.Properties{"n": om.Long(2), "s": om.String("a_c")}); string(d.Body) == "c" && !d.Properties.Equal(want) {
			t.Errorf("properties of the message in the source: got %v, want %v", d.Properties, want)
		}
	}
}

func routeStart(t *trial) {
	a, all, later := t.Queue(), t.Queue(), t.Queue()
	t.SendAll(t.Producer(), a, "before")
	t.routeOf(om.RouteConfig{Source: a, Target: all, Start: om.Begin()})
	t.routeOf(om.RouteConfig{Source: a, Target: later, Start: om.End()})
	t.SendAll(t.Producer(), a, "after")
	equalLists(t, "copies of a route from the beginning", sortedBodies(t.ReceiveN(t.Pull([]string{all}), 2)), []string{"after", "before"})
	c := t.Pull([]string{later})
	equal(t, "first copy of a route from the end", string(t.Receive(c).Body), "after")
	t.Nothing(c, "a route from the end must not copy what was stored before it")
}

func routeUpdate(t *trial) {
	a, b, c := t.Queue(), t.Queue(), t.Queue()
	r := t.routeOf(om.RouteConfig{Source: a, Target: b})
	t.SendAll(t.Producer(), a, "first")
	first := t.Pull([]string{b})
	equal(t, "body in the first target", string(t.Receive(first).Body), "first")
	r.Target = c
	t.NoError(t.AP().Resources().UpdateRoute(t.ctx, r), "update route")
	t.SendAll(t.Producer(), a, "second")
	second := t.Pull([]string{c})
	equal(t, "body in the new target", string(t.Receive(second).Body), "second")
	t.Nothing(second, "what was copied before the update must not be copied again")
	t.Nothing(first, "the old target must get nothing any more")
	r.Name = unique("tck-route")
	t.Is(t.AP().Resources().UpdateRoute(t.ctx, r), "update of a route that does not exist", om.ErrDestination)
}

func routeDurable(t *trial) {
	faults := t.restarts()
	a, b := t.Queue(), t.Queue()
	t.routeOf(om.RouteConfig{Source: a, Target: b})
	want := 0
	for what, fault := range faults {
		t.SendAll(t.Producer(), a, numbered(20)...)
		fault()
		t.SendAll(t.Producer(), a, "after "+what)
		want += 21
		c := t.Pull([]string{b}, om.WithGroup(unique("copies")))
		seen := make(map[string]bool)
		for _, d := range t.ReceiveN(c, want) {
			if seen[d.MessageID] {
				t.Errorf("after %s the message %q is in the target twice", what, d.Body)
			}
			seen[d.MessageID] = true
		}
		t.Nothing(c, "after "+what+" every message must be in the target once")
		t.NoError(c.Close(t.ctx), "close")
	}
}

func routeKeepsIdentity(t *trial) {
	a, b := t.Queue(), t.Queue()
	t.routeOf(om.RouteConfig{Source: a, Target: b})
	m := with(a, "body", om.Properties{
		"s": om.String("x"), "b": om.Binary([]byte{0, 255}), "i": om.Integer(-7), "l": om.Long(1 << 60), "d": om.Double(0.1), "t": om.Bool(true),
	})
	if t.Has(om.CapExtIDs) {
		m.Ext.MessageKey, m.Ext.CorrelationID, m.Ext.TraceID = "key", "correlation", "trace"
	}
	t.Send(t.Producer(), m)
	d, c := t.Receive(t.Pull([]string{a})), t.Receive(t.Pull([]string{b}))
	for _, x := range []struct{ what, got, want string }{
		{"id", c.MessageID, d.MessageID}, {"born host", c.BornHost, d.BornHost}, {"born time", fmt.Sprint(c.BornAt), fmt.Sprint(d.BornAt)},
		{"key", c.Ext.MessageKey, d.Ext.MessageKey}, {"correlation id", c.Ext.CorrelationID, d.Ext.CorrelationID}, {"trace id", c.Ext.TraceID, d.Ext.TraceID},
		{"body", string(c.Body), string(d.Body)}, {"version", c.Version, d.Version},
	} {
		equal(t, x.what+" of the copy", x.got, x.want)
	}
	if !c.Properties.Equal(d.Properties) {
		t.Errorf("properties of the copy: got %v, want %v", c.Properties, d.Properties)
	}
}
