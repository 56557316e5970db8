package broker

import (
	"bytes"
	"context"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// MaxSetting bounds the value of a setting, bytes; over it is CodeBadParameter.
const MaxSetting = 1 << 20

// Setting is a named value that belongs to the store and not to a queue. Its
// content is the caller's business.
type Setting struct {
	// Value belongs to the broker: do not change it. Nil when it was never set.
	Value []byte
	// Version counts how often the setting was set; 0 for never.
	Version uint64
	// Changed is closed when the setting is set again.
	Changed <-chan struct{}
}

// settingRecord is the stored form of a setting.
type settingRecord struct {
	Version uint64 `msgpack:"version"`
	Value   []byte `msgpack:"value"`
}

type setting struct {
	settingRecord
	changed chan struct{}
}

// setting returns a setting; b.mu is held for writing.
func (b *Broker) setting(name string) *setting {
	s := b.settings[name]
	if s == nil {
		s = &setting{changed: make(chan struct{})}
		b.settings[name] = s
	}
	return s
}

type setSetting struct {
	Name    string
	Version uint64 // that the setting must have
	Value   []byte
}

func (c *setSetting) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.setting(c.Name)
	if s.Version != c.Version {
		return om.NewError(om.CodeStorageBusy, "set", c.Name, "somebody else has set it; read it again")
	}
	s.settingRecord = settingRecord{c.Version + 1, c.Value}
	tx.batch.Put(keySetting+c.Name, encode(s.settingRecord))
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Setting returns a setting. The names of settings are those of the program's
// parts; each one that is asked for takes some memory.
func (b *Broker) Setting(name string) Setting {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.setting(name)
	return Setting{Value: s.Value, Version: s.Version, Changed: s.changed}
}

// SetSetting sets a setting, durably, if it still has the version, and returns
// its new one. When somebody else was faster it does nothing and returns
// CodeStorageBusy. It keeps nothing of value.
func (b *Broker) SetSetting(ctx context.Context, name string, version uint64, value []byte) (uint64, error) {
	if err := checkName("set", "setting", name); err != nil {
		return 0, err
	}
	if len(value) > MaxSetting {
		return 0, om.NewError(om.CodeBadParameter, "set", name, "the value has %d bytes, %d are the most", len(value), MaxSetting)
	}
	err := b.submit(ctx, &setSetting{Name: name, Version: version, Value: bytes.Clone(value)})
	return version + 1, err
}

func loadSetting(b *Broker, key, name string, value []byte) error {
	s := b.setting(name)
	return decode(key, value, &s.settingRecord)
}
