package auth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of a [Document].
const (
	MaxUsers     = 100_000
	MaxRoles     = 10_000
	MaxRules     = 10_000 // of a user or role
	MaxUserRoles = 64     // of a user, or taken from a token
	MaxVerifiers = 4      // of a user
)

// Document is everything that says who may connect and what they may do. The
// methods alter it; [Directory.Change] is where that takes effect. Their errors
// are CodeBadParameter and leave the document as it was. A Document is for one
// goroutine.
type Document struct {
	// Version counts the changes that were made through a [Directory].
	Version uint64 `yaml:"version"`
	// Decoy is the verifier of a password that nobody knows. What users who
	// are not there are answered is made of it, and its iterations are
	// those of new passwords, so that all users look alike. [Create] makes
	// it.
	Decoy Verifier `yaml:"decoy"`
	// Quota is that of users who have none of their own.
	Quota Quota            `yaml:"quota,omitempty"`
	Users map[string]*User `yaml:"users,omitempty"`
	Roles map[string]*Role `yaml:"roles,omitempty"`
}

// User is somebody who may connect.
type User struct {
	// Verifiers are those of the passwords, any of which will do; none for
	// users who come with tokens or certificates. All have the same salt.
	Verifiers []Verifier `yaml:"verifiers,omitempty,flow"`
	// Disabled users cannot log in, and may do nothing where they are.
	Disabled bool `yaml:"disabled,omitempty"`
	// Expires is when the user becomes as if disabled; zero is never.
	Expires time.Time `yaml:"expires,omitempty"`
	Roles   []string  `yaml:"roles,omitempty,flow"`
	Rules   []Rule    `yaml:"rules,omitempty"`
	// Quota is used instead of the document's, as a whole; nil for none.
	Quota *Quota `yaml:"quota,omitempty"`
}

// Role is a set of rules that users share.
type Role struct {
	Rules []Rule `yaml:"rules,omitempty"`
}

// Quota bounds what one user takes, over all connections. Zero is no bound.
type Quota struct {
	Connections       int   `yaml:"connections,omitempty"`
	MessagesPerSecond int64 `yaml:"messages_per_second,omitempty"`
	BytesPerSecond    int64 `yaml:"bytes_per_second,omitempty"`
	InFlight          int   `yaml:"in_flight,omitempty"` // messages delivered and not settled
}

// AddUser adds a user, who must not be there.
func (d *Document) AddUser(name string, u User) error {
	if d.Users[name] != nil {
		return badParameter("the user %q is there already", name)
	}
	if d.Users == nil {
		d.Users = make(map[string]*User)
	}
	d.Users[name] = &u
	return nil
}

// User returns the user to be altered in place.
func (d *Document) User(name string) (*User, error) {
	if u := d.Users[name]; u != nil {
		return u, nil
	}
	return nil, badParameter("there is no user %q", short(name))
}

// DeleteUser deletes a user with all rules. Logins and connections of the user
// end. To keep out somebody whose token still names a role, disable the user
// instead.
func (d *Document) DeleteUser(name string) error {
	_, err := d.User(name)
	delete(d.Users, name)
	return err
}

// SetPassword gives a user one password instead of all others; connections
// that logged in with those end.
func (d *Document) SetPassword(name string, password Secret) error {
	u, err := d.User(name)
	if err != nil {
		return err
	}
	iterations := 0
	if d.Decoy.keys != nil {
		iterations = d.Decoy.keys().Iters
	}
	v, err := NewVerifier(password, iterations)
	if err == nil {
		u.Verifiers = []Verifier{v}
	}
	return err
}

// AddPassword gives a user who has a password a further one, so that clients
// can change over one by one. SetPassword ends the change.
func (d *Document) AddPassword(name string, password Secret) error {
	u, err := d.User(name)
	if err != nil {
		return err
	}
	if len(u.Verifiers) == 0 {
		return badParameter("the user %q has no password yet; set one", name)
	}
	v, err := u.Verifiers[0].Another(password)
	if err == nil {
		u.Verifiers = append(u.Verifiers, v)
	}
	return err
}

// SetVerifier gives a user the verifier of a password that this process does not
// know, instead of all others, or with add beside them. It must have the
// iterations of the others in the document, so that all users look alike.
func (d *Document) SetVerifier(name string, v Verifier, add bool) error {
	u, err := d.User(name)
	if err != nil {
		return err
	}
	if v.Iterations() != d.Decoy.Iterations() {
		return badParameter("the verifier has %d iterations, those of this directory have %d", v.Iterations(), d.Decoy.Iterations())
	}
	switch {
	case !add:
		u.Verifiers = []Verifier{v}
	case len(u.Verifiers) == 0:
		return badParameter("the user %q has no password yet; set one", name)
	default:
		u.Verifiers = append(u.Verifiers, v)
	}
	return nil
}

// AddRole adds a role, which must not be there.
func (d *Document) AddRole(name string) error {
	if d.Roles[name] != nil {
		return badParameter("the role %q is there already", name)
	}
	if d.Roles == nil {
		d.Roles = make(map[string]*Role)
	}
	d.Roles[name] = &Role{}
	return nil
}

// DeleteRole deletes a role and takes it from all users.
func (d *Document) DeleteRole(name string) error {
	if d.Roles[name] == nil {
		return badParameter("there is no role %q", short(name))
	}
	delete(d.Roles, name)
	for _, u := range d.Users {
		u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return r == name })
	}
	return nil
}

// Grant adds rules, also denying ones, to a subject: "user:NAME" or
// "role:NAME". Those that are there already stay once.
func (d *Document) Grant(subject string, rules ...Rule) error {
	have, err := d.rules(subject)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if !slices.Contains(*have, r) {
			*have = append(*have, r)
		}
	}
	return nil
}

// Revoke takes rules from a subject, as they were granted.
func (d *Document) Revoke(subject string, rules ...Rule) error {
	have, err := d.rules(subject)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if !slices.Contains(*have, r) {
			return badParameter("%s has no rule %q; rules are revoked as they were granted", short(subject), r)
		}
	}
	*have = slices.DeleteFunc(*have, func(r Rule) bool { return slices.Contains(rules, r) })
	return nil
}

func (d *Document) rules(subject string) (*[]Rule, error) {
	kind, name, _ := strings.Cut(subject, ":")
	if u := d.Users[name]; u != nil && kind == "user" {
		return &u.Rules, nil
	}
	if r := d.Roles[name]; r != nil && kind == "role" {
		return &r.Rules, nil
	}
	return nil, badParameter("there is no %q; a subject is user:NAME or role:NAME", short(subject))
}

// Clone returns a copy that shares nothing that changes.
func (d *Document) Clone() *Document {
	out := *d
	out.Users = maps.Clone(d.Users)
	for name, u := range out.Users {
		c := *u
		c.Verifiers, c.Roles, c.Rules = slices.Clone(u.Verifiers), slices.Clone(u.Roles), slices.Clone(u.Rules)
		if u.Quota != nil {
			q := *u.Quota
			c.Quota = &q
		}
		out.Users[name] = &c
	}
	out.Roles = maps.Clone(d.Roles)
	for name, r := range out.Roles {
		out.Roles[name] = &Role{Rules: slices.Clone(r.Rules)}
	}
	return &out
}

// check returns what is wrong with the document, nil for nothing.
func (d *Document) check() error {
	if d.Decoy.keys == nil {
		return badParameter("decoy is missing: the verifier of a password that nobody knows")
	}
	if len(d.Users) > MaxUsers || len(d.Roles) > MaxRoles {
		return badParameter("%d users and %d roles; %d and %d are the most", len(d.Users), len(d.Roles), MaxUsers, MaxRoles)
	}
	if err := d.Quota.check(); err != nil {
		return badParameter("quota: %w", err)
	}
	for name, r := range d.Roles {
		if r == nil {
			return badParameter("the role %q is empty; write {} for a role without rules", name)
		}
		if err := cmp.Or(checkRole(name), checkRules(r.Rules)); err != nil {
			return badParameter("role %q: %w", short(name), err)
		}
	}
	for name, u := range d.Users {
		if u == nil {
			return badParameter("the user %q is empty; write {} for a user without anything", name)
		}
		if err := cmp.Or(checkUser(name), d.checkFields(u), checkRules(u.Rules)); err != nil {
			return badParameter("user %q: %w", short(name), err)
		}
	}
	return nil
}

func (d *Document) checkFields(u *User) error {
	if len(u.Verifiers) > MaxVerifiers || len(u.Roles) > MaxUserRoles {
		return fmt.Errorf("%d verifiers and %d roles; %d and %d are the most", len(u.Verifiers), len(u.Roles), MaxVerifiers, MaxUserRoles)
	}
	for i, v := range u.Verifiers {
		if v.keys == nil {
			return fmt.Errorf("verifier %d is empty", i+1)
		}
		if v.keys().KeyFactors != u.Verifiers[0].keys().KeyFactors {
			return fmt.Errorf("verifier %d has another salt or number of iterations than the first; make it with AddPassword, or replace all with SetPassword", i+1)
		}
	}
	for _, role := range u.Roles {
		if d.Roles[role] == nil {
			return fmt.Errorf("there is no role %q", short(role))
		}
	}
	if u.Quota != nil {
		return u.Quota.check()
	}
	return nil
}

func checkRules(rules []Rule) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("%d rules; %d are the most", len(rules), MaxRules)
	}
	if slices.Contains(rules, Rule{}) {
		return errors.New("a rule is empty")
	}
	return nil
}

func (q Quota) check() error {
	if q.Connections < 0 || q.MessagesPerSecond < 0 || q.BytesPerSecond < 0 || q.InFlight < 0 {
		return errors.New("a quota is negative; 0 means no bound")
	}
	return nil
}

// rates tells the rates for people.
func (q Quota) rates() string {
	var rates []string
	if q.MessagesPerSecond > 0 {
		rates = append(rates, fmt.Sprintf("%d messages/s", q.MessagesPerSecond))
	}
	if q.BytesPerSecond > 0 {
		rates = append(rates, fmt.Sprintf("%d bytes/s", q.BytesPerSecond))
	}
	return strings.Join(rates, " and ")
}
