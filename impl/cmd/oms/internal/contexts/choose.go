package contexts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/openmessaging/openmessaging-go/spi"
)

// The environment that chooses a system and brings its secrets.
const (
	EnvURL     = "OMS_URL"
	EnvContext = "OMS_CONTEXT"
	EnvKey     = "OMS_ACCOUNT_KEY"
	EnvToken   = "OMS_TOKEN"
)

// Choice is the messaging system that a command talks to.
type Choice struct {
	Context
	Name   string // of the saved context, empty without one
	Source string // what chose it, for people
}

// ErrNone tells that nothing names a messaging system.
var ErrNone = errors.New("no messaging system is named: pass --url, or save one with oms context add local --url oms:oms://127.0.0.1:7650/default, where oms dev runs a broker")

// Choose chooses by the flags --url and --context, the environment and the
// current context, in this order: --url, --context, OMS_URL, OMS_CONTEXT, current
// context.
func Choose(url, name string) (Choice, error) {
	if url != "" {
		return Choice{Context: Context{URL: url}, Source: "--url"}, nil
	}
	saved, err := Load()
	if err != nil {
		return Choice{}, err
	}
	switch {
	case name != "":
		return saved.choose(name, "--context")
	case os.Getenv(EnvURL) != "":
		return Choice{Context: Context{URL: os.Getenv(EnvURL)}, Source: EnvURL}, nil
	case os.Getenv(EnvContext) != "":
		return saved.choose(os.Getenv(EnvContext), EnvContext)
	case saved.Current != "":
		return saved.choose(saved.Current, "current context")
	}
	return Choice{}, ErrNone
}

func (s Saved) choose(name, source string) (Choice, error) {
	c, ok := s.Contexts[name]
	if !ok {
		return Choice{}, s.Unknown(name)
	}
	return Choice{Context: c, Name: name, Source: source}, nil
}

// Unknown is the error for a name that is not saved.
func (s Saved) Unknown(name string) error {
	if len(s.Contexts) == 0 {
		return fmt.Errorf("no context is named %q, none is saved; oms context add saves one", name)
	}
	return fmt.Errorf("no context is named %q; there are %s", name, strings.Join(s.Names(), ", "))
}

// Credentials returns the source of the secrets, nil when there are none. Files
// and environment are read each time, so that secrets can rotate. ask is called
// at most once, for an account without a secret anywhere; nil when nobody can be
// asked.
func (c Choice) Credentials(ask func(account string) (string, error)) (func(context.Context) (spi.Credentials, error), error) {
	key, token := secret(c.KeyFile, EnvKey), secret(c.TokenFile, EnvToken)
	if key == nil && token == nil {
		if c.Account == "" {
			return nil, nil
		}
		if ask == nil {
			return nil, fmt.Errorf("there is no secret for account %q: set %s or %s, or save the context with --key-file or --token-file", c.Account, EnvKey, EnvToken)
		}
		typed, err := ask(c.Account)
		if err != nil {
			return nil, err
		}
		key = func() (string, error) { return typed, nil }
	}
	return func(context.Context) (spi.Credentials, error) {
		out := spi.Credentials{AccountID: c.Account}
		var err error
		if key != nil {
			out.AccountKey, err = key()
		}
		if token != nil && err == nil {
			out.Token, err = token()
		}
		return out, err
	}, nil
}

// maxSecret bounds the file of a secret.
const maxSecret = 64 << 10

// secret returns how a secret is read, nil when there is none. The file goes
// before the environment.
func secret(file, env string) func() (string, error) {
	if file == "" {
		if os.Getenv(env) == "" {
			return nil
		}
		return func() (string, error) { return os.Getenv(env), nil }
	}
	return func() (string, error) {
		info, err := os.Stat(file)
		if err == nil && info.Size() > maxSecret {
			err = fmt.Errorf("%s has %d bytes, which is no secret", file, info.Size())
		}
		if err != nil {
			return "", err
		}
		data, err := os.ReadFile(file)
		s := strings.TrimRight(string(data), "\r\n")
		if err == nil && s == "" {
			err = fmt.Errorf("%s is empty", file)
		}
		return s, err
	}
}
