package spi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Registry finds drivers by name. The zero value is empty and ready; all
// methods may be called concurrently.
type Registry struct {
	mu      sync.RWMutex
	drivers map[string]Driver
}

// DefaultRegistry is the registry of [Register] and of oms.Open.
var DefaultRegistry = new(Registry)

// Register adds a driver to the DefaultRegistry under the name of its Info, as
// drivers do in their init function. It panics when the name is taken or empty.
func Register(d Driver) { DefaultRegistry.Register(d) }

// Register adds a driver under the name of its Info. It panics when the name
// is taken or empty: that is a mistake in the program.
func (r *Registry) Register(d Driver) {
	name := d.Info().Name
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "" {
		panic("spi: a driver without a name")
	}
	if r.drivers[name] != nil {
		panic(fmt.Sprintf("spi: two drivers are named %q", name))
	}
	if r.drivers == nil {
		r.drivers = make(map[string]Driver)
	}
	r.drivers[name] = d
}

// Names returns the names of the registered drivers, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.drivers))
}

// Lookup returns the driver with that name, or an error with
// CodeDriverUnavailable that lists the known ones (R048).
func (r *Registry) Lookup(name string) (Driver, error) {
	r.mu.RLock()
	d := r.drivers[name]
	r.mu.RUnlock()
	if d == nil {
		known := strings.Join(r.Names(), ", ")
		if known == "" {
			known = "none"
		}
		return nil, om.NewError(om.CodeDriverUnavailable, "open", name,
			"no driver of that name is linked into this program (known: %s); import the driver's package for its side effect", known)
	}
	return d, nil
}
