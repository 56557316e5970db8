package mutant

import (
	"bytes"
	"math"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/tck"
)

// values returns a change of each property value of a message.
func values(f func(om.Value) om.Value) func(*om.Message) {
	return func(m *om.Message) {
		for k, v := range m.Properties {
			m.Properties[k] = f(v)
		}
	}
}

var valueMutants = []Mutant{
	{"kind-erased", "R001", "was sent as Short and arrived as String", func(p *parts) {
		p.read = values(func(v om.Value) om.Value {
			if _, isNumber := v.Int64(); isNumber {
				return om.String(v.String())
			}
			return v
		})
	}},
	{"long-through-float64", "R002", `property "long max"`, func(p *parts) {
		p.write = values(func(v om.Value) om.Value {
			if n, ok := v.Int64(); ok && v.Kind() == om.KindLong {
				f := math.Nextafter(float64(n), 0)
				return om.Long(int64(f))
			}
			return v
		})
	}},
	{"latin1-recode", "R003", `property "astral"`, func(p *parts) {
		p.write = values(func(v om.Value) om.Value {
			s, ok := v.Text()
			if !ok {
				return v
			}
			return om.String(strings.Map(func(r rune) rune {
				if r > 0xff {
					return '?'
				}
				return r
			}, s))
		})
	}},
	{"cut-at-NUL", "R004", `property "every"`, func(p *parts) {
		p.write = values(func(v om.Value) om.Value {
			if b, ok := v.Bytes(); ok {
				head, _, _ := bytes.Cut(b, []byte{0})
				return om.Binary(head)
			}
			return v
		})
	}},
	{"key-lowercased", "R005", `property "KEY" is missing`, func(p *parts) {
		p.write = func(m *om.Message) {
			lower := make(om.Properties)
			for k, v := range m.Properties {
				lower[strings.ToLower(k)] = v
			}
			m.Properties = lower
		}
	}},
	{"nested-flattened", "R006", `property "object" is missing`, func(p *parts) {
		p.write = func(m *om.Message) {
			for k, v := range m.Properties {
				if o, ok := v.Object(); ok {
					delete(m.Properties, k)
					for inner, v := range o {
						m.Properties[k+"."+inner] = v
					}
				}
			}
		}
	}},
	{"panic-on-absent", "R007", "GetString of an absent key panicked", func(p *parts) {
		p.properties = func(ps om.Properties) tck.Getter { return panicking{ps} }
	}},
	{"bool-as-int", "G16", "was sent as Bool and arrived as Integer", func(p *parts) {
		p.write = values(func(v om.Value) om.Value {
			if b, ok := v.Bool(); ok {
				if b {
					return om.Integer(1)
				}
				return om.Integer(0)
			}
			return v
		})
	}},
	{"nan-becomes-zero", "G17", "NaN as double arrived as", func(p *parts) {
		p.read = values(func(v om.Value) om.Value {
			if f, ok := v.Float64(); ok && math.IsNaN(f) {
				return om.Double(0)
			}
			return v
		})
	}},
	{"bad-utf8-stored", "G15", "a property key that is no UTF-8", func(p *parts) {
		p.producer = onSend(sanitized)
	}},
}

// panicking panics where a key is absent.
type panicking struct{ om.Properties }

func (p panicking) GetString(key, def string) string {
	if _, ok := p.Properties[key]; !ok {
		panic("no property " + key)
	}
	return p.Properties.GetString(key, def)
}
