package broker

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestSettingsAreComparedAndKept(t *testing.T) {
	ctx, config := t.Context(), Config{Store: store.Options{Path: t.TempDir()}}
	b, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	none := b.Setting("auth")
	if none.Version != 0 || none.Value != nil {
		t.Errorf("before it was set: %+v", none)
	}
	value := []byte("one")
	if v, err := b.SetSetting(ctx, "auth", 0, value); v != 1 || err != nil {
		t.Fatal(v, err)
	}
	value[0] = 'x' // it is the caller's again
	<-none.Changed
	if _, err := b.SetSetting(ctx, "auth", 0, []byte("two")); om.CodeOf(err) != om.CodeStorageBusy {
		t.Errorf("somebody else was faster: %v", err)
	}
	if v, err := b.SetSetting(ctx, "auth", 1, bytes.Repeat([]byte("x"), MaxSetting)); v != 2 || err != nil {
		t.Fatal(v, err)
	}
	for name, size := range map[string]int{"auth": MaxSetting + 1, "": 1, "a b": 1, strings.Repeat("n", 1<<16): 1} {
		if _, err := b.SetSetting(ctx, name, 2, make([]byte, size)); om.CodeOf(err) != om.CodeBadParameter {
			t.Errorf("%.10q with %d bytes: %v", name, size, err)
		}
	}
	if _, err := b.SetSetting(ctx, "other", 0, []byte("one")); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(config); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if s := b.Setting("auth"); s.Version != 2 || len(s.Value) != MaxSetting {
		t.Errorf("after a start: version %d, %d bytes", s.Version, len(s.Value))
	}
	if s := b.Setting("other"); s.Version != 1 || string(s.Value) != "one" {
		t.Errorf("after a start: %+v", s)
	}
}

// TestOneOfManySetters has many set a setting at the same time: each version is
// set by one of them.
func TestOneOfManySetters(t *testing.T) {
	b, err := Open(Config{Store: store.Options{Memory: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var all sync.WaitGroup
	var set atomic.Uint64
	for range 8 {
		all.Go(func() {
			for range 50 {
				if _, err := b.SetSetting(t.Context(), "auth", b.Setting("auth").Version, []byte("x")); err == nil {
					set.Add(1)
				}
			}
		})
	}
	all.Wait()
	if v := b.Setting("auth").Version; v != set.Load() || v == 0 {
		t.Errorf("version %d after %d times", v, set.Load())
	}
}
