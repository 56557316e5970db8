package broker

import (
	"fmt"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/vmihailenco/msgpack/v5"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// parseMessage parses "body name=value …": key is the message key, of the
// correlation id, others are properties, numbers as Long.
func parseMessage(line string) *om.Message {
	fields := strings.Fields(line)
	m := om.NewMessage("", []byte(fields[0]))
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case name == "key":
			m.Ext.MessageKey = value
		case name == "of":
			m.Ext.CorrelationID = value
		case err == nil:
			m.Properties[name] = om.Long(n)
		default:
			m.Properties[name] = om.String(value)
		}
	}
	return m
}

// attributes prints what parseMessage parses.
func attributes(m *om.Message) (out string) {
	if m.Ext.MessageKey != "" {
		out = " key=" + m.Ext.MessageKey
	}
	if m.Ext.CorrelationID != "" {
		out += " of=" + m.Ext.CorrelationID
	}
	for _, k := range m.Properties.Keys() {
		out += " " + k + "="
		if n, ok := m.Properties[k].Int64(); ok {
			out += strconv.FormatInt(n, 10)
		} else {
			out += m.Properties.GetString(k, "")
		}
	}
	return out
}

// setFilter sets the input as filter of a queue.
func (s *script) setFilter(d *datadriven.TestData) string {
	f := om.Filter{}
	if d.Input != "" {
		f = om.SQL(d.Input)
	}
	return said(s.b.SetFilter(s.ctx, word(d, 0), f))
}

// route reads a route; each line of the input is "filter expression",
// "set name value" or "drop name".
func (s *script) route(d *datadriven.TestData) om.RouteConfig {
	start, err := om.ParsePosition(text(d, "start", "begin"))
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	r := om.RouteConfig{Name: word(d, 0), Source: text(d, "from", ""), Target: text(d, "to", ""), Start: start}
	for line := range strings.Lines(d.Input) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "filter":
			r.Filter = om.SQL(rest)
		case "set":
			name, value, _ := strings.Cut(rest, " ")
			r.Operators = append(r.Operators, om.SetProperties(om.Properties{name: om.String(value)}))
		case "join":
			n, err := strconv.Atoi(rest)
			if err != nil {
				d.Fatalf(s.t, "%v", err)
			}
			r.Operators = append(r.Operators, om.Join(n, time.Minute))
		case "deduplicate":
			r.Operators = append(r.Operators, om.Deduplicate(rest, time.Minute))
		case "drop":
			r.Operators = append(r.Operators, om.DropProperties(rest))
		}
	}
	return r
}

func (s *script) routes(*datadriven.TestData) string {
	synctest.Wait()
	var out []string
	for _, r := range s.b.Routes() {
		line := fmt.Sprintf("%s: %s to %s from %s", r.Name, r.Source, r.Target, r.Start)
		if r.Filter.Expression != "" {
			line += " filter " + r.Filter.Expression
		}
		for _, o := range r.Operators {
			line += fmt.Sprintf(" %s %v%v", o.Type, o.Properties.Keys(), o.Keys)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// printable shows a joined body as its parts.
func printable(body []byte) string {
	var parts []string
	if len(body) > 0 && body[0] > 0x7f && msgpack.Unmarshal(body, &parts) == nil {
		return strings.Join(parts, "+")
	}
	return string(body)
}
