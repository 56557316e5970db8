package lines

import (
	"fmt"
	"strconv"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// FormatHelp tells the verbs of a format.
const FormatHelp = `  %b  body as it is            %k  key
  %S  bytes of the body        %i  message id
  %q  queue                    %h  properties, name=value with commas between
  %p  partition                %{name}  one property, empty without it
  %o  offset                   %d  which delivery of the message this is
  %t  when it was sent         %s  when it was stored, both as in RFC 3339
  %%  a per cent sign          \n \t \\  new line, tab, backslash`

// Format writes deliveries as a text of verbs says.
type Format struct{ parts []part }

// part is literal text or a verb.
type part struct {
	text string
	verb func(b []byte, d *om.Delivery) []byte
}

var verbs = map[byte]func(b []byte, d *om.Delivery) []byte{
	'b': func(b []byte, d *om.Delivery) []byte { return append(b, d.Body...) },
	'S': func(b []byte, d *om.Delivery) []byte { return strconv.AppendInt(b, int64(len(d.Body)), 10) },
	'q': func(b []byte, d *om.Delivery) []byte {
		return append(b, om.JoinQueueName(om.SplitQueueName(d.Destination, om.DefaultNamespace))...)
	},
	'p': func(b []byte, d *om.Delivery) []byte { return strconv.AppendInt(b, int64(d.Partition), 10) },
	'o': func(b []byte, d *om.Delivery) []byte { return strconv.AppendInt(b, d.Offset, 10) },
	't': func(b []byte, d *om.Delivery) []byte { return append(b, stamp(d.BornAt)...) },
	's': func(b []byte, d *om.Delivery) []byte { return append(b, stamp(d.Ext.StoredAt)...) },
	'k': func(b []byte, d *om.Delivery) []byte { return append(b, d.Ext.MessageKey...) },
	'i': func(b []byte, d *om.Delivery) []byte { return append(b, d.MessageID...) },
	'd': func(b []byte, d *om.Delivery) []byte { return strconv.AppendInt(b, int64(d.Ext.DeliveryCount), 10) },
	'h': func(b []byte, d *om.Delivery) []byte {
		for i, k := range d.Properties.Keys() {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, k...), '='), d.Properties[k].String()...)
		}
		return b
	},
}

// ParseFormat parses a text of verbs.
func ParseFormat(s string) (f Format, err error) {
	var text strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			escape, ok := map[byte]byte{'n': '\n', 't': '\t', '\\': '\\'}[s[i]]
			if !ok {
				return f, fmt.Errorf(`\%c in the format means nothing; there are \n, \t and \\`, s[i])
			}
			text.WriteByte(escape)
		case s[i] != '%':
			text.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "%%"):
			i++
			text.WriteByte('%')
		case strings.HasPrefix(s[i:], "%{"):
			name, _, ok := strings.Cut(s[i+2:], "}")
			if !ok {
				return f, fmt.Errorf("%.40q in the format has no closing brace", s[i:])
			}
			i += 2 + len(name)
			f.parts = append(f.parts, part{text: text.String()}, part{verb: property(name)})
			text.Reset()
		case i+1 == len(s) || verbs[s[i+1]] == nil:
			return f, fmt.Errorf("%.2q in the format is no verb; %%%% is a per cent sign, --help lists the verbs", s[i:])
		default:
			i++
			f.parts = append(f.parts, part{text: text.String()}, part{verb: verbs[s[i]]})
			text.Reset()
		}
	}
	f.parts = append(f.parts, part{text: text.String()})
	return f, nil
}

func property(name string) func(b []byte, d *om.Delivery) []byte {
	return func(b []byte, d *om.Delivery) []byte {
		if v, ok := d.Properties[name]; ok {
			b = append(b, v.String()...)
		}
		return b
	}
}

// Append appends a delivery to b.
func (f Format) Append(b []byte, d *om.Delivery) []byte {
	for _, p := range f.parts {
		if p.verb == nil {
			b = append(b, p.text...)
		} else {
			b = p.verb(b, d)
		}
	}
	return b
}
