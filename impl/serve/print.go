package serve

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes the configuration as a file would have it, with where each value
// comes from behind it. It holds no secrets; what should name one and is one by
// mistake is left out.
func (l *Loaded) Print(w io.Writer) error {
	section := ""
	for _, s := range Settings() {
		parts := strings.Split(s.Key, ".")
		indent := strings.Repeat("  ", len(parts)-1)
		if here := strings.Join(parts[:len(parts)-1], "."); here != section {
			if here != "" {
				_, _ = fmt.Fprintf(w, "%s%s:\n", indent[2:], parts[len(parts)-2])
			}
			section = here
		}
		value, err := yaml.Marshal(l.shown(s))
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s%s: %s", indent, parts[len(parts)-1], strings.TrimSpace(string(value)))
		if _, err := fmt.Fprintf(w, "%-56s # %s\n", line, l.From[s.Key]); err != nil {
			return err
		}
	}
	return nil
}

// shown returns what is printed of a setting.
func (l *Loaded) shown(s Setting) any {
	switch v := s.value(&l.Config).Interface().(type) {
	case []string:
		var n yaml.Node
		n.Kind, n.Style = yaml.SequenceNode, yaml.FlowStyle
		for _, text := range v {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: text, Style: yaml.DoubleQuotedStyle})
		}
		return &n
	case string:
		switch {
		case s.Key == "init_admin_password" && v != "" && !isReference(v):
			return "[redacted]"
		case s.Key == "trace.endpoint":
			if u, err := url.Parse(v); err == nil {
				return u.Redacted()
			}
			return "[redacted]"
		}
		return v
	case Bytes, fmt.Stringer:
		return fmt.Sprint(v)
	default:
		return v
	}
}
