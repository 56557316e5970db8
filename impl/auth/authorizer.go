package auth

import (
	"fmt"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Authorizer says what principals may do. A change of the directory holds for
// the next question, also for who is connected. All methods may be called
// concurrently; none blocks or allocates when the answer is yes.
type Authorizer struct {
	directory *Directory
	audit     *Audit
}

// NewAuthorizer returns an authorizer that asks d and tells a what is denied.
func NewAuthorizer(d *Directory, a *Audit) *Authorizer {
	return &Authorizer{directory: d, audit: a}
}

// Check returns nil as long as the principal is logged in, and CodeUnauthorized
// when the token, the certificate or the user has expired, the user is disabled
// or deleted, or the password has been replaced. Servers that hold connections
// open call it now and then, and close those that fail.
func (a *Authorizer) Check(p *Principal) error {
	if p == nil {
		return unauthorized("check", "nobody has logged in on this connection")
	}
	if why := a.directory.now.Load().refuses(p, time.Now()); why != "" {
		return unauthorized("check", "%s; log in again", why)
	}
	return nil
}

// Allow returns nil when the principal has the right to do verb, one of the
// four, on the resource. CodeUnauthorized is that of Check; CodeForbidden says
// which right is missing and which rule would grant it. Neither tells whether
// the resource exists: ask before looking.
func (a *Authorizer) Allow(p *Principal, v Verb, r Resource) error {
	if p == nil {
		return unauthorized(v.String(), "nobody has logged in on this connection")
	}
	s := a.directory.now.Load()
	if why := s.refuses(p, time.Now()); why != "" {
		a.audit.actionDenied(p, v, r, why)
		return unauthorized(v.String(), "%s; log in again", why)
	}
	g := s.find(p, r)
	if g.has(v) {
		return nil
	}
	return a.forbidden(p, v, r, g)
}

// AllowAny is Allow for whom one of several verbs is enough. The error names the
// first of them.
func (a *Authorizer) AllowAny(p *Principal, vs []Verb, r Resource) error {
	for _, v := range vs[1:] {
		if a.May(p, v, r) {
			return nil
		}
	}
	return a.Allow(p, vs[0], r)
}

// May reports whether Allow would return nil. It tells the audit nothing: it is
// for leaving out of a list what somebody may not see.
func (a *Authorizer) May(p *Principal, v Verb, r Resource) bool {
	s := a.directory.now.Load()
	return p != nil && s.refuses(p, time.Now()) == "" && s.find(p, r).has(v)
}

// AllowConsume is Allow for consuming: it needs Consume on the queue and on the
// group, both of one namespace.
func (a *Authorizer) AllowConsume(p *Principal, namespace, queue, group string) error {
	if err := a.Allow(p, Consume, Queue(namespace, queue)); err != nil {
		return err
	}
	return a.Allow(p, Consume, Group(namespace, group))
}

func (s *snapshot) find(p *Principal, r Resource) (g grant) {
	if m := s.users[p.Name]; m != nil {
		for _, rights := range m.rights {
			g.join(rights.find(r))
		}
	}
	for _, role := range p.Roles {
		if rights := s.roles[role]; rights != nil {
			g.join(rights.find(r))
		}
	}
	return g
}

// Permits tells whether a user who comes with a password may do verb on the
// resource, and if not, why. Both are named as in rules, for example "publish"
// and "queue:shop://orders"; anything else is CodeBadParameter.
func (d *Directory) Permits(user, verb, resource string) (why string, err error) {
	rule, err := ParseRule("allow " + verb + " " + resource)
	if err != nil {
		return "", err
	}
	if rule.prefix || rule.on.namespace == anyNamespace || rule.verbs&(rule.verbs-1) != 0 {
		return "", badParameter("ask for one verb and one resource, without an asterisk")
	}
	p, s := &Principal{Name: user}, d.now.Load()
	if why := s.refuses(p, time.Now()); why != "" {
		return why, nil
	}
	g := s.find(p, rule.on)
	if g.has(rule.verbs) {
		return "", nil
	}
	return missing(p, rule.verbs, rule.on, g), nil
}

// missing says which right is missing.
func missing(p *Principal, v Verb, r Resource, g grant) string {
	if g.deny&v != 0 {
		return fmt.Sprintf("a rule denies the user %q to %s here; an allowing one does not help, the denying one must be revoked", p.Name, v)
	}
	return fmt.Sprintf("no rule allows the user %q to %s here; the rule \"allow %s %s\" would", p.Name, v, v, short(r.String()))
}

func (a *Authorizer) forbidden(p *Principal, v Verb, r Resource, g grant) error {
	why := missing(p, v, r, g)
	a.audit.actionDenied(p, v, r, why)
	return om.NewError(om.CodeForbidden, v.String(), short(r.String()), "%s", why)
}
