package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

func permissionCommand() *cobra.Command {
	c := parent("permission", "Say what users may do on a server",
		permissionGrant(), permissionRevoke(), permissionList(), permissionCheck(), permissionRole())
	c.Long = `Say what users may do on a server. A rule allows or denies verbs on resources:

  allow publish,browse queue:shop://orders-*
  allow consume group:shop://billing
  deny manage queue:*://*

Verbs are publish, consume, browse and manage; resources are queue:NAMESPACE://NAME,
group:NAMESPACE://NAME, namespace:NAME and server. A name that ends with * is a
prefix. Consuming needs a rule for the queue and one for the group. What no rule
allows is forbidden; one denying rule wins over all allowing ones. Rules belong to a
user (user:NAME) or to a role (role:NAME) that users have. A change holds at once.`
	return c
}

// subject takes "alice" for user:alice.
func subject(s string) string {
	if strings.HasPrefix(s, "user:") || strings.HasPrefix(s, "role:") {
		return s
	}
	return "user:" + s
}

// ruleOf makes a rule of the words of a command line; "allow" may be left out.
func ruleOf(words []string) string {
	if words[0] != "allow" && words[0] != "deny" {
		words = append([]string{"allow"}, words...)
	}
	return strings.Join(words, " ")
}

func permissionGrant() *cobra.Command {
	var u users
	return u.command("grant SUBJECT [allow|deny] VERBS RESOURCE", "Give a user or role a rule", "",
		"  oms permission grant alice publish,browse queue:shop://orders-*\n  oms permission grant role:operators browse,manage server\n  oms permission grant alice deny publish queue:shop://orders-archive",
		cobra.RangeArgs(3, 4), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			_, err := s.Grant(c.Context(), &wirepb.GrantRequest{Subject: subject(args[0]), Rules: []string{ruleOf(args[1:])}})
			return err
		})
}

func permissionRevoke() *cobra.Command {
	var u users
	return u.command("revoke SUBJECT [allow|deny] VERBS RESOURCE", "Take a rule from a user or role, as it was granted", "",
		"  oms permission revoke alice publish,browse queue:shop://orders-*",
		cobra.RangeArgs(3, 4), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			_, err := s.Revoke(c.Context(), &wirepb.RevokeRequest{Subject: subject(args[0]), Rules: []string{ruleOf(args[1:])}})
			return err
		})
}

// grants are the rules of a subject, in JSON.
type grants struct {
	Subject string   `json:"subject"`
	Rules   []string `json:"rules"`
}

func permissionList() *cobra.Command {
	var u users
	var asJSON bool
	c := u.command("list [SUBJECT]", "List the rules of roles and users", "", "  oms permission list\n  oms permission list role:operators",
		cobra.MaximumNArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			all, err := listGrants(c, s)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				wanted := subject(args[0])
				found := all[:0]
				for _, g := range all {
					if g.Subject == wanted {
						found = append(found, g)
					}
				}
				if all = found; len(all) == 0 {
					return fmt.Errorf("there is no %s", wanted)
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), all)
			}
			for _, g := range all {
				for _, rule := range g.Rules {
					if _, err := fmt.Fprintf(c.OutOrStdout(), "%s  %s\n", g.Subject, rule); err != nil {
						return err
					}
				}
			}
			return nil
		})
	jsonFlag(c, &asJSON)
	return c
}

// listGrants returns the rules of all roles, then of all users.
func listGrants(c *cobra.Command, s wirepb.SecurityServiceClient) (all []grants, err error) {
	for page := ""; ; {
		r, err := s.ListRoles(c.Context(), &wirepb.ListRolesRequest{Page: page})
		if err != nil {
			return nil, err
		}
		for _, role := range r.GetRoles() {
			all = append(all, grants{"role:" + role.GetName(), append([]string{}, role.GetRules()...)})
		}
		if page = r.GetNextPage(); page == "" {
			break
		}
	}
	for page := ""; ; {
		r, err := s.ListUsers(c.Context(), &wirepb.ListUsersRequest{Page: page})
		if err != nil {
			return nil, err
		}
		for _, u := range r.GetUsers() {
			all = append(all, grants{"user:" + u.GetName(), append([]string{}, u.GetRules()...)})
		}
		if page = r.GetNextPage(); page == "" {
			return all, nil
		}
	}
}

func permissionCheck() *cobra.Command {
	var u users
	return u.command("check USER VERB RESOURCE", "Say whether a user may do something", "Say whether a user may do something, and if not, why. Exit status 1 is no.",
		"  oms permission check alice publish queue:shop://orders-eu", cobra.ExactArgs(3),
		func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			r, err := s.CheckPermission(c.Context(), &wirepb.CheckPermissionRequest{User: args[0], Verb: args[1], Resource: args[2]})
			if err != nil {
				return err
			}
			if r.GetAllowed() {
				_, err = fmt.Fprintln(c.OutOrStdout(), "yes")
				return err
			}
			_, _ = fmt.Fprintln(c.OutOrStdout(), "no:", r.GetReason())
			return &exitError{exitFailed, nil}
		})
}

func permissionRole() *cobra.Command {
	var add, remove users
	return parent("role", "Add and delete roles",
		add.command("add NAME", "Add a role without rules", "", "  oms permission role add shop", cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			_, err := s.CreateRole(c.Context(), &wirepb.CreateRoleRequest{Name: args[0]})
			return err
		}),
		remove.command("delete NAME", "Delete a role and take it from all users", "", "  oms permission role delete auditors", cobra.ExactArgs(1), func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error {
			_, err := s.DeleteRole(c.Context(), &wirepb.DeleteRoleRequest{Name: args[0]})
			return err
		}),
	)
}
