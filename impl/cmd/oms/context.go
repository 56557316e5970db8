package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/contexts"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func contextCommand() *cobra.Command {
	c := parent("context", "Save messaging systems by name", contextAdd(), contextList(), contextUse(), contextShow(), contextRemove())
	c.Long = `Save messaging systems by name, in a file of yours that nobody else may read.
A command talks to the system that is named first in this order: --url,
--context, the environment OMS_URL, OMS_CONTEXT, the current context.

Secrets are never saved and never printed. They come from the files that a
context names, from the environment OMS_ACCOUNT_KEY and OMS_TOKEN, or, for a
context with an account and none of these, from a question on the terminal.`
	return c
}

// savedContext is a context in JSON.
type savedContext struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	contexts.Context
}

func contextAdd() *cobra.Command {
	var n contexts.Context
	asJSON := false
	c := &cobra.Command{
		Use:   "add NAME --url URL",
		Short: "Save a messaging system, or change what is saved",
		Long: `Save a messaging system under a name, or change what is saved under it. The
first one becomes the current context. Nothing is connected; oms doctor tries.`,
		Example: `  oms context add local --url oms:oms://127.0.0.1:7650/default
  oms context add files --url 'oms:badger://local/default?path=./data'
  oms context add shop --url 'oms:oms://mq.example.com:7650/default?tls=true' --account orders --key-file ./orders.key`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := contexts.CheckName(args[0]); err != nil {
				return usage(c, err)
			}
			if _, err := om.ParseURL(n.URL); err != nil {
				return usage(c, fmt.Errorf("--url: %w", err))
			}
			for _, file := range []*string{&n.KeyFile, &n.TokenFile} {
				if *file == "" {
					continue
				}
				full, err := filepath.Abs(*file)
				if err != nil {
					return failed(err)
				}
				*file = full
			}
			current := false
			err := contexts.Change(func(s *contexts.Saved) error {
				s.Contexts[args[0]] = n
				if len(s.Contexts) == 1 {
					s.Current = args[0]
				}
				current = s.Current == args[0]
				return nil
			})
			if err != nil {
				return failed(err)
			}
			what := "context %s is saved; oms context use %[1]s makes it the current one"
			if current {
				what = "context %s is saved and is the current one"
			}
			return done(c, asJSON, savedContext{args[0], current, n}, what, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&n.URL, "url", "", "access-point URL")
	f.StringVar(&n.Account, "account", "", "account to connect as")
	f.StringVar(&n.KeyFile, "key-file", "", "file that holds the account's key")
	f.StringVar(&n.TokenFile, "token-file", "", "file that holds a token")
	jsonFlag(c, &asJSON)
	_ = c.MarkFlagFilename("key-file")
	_ = c.MarkFlagFilename("token-file")
	return c
}

func contextList() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the saved messaging systems",
		Example: "  oms context list\n  oms context list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			saved, err := contexts.Load()
			if err != nil {
				return failed(err)
			}
			r := report{header: []string{"NAME", "CURRENT", "URL", "ACCOUNT"}, empty: "no context is saved; oms context add saves one"}
			all := []savedContext{}
			for _, name := range saved.Names() {
				n := savedContext{name, name == saved.Current, saved.Contexts[name]}
				all = append(all, n)
				r.row(name, mark(n.Current), n.URL, n.Account)
			}
			r.value = all
			return failed(r.print(c, asJSON))
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func mark(is bool) string {
	if is {
		return "*"
	}
	return ""
}

func contextUse() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a saved messaging system the current context",
		Example:           "  oms context use local",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			var n contexts.Context
			err := contexts.Change(func(s *contexts.Saved) error {
				var ok bool
				if n, ok = s.Contexts[args[0]]; !ok {
					return s.Unknown(args[0])
				}
				s.Current = args[0]
				return nil
			})
			if err != nil {
				return failed(err)
			}
			return done(c, asJSON, savedContext{args[0], true, n}, "%s is the current context: %s", args[0], n.URL)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func contextShow() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:               "show [NAME]",
		Short:             "Show a saved messaging system, or the one that commands talk to",
		Example:           "  oms context show\n  oms context show local --json",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			choice, err := contexts.Choose("", name)
			if err != nil {
				return failed(err)
			}
			saved, err := contexts.Load()
			if err != nil {
				return failed(err)
			}
			r := report{value: savedContext{choice.Name, choice.Name != "" && choice.Name == saved.Current, choice.Context}}
			for _, row := range [][2]string{
				{"name", choice.Name}, {"chosen by", choice.Source}, {"url", choice.URL}, {"account", choice.Account},
				{"key file", choice.KeyFile}, {"token file", choice.TokenFile},
			} {
				if row[1] != "" && (row[0] != "chosen by" || name == "") {
					r.row(row[0], row[1])
				}
			}
			return failed(r.print(c, asJSON))
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func contextRemove() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:               "remove NAME",
		Short:             "Forget a saved messaging system",
		Example:           "  oms context remove local",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			var n savedContext
			err := contexts.Change(func(s *contexts.Saved) error {
				context, ok := s.Contexts[args[0]]
				if !ok {
					return s.Unknown(args[0])
				}
				n = savedContext{args[0], s.Current == args[0], context}
				delete(s.Contexts, args[0])
				if n.Current {
					s.Current = ""
				}
				return nil
			})
			if err != nil {
				return failed(err)
			}
			if n.Current && !asJSON {
				fmt.Fprintln(c.ErrOrStderr(), "it was the current context; oms context use chooses another")
			}
			return done(c, asJSON, n, "context %s is removed", args[0])
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
