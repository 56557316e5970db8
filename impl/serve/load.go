package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// maxFile bounds a configuration file, bytes.
const maxFile = 1 << 20

// Setting is one thing that can be set.
type Setting struct {
	Key  string // in the file, for example "tls.client_ca"
	Help string
	Flag string // without dashes, "tls-client-ca"
	Env  string // "OMS_TLS_CLIENT_CA"

	index []int // of the field in Config
}

// Settings returns everything that can be set, in the order of [Config].
func Settings() []Setting { return settingsOf(reflect.TypeFor[Config](), "", nil) }

func settingsOf(t reflect.Type, prefix string, index []int) (all []Setting) {
	for i := range t.NumField() {
		f := t.Field(i)
		key, at := f.Tag.Get("koanf"), append(slices.Clone(index), i)
		switch {
		case key == "-":
		case f.Type.Kind() == reflect.Struct:
			all = append(all, settingsOf(f.Type, prefix+key+".", at)...)
		default:
			key = prefix + key
			flat := strings.ReplaceAll(key, ".", "_")
			all = append(all, Setting{
				Key: key, Help: f.Tag.Get("help"), index: at,
				Flag: strings.ReplaceAll(flat, "_", "-"), Env: "OMS_" + strings.ToUpper(flat),
			})
		}
	}
	return all
}

// value returns the setting in a configuration, to be set.
func (s Setting) value(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

// Text returns the value of the setting in c, as it is written.
func (s Setting) Text(c *Config) string {
	switch v := s.value(c).Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// text is a flag whose value is read along with those of file and environment.
type text struct {
	value string
	kind  string
}

func (t *text) String() string     { return t.value }
func (t *text) Set(s string) error { t.value = s; return nil }
func (t *text) Type() string       { return t.kind }

// AddFlags adds a flag for every setting.
func AddFlags(flags *pflag.FlagSet) {
	defaults := Defaults()
	for _, s := range Settings() {
		v := s.value(&defaults)
		t := &text{kind: map[reflect.Type]string{
			reflect.TypeFor[time.Duration](): "duration", reflect.TypeFor[Bytes](): "size", reflect.TypeFor[[]string](): "list",
			reflect.TypeFor[int](): "number", reflect.TypeFor[float64](): "number",
		}[v.Type()]}
		if t.kind == "" {
			t.kind = v.Kind().String()
		}
		help := s.Help
		if !v.IsZero() {
			help += fmt.Sprintf(" (default %s)", s.Text(&defaults))
		}
		f := flags.VarPF(t, s.Flag, "", help)
		if v.Kind() == reflect.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// Source says where a configuration comes from.
type Source struct {
	File    string         // "" for none
	Environ []string       // as os.Environ returns it
	Flags   *pflag.FlagSet // with those of AddFlags; nil for none
}

// Loaded is a configuration and where each value of it comes from.
type Loaded struct {
	Config
	From map[string]string // by key, for example "flag --listen"
	// Strange are variables of the environment that look like settings and are
	// none, with what may have been meant.
	Strange []string

	source Source
}

// layer is one place from which settings come.
type layer struct {
	values *koanf.Koanf
	from   func(Setting) string
}

// Load reads a configuration: flags go before the environment, that before the
// file, that before the defaults. The error joins one for each problem; values
// that make no sense together are found by Check.
func Load(source Source) (*Loaded, error) {
	l := &Loaded{Config: Defaults(), From: make(map[string]string), source: source}
	file, err := readFile(source.File)
	if err != nil {
		return nil, err
	}
	environ, err := l.environ()
	if err != nil {
		return nil, err
	}
	flags, err := source.flags()
	if err != nil {
		return nil, err
	}
	layers := []layer{
		{file, func(Setting) string { return source.File }},
		{environ, func(s Setting) string { return "environment " + s.Env }},
		{flags, func(s Setting) string { return "flag --" + s.Flag }},
	}
	var errs []error
	for _, s := range Settings() {
		l.From[s.Key] = "default"
		for _, from := range layers {
			if from.values.Get(s.Key) == nil { // not there, or empty in the file
				continue
			}
			l.From[s.Key] = from.from(s)
			if err := s.decode(from.values, &l.Config); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s (%s)", s.Key, err, from.from(s)))
			}
		}
	}
	return l, errors.Join(errs...)
}

// decode sets the setting to what a layer has.
func (s Setting) decode(from *koanf.Koanf, c *Config) error {
	v := s.value(c)
	into := reflect.New(v.Type())
	err := from.UnmarshalWithConf(s.Key, into.Interface(), koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(refuseForms, mapstructure.TextUnmarshallerHookFunc(), mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
	if err != nil {
		said := strings.Join(strings.Fields(err.Error()), " ")
		return errors.New(strings.TrimPrefix(strings.TrimPrefix(said, "decoding failed due to the following error(s): "), "'' "))
	}
	v.Set(into.Elem())
	return nil
}

// refuseForms refuses what the decoder would take for something that it is not.
func refuseForms(from, to reflect.Type, data any) (any, error) {
	switch {
	case to == reflect.TypeFor[time.Duration]() && from.Kind() != reflect.String:
		return nil, fmt.Errorf("%v has no unit; write for example %vs", data, data)
	case to == reflect.TypeFor[Bytes]() && (from.Kind() == reflect.Float64 || from.Kind() == reflect.Bool),
		to.Kind() == reflect.String && from.Kind() != reflect.String,
		to.Kind() == reflect.Bool && from.Kind() != reflect.Bool && from.Kind() != reflect.String,
		to.Kind() != reflect.Slice && (from.Kind() == reflect.Slice || from.Kind() == reflect.Map):
		return nil, fmt.Errorf("%v is not a %s; put text between quotes", data, to.Kind())
	}
	return data, nil
}

// readFile reads a file; "" is an empty one.
func readFile(path string) (*koanf.Koanf, error) {
	k := koanf.New(".")
	if path == "" {
		return k, nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no configuration file %s", path)
	case err != nil:
		return nil, err
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes; a configuration has %d at the most", path, info.Size(), maxFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := k.Load(rawbytes.Provider(content), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, checkKeys(path, k)
}

// checkKeys refuses keys that are no settings.
func checkKeys(path string, k *koanf.Koanf) error {
	var errs []error
	for _, key := range k.Keys() {
		isSetting, isSection := false, false
		for _, s := range Settings() {
			isSetting = isSetting || s.Key == key
			isSection = isSection || strings.HasPrefix(s.Key, key+".")
		}
		switch {
		case isSetting, isSection && k.Get(key) == nil:
		case isSection:
			errs = append(errs, fmt.Errorf("%s: %s is a section, not a value", path, key))
		default:
			errs = append(errs, fmt.Errorf("%s: there is no setting %s%s", path, key, suggest(key, func(s Setting) string { return s.Key })))
		}
	}
	return errors.Join(errs...)
}

// suggest names the setting that was probably meant, "" for none.
func suggest(name string, form func(Setting) string) string {
	best, distance := "", 4
	for _, s := range Settings() {
		full := form(s)
		_, last, _ := strings.Cut(full, ".")
		for _, candidate := range []string{full, last} {
			if d := levenshtein.ComputeDistance(name, candidate); candidate != "" && d < distance && d < len(candidate)/2+1 {
				best, distance = full, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; is " + best + " meant?"
}

// environ reads the environment. Empty variables count as not set.
func (l *Loaded) environ() (*koanf.Koanf, error) {
	values := make(map[string]any)
	for _, pair := range l.source.Environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "OMS_") || value == "" {
			continue
		}
		all := Settings()
		i := slices.IndexFunc(all, func(s Setting) bool { return s.Env == name })
		if i >= 0 {
			values[all[i].Key] = value
		} else if meant := suggest(name, func(s Setting) string { return s.Env }); meant != "" {
			l.Strange = append(l.Strange, name+meant)
		}
	}
	k := koanf.New(".")
	return k, k.Load(confmap.Provider(values, "."), nil)
}

// flags reads the flags that were given.
func (source Source) flags() (*koanf.Koanf, error) {
	values := make(map[string]any)
	if source.Flags != nil {
		for _, s := range Settings() {
			if f := source.Flags.Lookup(s.Flag); f != nil && f.Changed {
				values[s.Key] = f.Value.String()
			}
		}
	}
	k := koanf.New(".")
	return k, k.Load(confmap.Provider(values, "."), nil)
}
