package spi

import (
	"flag"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// ParseOptions sets the flags of a driver, which stand for its options, from
// the options of a URL. An option that has no flag, occurs more than once or
// has a value that its flag does not take gives CodeMalformedURL; the usage of
// the flag is part of the error.
func ParseOptions(u om.URL, options *flag.FlagSet) error {
	refuse := func(format string, args ...any) error {
		return om.NewError(om.CodeMalformedURL, "open", u.String(), format, args...)
	}
	for name, values := range u.Options {
		f := options.Lookup(name)
		if f == nil {
			var known []string
			options.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
			return refuse("no such option: %s; there are: %s", name, strings.Join(known, ", "))
		}
		if len(values) != 1 {
			return refuse("the option %s occurs %d times", name, len(values))
		}
		if err := f.Value.Set(values[0]); err != nil {
			return refuse("%s=%s: %w; it is %s", name, values[0], err, f.Usage)
		}
	}
	return nil
}
