package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// settingName is the broker's setting that holds the users.
const settingName = "auth"

// inStore is an [auth.Storage] in the broker's own store, so that users are
// copied, restored and replicated along with the messages.
type inStore struct {
	broker *broker.Broker

	mu    sync.Mutex
	known broker.Setting // what was loaded or saved last
}

// Load implements auth.Storage.
func (s *inStore) Load(context.Context) (*auth.Document, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = s.broker.Setting(settingName)
	if s.known.Version == 0 {
		return nil, fs.ErrNotExist
	}
	return auth.DecodeDocument(s.known.Value)
}

// Save implements auth.Storage.
func (s *inStore) Save(ctx context.Context, d *auth.Document) error {
	content, err := auth.EncodeDocument(d)
	if err != nil {
		return err
	}
	if len(content) > broker.MaxSetting {
		return om.NewError(om.CodeBadParameter, "directory", "", "users and rules take %d bytes and %d are the most in the store; use roles, tokens, or a file (auth.file)", len(content), broker.MaxSetting)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	version, err := s.broker.SetSetting(ctx, settingName, s.known.Version, content)
	if err != nil {
		return err
	}
	if now := s.broker.Setting(settingName); now.Version == version {
		s.known = now
	} else { // somebody else was there since: Wait returns at once
		s.known.Version = version
	}
	return nil
}

// Wait implements auth.Storage.
func (s *inStore) Wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		known := s.known
		s.mu.Unlock()
		select {
		case <-known.Changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		mine := s.known.Version != known.Version
		s.mu.Unlock()
		if !mine { // else it was Save
			return nil
		}
	}
}

// initAdmin makes the user of init_admin where there is none of that name, and
// returns whether it did. Ask is asked for the password when the configuration
// does not name one.
func initAdmin(ctx context.Context, storage auth.Storage, c *Config, ask func(user string) (auth.Secret, error)) (made bool, err error) {
	d, err := storage.Load(ctx)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing:
		d = &auth.Document{}
	case err != nil:
		return false, err
	case d.Users[c.InitAdmin] != nil:
		return false, nil
	}
	var password auth.Secret
	if c.InitAdminPassword != "" {
		password, err = auth.LoadSecret(c.InitAdminPassword)
	} else {
		password, err = ask(c.InitAdmin)
	}
	if err != nil {
		return false, fmt.Errorf("init_admin: %w", err)
	}
	if err := d.AddUser(c.InitAdmin, auth.User{}); err != nil {
		return false, err
	}
	if err := d.SetPassword(c.InitAdmin, password); err != nil {
		return false, err
	}
	for _, text := range []string{
		"allow browse,manage server", "allow browse,manage namespace:*",
		"allow publish,consume,browse,manage queue:*://*", "allow consume,browse,manage group:*://*",
	} {
		rule, err := auth.ParseRule(text)
		if err == nil {
			err = d.Grant("user:"+c.InitAdmin, rule)
		}
		if err != nil {
			return false, err
		}
	}
	if missing {
		return true, auth.Create(ctx, storage, d)
	}
	d.Version++
	return true, storage.Save(ctx, d)
}

// GeneratePassword returns a password that nobody has used.
func GeneratePassword() auth.Secret { return auth.NewSecret(rand.Text()) }
