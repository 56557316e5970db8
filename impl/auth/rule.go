package auth

import (
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Verb is something that a client may do, or a set of these.
type Verb uint8

// The verbs. None implies another.
const (
	// Publish is sending to a queue.
	Publish Verb = 1 << iota
	// Consume is receiving and settling: it needs a right for the queue and
	// one for the group. For a group it also means joining it.
	Consume
	// Browse is looking without changing anything: configuration,
	// partitions, progress, messages that are read and not settled.
	Browse
	// Manage is creating, altering and deleting: a queue, a namespace, the
	// progress of a group; for the server users, rules and its running.
	Manage
)

var verbNames = [...]string{"publish", "consume", "browse", "manage"}

// String returns the names, joined by commas.
func (v Verb) String() string {
	var names []string
	for i, name := range verbNames {
		if v&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Kind is a kind of resource.
type Kind uint8

// The kinds of resources.
const (
	KindServer Kind = iota
	KindNamespace
	KindQueue
	KindGroup
	kinds
)

var kindNames = [kinds]string{"server", "namespace", "queue", "group"}

// kindVerbs tells what can be done with each kind.
var kindVerbs = [kinds]Verb{Browse | Manage, Browse | Manage, Publish | Consume | Browse | Manage, Consume | Browse | Manage}

// String returns the name, for example "queue".
func (k Kind) String() string { return kindNames[k] }

// Resource is what a right is asked for. Make one with [Server], [Namespace],
// [Queue] or [Group].
type Resource struct {
	kind            Kind
	namespace, name string
}

// Server returns the server itself.
func Server() Resource { return Resource{} }

// Namespace returns a namespace. A right for it is none for its queues.
func Namespace(name string) Resource { return Resource{kind: KindNamespace, name: name} }

// Queue returns a queue of a namespace.
func Queue(namespace, name string) Resource { return Resource{KindQueue, namespace, name} }

// Group returns a consumer group; its namespace is that of the queue it
// consumes.
func Group(namespace, name string) Resource { return Resource{KindGroup, namespace, name} }

// String returns the resource as rules name it, for example
// "queue:default://orders". It is the pattern that matches just this resource
// when its names keep the rules of names.
func (r Resource) String() string {
	switch r.kind {
	case KindServer:
		return "server"
	case KindNamespace:
		return "namespace:" + r.name
	default:
		return kindNames[r.kind] + ":" + om.JoinQueueName(r.namespace, r.name)
	}
}

// Rule allows or denies verbs on resources. It is comparable with ==. Make one
// with [ParseRule]; the zero Rule is not valid.
type Rule struct {
	deny   bool
	verbs  Verb
	on     Resource // the namespace may be *, the name is without its asterisk
	prefix bool     // on.name is a prefix
}

// maxRule bounds the text of a rule, bytes.
const maxRule = 1024

// ParseRule reads a rule:
//
//	allow publish,browse queue:shop://orders-*
//	deny manage queue:*://*
//
// The first word is allow or deny. The second is verbs, joined by commas:
// publish, consume, browse, manage. The third is what they are done to:
//
//	queue:NAMESPACE://NAME   group:NAMESPACE://NAME   namespace:NAME   server
//
// A name that ends with * is a prefix, and * alone is every name; a * is
// nowhere else. NAMESPACE is a name, or * for all. "queue:NAME" is a queue of
// the namespace "default", as everywhere. Errors are CodeBadParameter.
func ParseRule(text string) (Rule, error) {
	if len(text) > maxRule {
		return Rule{}, badParameter("a rule is longer than %d bytes", maxRule)
	}
	words := strings.Fields(text)
	if len(words) != 3 || words[0] != "allow" && words[0] != "deny" {
		return Rule{}, badParameter("the rule %q is not of the form \"allow publish,consume queue:NAMESPACE://NAME\" or \"deny …\"", text)
	}
	r := Rule{deny: words[0] == "deny"}
	for verb := range strings.SplitSeq(words[1], ",") {
		v := parseVerb(verb)
		if v == 0 {
			return Rule{}, badParameter("the rule %q: %q is none of publish, consume, browse, manage", text, verb)
		}
		r.verbs |= v
	}
	if err := r.parsePattern(words[2]); err != nil {
		return Rule{}, badParameter("the rule %q: %w", text, err)
	}
	if no := r.verbs &^ kindVerbs[r.on.kind]; no != 0 {
		return Rule{}, badParameter("the rule %q: nobody can %s a %s", text, no, r.on.kind)
	}
	return r, nil
}

func parseVerb(s string) Verb {
	for i, name := range verbNames {
		if s == name {
			return 1 << i
		}
	}
	return 0
}

func (r *Rule) parsePattern(s string) error {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case kind == "server" && !named:
		return nil
	case kind == "namespace" && named:
		r.on.kind = KindNamespace
	case (kind == "queue" || kind == "group") && named:
		r.on.kind = KindQueue
		if kind == "group" {
			r.on.kind = KindGroup
		}
		r.on.namespace, name = om.SplitQueueName(name, om.DefaultNamespace)
		if r.on.namespace != anyNamespace {
			if err := checkName("namespace", r.on.namespace, namespaceSigns); err != nil {
				return err
			}
		}
	default:
		return badParameter("%q is none of queue:NAMESPACE://NAME, group:NAMESPACE://NAME, namespace:NAME, server", s)
	}
	r.on.name, r.prefix = strings.CutSuffix(name, "*")
	if r.on.name == "" && r.prefix {
		return nil
	}
	signs := resourceSigns
	if r.on.kind == KindNamespace {
		signs = namespaceSigns
	}
	return checkName(kind, r.on.name, signs)
}

// String returns the rule as [ParseRule] reads it.
func (r Rule) String() string {
	word := "allow "
	if r.deny {
		word = "deny "
	}
	on := r.on
	if r.prefix {
		on.name += "*"
	}
	return word + r.verbs.String() + " " + on.String()
}

// MarshalText returns what [ParseRule] reads.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is [ParseRule].
func (r *Rule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRule(string(text))
	return err
}
