package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// filter decides which messages pass; nil lets all of them.
type filter func(*om.Message) bool

func (f filter) matches(m *om.Message) bool { return f == nil || f(m) }

// newFilter parses a filter; a malformed one gives CodeBadParameter (G35).
func newFilter(op, resource string, f om.Filter) (filter, error) {
	parsed, err := parseFilter(f)
	if err != nil {
		return nil, om.NewError(om.CodeBadParameter, op, resource, "the filter %.200q is malformed: %w", f.Expression, err)
	}
	return parsed, nil
}

func parseFilter(f om.Filter) (filter, error) {
	switch {
	case f == om.Filter{}:
		return nil, nil
	case len(f.Expression) > MaxExpression:
		return nil, fmt.Errorf("it has %d bytes, %d are the most", len(f.Expression), MaxExpression)
	case !utf8.ValidString(f.Expression):
		return nil, errors.New("it is not valid UTF-8")
	case f.Type == "sql":
		return parseSQL(f.Expression)
	case f.Type == "tag":
		return parseTags(f.Expression)
	}
	return nil, fmt.Errorf("there is no type %q; make it with openmessaging.SQL or openmessaging.Tag", f.Type)
}

// parseTags parses "a || b", which lets messages with one of these tags pass,
// and "*", which lets all pass.
func parseTags(expression string) (filter, error) {
	var tags []string
	for tag := range strings.SplitSeq(expression, "||") {
		tag = strings.TrimSpace(tag)
		if tag == "" || strings.ContainsAny(tag, "| \t\n") {
			return nil, errors.New(`tags are words with "||" between them`)
		}
		tags = append(tags, tag)
	}
	return func(m *om.Message) bool {
		tag, ok := m.Properties[om.PropertyTags].Text()
		return slices.Contains(tags, "*") || ok && slices.Contains(tags, tag)
	}, nil
}

func (c *conn) SetFilter(ctx context.Context, name string, f om.Filter) error {
	const op = "set filter"
	q, err := c.beginQueue(ctx, om.CapFilter, op, name)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	parsed, err := newFilter(op, name, f)
	if err != nil {
		return err
	}
	q.filter = parsed
	for _, p := range q.parts {
		for _, m := range p.log {
			m.matches = parsed.matches(m.m)
		}
	}
	c.s.wake()
	return nil
}
