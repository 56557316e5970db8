// Package lines writes messages as lines of text and reads them back: JSON lines
// that lose nothing, typed properties as people type them, and a format of
// %-verbs.
package lines

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Types are the names of property types, as in "mag:double".
var Types = []string{"string", "binary", "short", "integer", "long", "float", "double", "bool"}

// typeName returns the name of a kind.
func typeName(k om.Kind) string { return strings.ToLower(k.String()) }

// ParseProperty parses "name=value", whose value is a text, or
// "name:type=value". A name with a colon is written with its type:
// "a:b:string=x".
func ParseProperty(s string) (name string, v om.Value, err error) {
	name, text, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", v, fmt.Errorf("%.100q is no property; write name=value or name:type=value, with a type of %s", s, strings.Join(Types, ", "))
	}
	kind := "string"
	if i := strings.LastIndexByte(name, ':'); i > 0 {
		name, kind = name[:i], name[i+1:]
	}
	if !slices.Contains(Types, kind) {
		return "", v, fmt.Errorf("property %q: there is no type %.100q; there are %s", name, kind, strings.Join(Types, ", "))
	}
	if v, err = parseText(kind, text); err != nil {
		return "", v, fmt.Errorf("property %q: %w", name, err)
	}
	return name, v, nil
}

// parseText makes a value of a type from its text.
func parseText(kind, text string) (om.Value, error) {
	whole := func(bits int) (int64, error) {
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return 0, fmt.Errorf("%.100q is no %s, a whole number of %d bits", text, kind, bits)
		}
		return n, nil
	}
	switch kind {
	case "string":
		return om.String(text), nil
	case "binary":
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return om.Value{}, fmt.Errorf("%.100q is no base64: %w", text, err)
		}
		return om.Binary(b), nil
	case "short":
		n, err := whole(16)
		return om.Short(int16(n)), err
	case "integer":
		n, err := whole(32)
		return om.Integer(int32(n)), err
	case "long":
		n, err := whole(64)
		return om.Long(n), err
	case "bool":
		if text != "true" && text != "false" {
			return om.Value{}, fmt.Errorf("%.100q is neither true nor false", text)
		}
		return om.Bool(text == "true"), nil
	case "float":
		if hex, ok := strings.CutPrefix(text, "0x"); ok {
			bits, err := strconv.ParseUint(hex, 16, 32)
			return om.FloatFromBits(uint32(bits)), err
		}
		f, err := strconv.ParseFloat(text, 32)
		if err != nil {
			return om.Value{}, fmt.Errorf("%.100q is no float", text)
		}
		return om.Float(float32(f)), nil
	case "double":
		if hex, ok := strings.CutPrefix(text, "0x"); ok {
			bits, err := strconv.ParseUint(hex, 16, 64)
			return om.Double(math.Float64frombits(bits)), err
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return om.Value{}, fmt.Errorf("%.100q is no double", text)
		}
		return om.Double(f), nil
	}
	return om.Value{}, fmt.Errorf("there is no type %.100q; there are %s, object", kind, strings.Join(Types, ", "))
}

// PropertiesJSON returns properties as JSON values, and the types that these do
// not tell by themselves; json.Marshal takes both.
func PropertiesJSON(p om.Properties) (values, types map[string]any) {
	values, types = make(map[string]any, len(p)), make(map[string]any)
	for k, v := range p {
		values[k] = valueJSON(v)
		switch kind := v.Kind(); kind {
		case om.KindString, om.KindBool:
		case om.KindObject:
			o, _ := v.Object()
			if values[k], types[k] = PropertiesJSON(o); len(types[k].(map[string]any)) == 0 {
				delete(types, k)
			}
		default:
			types[k] = typeName(kind)
		}
	}
	return values, types
}

func valueJSON(v om.Value) any {
	switch v.Kind() {
	case om.KindBool:
		b, _ := v.Bool()
		return b
	case om.KindBinary:
		b, _ := v.Bytes()
		return base64.StdEncoding.EncodeToString(b)
	case om.KindShort, om.KindInteger, om.KindLong:
		return json.Number(v.String())
	case om.KindFloat, om.KindDouble:
		f, _ := v.Float64()
		switch {
		case math.IsNaN(f): // with every bit
			bits, _ := v.FloatBits()
			return fmt.Sprintf("%#x", bits)
		case math.IsInf(f, 0):
			return v.String()
		}
		return json.Number(v.String())
	}
	s, _ := v.Text()
	return s
}

// parseProperties is the inverse of PropertiesJSON. Without types whole numbers
// are Long and others Double.
func parseProperties(values, types map[string]any, depth int) (om.Properties, error) {
	if depth > om.MaxNesting {
		return nil, fmt.Errorf("properties are nested more than %d deep", om.MaxNesting)
	}
	for k := range types {
		if _, ok := values[k]; !ok {
			return nil, fmt.Errorf("property_types names %q, which is no property", k)
		}
	}
	p := make(om.Properties, len(values))
	for k, value := range values {
		v, err := parseValue(value, types[k], depth)
		if err != nil {
			return nil, fmt.Errorf("property %q: %w", k, err)
		}
		p[k] = v
	}
	return p, nil
}

func parseValue(value, kind any, depth int) (om.Value, error) {
	if o, ok := value.(map[string]any); ok {
		types, ok := kind.(map[string]any)
		if kind != nil && !ok {
			return om.Value{}, errors.New("the types of an object are an object")
		}
		p, err := parseProperties(o, types, depth+1)
		return om.Object(p), err
	}
	name, ok := kind.(string)
	if kind != nil && !ok {
		return om.Value{}, fmt.Errorf("the type %v is no text", kind)
	}
	text, guess := "", ""
	switch v := value.(type) {
	case string:
		text, guess = v, "string"
	case bool:
		text, guess = strconv.FormatBool(v), "bool"
	case json.Number:
		text, guess = v.String(), "long"
		if strings.ContainsAny(text, ".eE") {
			guess = "double"
		}
	default:
		return om.Value{}, fmt.Errorf("%v is no value of a property; there are texts, numbers, true, false and objects", value)
	}
	if name == "" {
		name = guess
	}
	return parseText(name, text)
}
