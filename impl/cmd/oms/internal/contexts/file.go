// Package contexts keeps the messaging systems that a user has saved by name,
// and chooses the one that a command talks to.
package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/gofrs/flock"
)

// Context is a messaging system and who connects to it. It holds no secrets,
// only the names of the files that do.
type Context struct {
	URL       string `json:"url"`
	Account   string `json:"account,omitempty"`
	KeyFile   string `json:"key_file,omitempty"`
	TokenFile string `json:"token_file,omitempty"`
}

// Saved is the content of the file.
type Saved struct {
	Current  string             `json:"current,omitempty"`
	Contexts map[string]Context `json:"contexts"`
}

// Names returns the names, sorted.
func (s Saved) Names() []string { return slices.Sorted(maps.Keys(s.Contexts)) }

// Path returns where the file lies: contexts.json in the folder oms of the
// user's configuration.
func Path() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder for contexts: %w", err)
	}
	return filepath.Join(dir, "oms", "contexts.json"), nil
}

// Load reads the file. A file that is missing holds no contexts.
func Load() (Saved, error) {
	path, err := Path()
	if err != nil {
		return Saved{}, err
	}
	return read(path)
}

func read(path string) (s Saved, err error) {
	s.Contexts = map[string]Context{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s is malformed: %w; mend it or remove it", path, err)
	}
	if s.Contexts == nil {
		s.Contexts = map[string]Context{}
	}
	return s, nil
}

// Change has f change what is saved, and writes it: whole or not at all, for the
// user only. Two processes change one after the other.
func Change(f func(*Saved) error) (err error) {
	path, err := Path()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	s, err := read(path)
	if err != nil {
		return err
	}
	if err := f(&s); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replace(path, append(data, '\n'))
}

// replace writes a file of mode 0600 under another name and gives it its own.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// CheckName refuses names that are not easy to type.
func CheckName(name string) error {
	for _, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && r != '-' && r != '_' && r != '.' {
			return fmt.Errorf("the name %q holds %q; names are letters, digits, '-', '_' and '.' only", name, r)
		}
	}
	if name == "" || len(name) > 64 {
		return fmt.Errorf("the name %.70q does not have 1 to 64 characters", name)
	}
	return nil
}
