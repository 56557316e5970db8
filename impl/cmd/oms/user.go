package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

func userCommand() *cobra.Command {
	return parent("user", "Say who may connect to a server",
		userAdd(), userPassword(), userChange(), userList(), userShow(), userDisable(true), userDisable(false), userDelete(), userQuota())
}

// userFlags are what a user has beside rules.
type userFlags struct {
	roles, notRoles []string
	expires         string
	connections     int32
	messages, bytes int64
	inFlight        int32
	noQuota         bool
}

func (f *userFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.roles, "role", nil, "role that the user gets; may be repeated")
	c.Flags().StringVar(&f.expires, "expires", "", "when the user expires, such as 2030-01-31T00:00:00Z, or never")
	f.addQuota(c)
}

func (f *userFlags) addQuota(c *cobra.Command) {
	c.Flags().Int32Var(&f.connections, "connections", 0, "quota: connections; 0 is no bound")
	c.Flags().Int64Var(&f.messages, "messages-per-second", 0, "quota: messages a second; 0 is no bound")
	c.Flags().Int64Var(&f.bytes, "bytes-per-second", 0, "quota: bytes a second; 0 is no bound")
	c.Flags().Int32Var(&f.inFlight, "in-flight", 0, "quota: messages delivered and not settled; 0 is no bound")
}

// quota returns the quota that was given, nil for none.
func (f *userFlags) quota(c *cobra.Command) *wirepb.Quota {
	for _, name := range []string{"connections", "messages-per-second", "bytes-per-second", "in-flight"} {
		if c.Flags().Changed(name) {
			return &wirepb.Quota{Connections: f.connections, MessagesPerSecond: f.messages, BytesPerSecond: f.bytes, InFlight: f.inFlight}
		}
	}
	return nil
}

// expiry returns when the user expires, in milliseconds, nil when that was not
// given.
func (f *userFlags) expiry(c *cobra.Command) (*int64, error) {
	never := int64(0)
	switch f.expires {
	case "":
		return nil, nil
	case "never":
		return &never, nil
	}
	t, err := time.Parse(time.RFC3339, f.expires)
	if err != nil {
		return nil, usage(c, fmt.Errorf("--expires %s is neither a time such as 2030-01-31T00:00:00Z nor never", f.expires))
	}
	ms := t.UnixMilli()
	return &ms, nil
}

func userAdd() *cobra.Command {
	var u users
	var f userFlags
	var from string
	var without bool
	c := u.command("add NAME", "Add a user",
		"Add a user. The password is asked for without an echo, or is the first line of\nstandard input, or comes from --password-from; it never travels: the server gets a\nverifier. Users who come with tokens or certificates need none.",
		"  oms user add shipping --role consumers\n  oms user add nightly --password-from env:CI_PASSWORD --expires 2030-01-31T00:00:00Z\n  oms user add monitor@example.org --no-password",
		cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			expires, err := f.expiry(c)
			if err != nil {
				return err
			}
			q := &wirepb.CreateUserRequest{User: &wirepb.User{Name: args[0], Roles: f.roles, Quota: f.quota(c)}}
			if expires != nil {
				q.User.Expires = *expires
			}
			if !without {
				password, err := newPassword(c, args[0], from)
				if err != nil {
					return err
				}
				if q.Verifier, err = verifier(c.Context(), s, args[0], password, false); err != nil {
					return err
				}
			}
			_, err = s.CreateUser(c.Context(), q)
			return err
		})
	f.add(c)
	c.Flags().StringVar(&from, "password-from", "", "where the password is: file:PATH or env:NAME")
	c.Flags().BoolVar(&without, "no-password", false, "the user comes with tokens or certificates")
	c.MarkFlagsMutuallyExclusive("password-from", "no-password")
	return c
}

func userPassword() *cobra.Command {
	var u users
	var from string
	var add bool
	c := u.command("passwd NAME", "Give a user another password",
		"Give a user another password. Who is connected with the old one is logged out.\nWith --add the old one stays good, so that programs can change over one by one;\na passwd without it ends that.",
		"  oms user passwd billing\n  oms user passwd billing --add --password-from file:new-password",
		cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			password, err := newPassword(c, args[0], from)
			if err != nil {
				return err
			}
			v, err := verifier(c.Context(), s, args[0], password, add)
			if err != nil {
				return err
			}
			_, err = s.SetPassword(c.Context(), &wirepb.SetPasswordRequest{Name: args[0], Verifier: v, Add: add})
			return err
		})
	c.Flags().StringVar(&from, "password-from", "", "where the password is: file:PATH or env:NAME")
	c.Flags().BoolVar(&add, "add", false, "keep the passwords that are there")
	return c
}

func userChange() *cobra.Command {
	var u users
	var f userFlags
	c := u.command("change NAME", "Change a user's roles, quota and expiry", "",
		"  oms user change billing --role auditors --not-role consumers\n  oms user change ci --messages-per-second 1000 --connections 2\n  oms user change ci --default-quota --expires never",
		cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			expires, err := f.expiry(c)
			if err != nil {
				return err
			}
			_, err = s.UpdateUser(c.Context(), &wirepb.UpdateUserRequest{
				Name: args[0], Expires: expires, AddRoles: f.roles, RemoveRoles: f.notRoles, Quota: f.quota(c), DefaultQuota: f.noQuota,
			})
			return err
		})
	f.add(c)
	c.Flags().StringSliceVar(&f.notRoles, "not-role", nil, "role that the user loses; may be repeated")
	c.Flags().BoolVar(&f.noQuota, "default-quota", false, "the user has the quota of everybody again")
	return c
}

func userDisable(disabled bool) *cobra.Command {
	var u users
	use, short, example := "disable NAME", "Log a user out and keep him out", "  oms user disable ci"
	if !disabled {
		use, short, example = "enable NAME", "Let a disabled user in again", "  oms user enable ci"
	}
	return u.command(use, short, "", example, cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
		_, err := s.UpdateUser(c.Context(), &wirepb.UpdateUserRequest{Name: args[0], Disabled: &disabled})
		return err
	})
}

func userDelete() *cobra.Command {
	var u users
	return u.command("delete NAME", "Delete a user with all rules",
		"Delete a user with all rules. To keep out somebody whose token names a role, disable\nthe user instead.", "  oms user delete ci", cobra.ExactArgs(1),
		func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			_, err := s.DeleteUser(c.Context(), &wirepb.DeleteUserRequest{Name: args[0]})
			return err
		})
}

func userQuota() *cobra.Command {
	var u users
	var f userFlags
	c := u.command("quota", "Show or set the quota of users who have none of their own", "",
		"  oms user quota\n  oms user quota --connections 20 --messages-per-second 10000", cobra.NoArgs,
		func(c *cobra.Command, s wirepb.SecurityServiceClient, _ []string) error {
			if q := f.quota(c); q != nil {
				_, err := s.SetQuota(c.Context(), &wirepb.SetQuotaRequest{Quota: q})
				return err
			}
			r, err := s.GetQuota(c.Context(), &wirepb.GetQuotaRequest{})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), quotaText(r.GetQuota()))
			return err
		})
	f.addQuota(c)
	return c
}

func quotaText(q *wirepb.Quota) string {
	return fmt.Sprintf("%d connections, %d messages/s, %d bytes/s, %d in flight (0 is no bound)", q.GetConnections(), q.GetMessagesPerSecond(), q.GetBytesPerSecond(), q.GetInFlight())
}

// shownUser is a user in JSON.
type shownUser struct {
	Name      string        `json:"name"`
	Disabled  bool          `json:"disabled"`
	Expires   *time.Time    `json:"expires,omitempty"`
	Passwords int32         `json:"passwords"`
	Roles     []string      `json:"roles"`
	Rules     []string      `json:"rules"`
	Quota     *wirepb.Quota `json:"quota,omitempty"`
}

func show(u *wirepb.User) shownUser {
	out := shownUser{
		Name: u.GetName(), Disabled: u.GetDisabled(), Passwords: u.GetPasswords(),
		Roles: append([]string{}, u.GetRoles()...), Rules: append([]string{}, u.GetRules()...), Quota: u.GetQuota(),
	}
	if u.GetExpires() != 0 {
		t := time.UnixMilli(u.GetExpires()).UTC()
		out.Expires = &t
	}
	return out
}

func userList() *cobra.Command {
	var u users
	var asJSON bool
	c := u.command("list", "List the users", "", "  oms user list\n  oms user list --json", cobra.NoArgs, func(c *cobra.Command, s wirepb.SecurityServiceClient, _ []string) error {
		var all []shownUser
		for page := ""; ; {
			r, err := s.ListUsers(c.Context(), &wirepb.ListUsersRequest{Page: page})
			if err != nil {
				return err
			}
			for _, u := range r.GetUsers() {
				all = append(all, show(u))
			}
			if page = r.GetNextPage(); page == "" {
				break
			}
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), all)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, "NAME\tSTATE\tPASSWORDS\tROLES\tRULES")
		for _, u := range all {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\n", u.Name, u.state(), u.Passwords, cmp.Or(strings.Join(u.Roles, ","), "-"), len(u.Rules))
		}
		return w.Flush()
	})
	jsonFlag(c, &asJSON)
	return c
}

func (u shownUser) state() string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Expires != nil && !u.Expires.After(time.Now()):
		return "expired"
	default:
		return "enabled"
	}
}

func userShow() *cobra.Command {
	var u users
	var asJSON bool
	c := u.command("show NAME", "Show a user", "", "  oms user show billing", cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
		r, err := s.ListUsers(c.Context(), &wirepb.ListUsersRequest{Name: args[0]})
		if err != nil {
			return err
		}
		if len(r.GetUsers()) == 0 {
			return fmt.Errorf("there is no user %q", args[0])
		}
		found := show(r.GetUsers()[0])
		if asJSON {
			return printJSON(c.OutOrStdout(), found)
		}
		return found.print(c.OutOrStdout())
	})
	jsonFlag(c, &asJSON)
	return c
}

func (u shownUser) print(out io.Writer) error {
	expires := "never"
	if u.Expires != nil {
		expires = u.Expires.Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(out, "name       %s\nstate      %s\nexpires    %s\npasswords  %d\nroles      %s\n", u.Name, u.state(), expires, u.Passwords, cmp.Or(strings.Join(u.Roles, ", "), "-"))
	if q := u.Quota; q != nil {
		_, err = fmt.Fprintf(out, "quota      %s\n", quotaText(q))
	}
	for _, rule := range u.Rules {
		_, err = fmt.Fprintf(out, "rule       %s\n", rule)
	}
	return err
}
