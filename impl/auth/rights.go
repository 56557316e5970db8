package auth

import (
	"slices"
	"strings"
)

// rights is what the rules of one user or role come to, in a form that is
// searched quickly. It is not changed once it is made.
type rights struct {
	kinds [kinds]map[string]*names // by namespace; "*" for rules of any, "" where there is none
}

// names holds the rules of one kind and namespace.
type names struct {
	exact    map[string]grant
	prefixes []prefix // sorted
}

// grant says which verbs are allowed and which are denied.
type grant struct{ allow, deny Verb }

func (g *grant) join(h grant) { g.allow |= h.allow; g.deny |= h.deny }

func (g grant) has(v Verb) bool { return v != 0 && g.allow&v == v && g.deny&v == 0 }

// prefix is a prefix with what it and all shorter ones in the list give.
type prefix struct {
	text   string
	grant  grant
	parent int // the longest shorter one that begins it, -1 for none
}

const anyNamespace = "*"

func compile(rules []Rule) *rights {
	var r rights
	for _, rule := range rules {
		ns := rule.on.namespace
		at := &r.kinds[rule.on.kind]
		if *at == nil {
			*at = make(map[string]*names)
		}
		n := (*at)[ns]
		if n == nil {
			n = &names{exact: make(map[string]grant)}
			(*at)[ns] = n
		}
		n.add(rule)
	}
	for _, at := range r.kinds {
		for _, n := range at {
			n.link()
		}
	}
	return &r
}

func (n *names) add(rule Rule) {
	g := grant{allow: rule.verbs}
	if rule.deny {
		g = grant{deny: rule.verbs}
	}
	if rule.prefix {
		n.prefixes = append(n.prefixes, prefix{text: rule.on.name, grant: g})
		return
	}
	g.join(n.exact[rule.on.name])
	n.exact[rule.on.name] = g
}

// link sorts the prefixes, joins equal ones and gives each what shorter ones
// give: a sorted list has every prefix of a text before it.
func (n *names) link() {
	slices.SortFunc(n.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	out := n.prefixes[:0]
	for _, p := range n.prefixes {
		if last := len(out) - 1; last >= 0 && out[last].text == p.text {
			out[last].grant.join(p.grant)
			continue
		}
		out = append(out, p)
	}
	n.prefixes = out
	for i := range out {
		p := &out[i]
		p.parent = ancestor(out, i-1, p.text)
		if p.parent >= 0 {
			p.grant.join(out[p.parent].grant)
		}
	}
}

// ancestor returns the longest prefix of text among prefixes[i] and those that
// begin it, -1 for none. Where prefixes[i] is the greatest that is not above
// text, that is the longest of all: whatever begins text and is smaller also
// begins all that lies between.
func ancestor(prefixes []prefix, i int, text string) int {
	for i >= 0 && !strings.HasPrefix(text, prefixes[i].text) {
		i = prefixes[i].parent
	}
	return i
}

func (n *names) find(name string) grant {
	g := n.exact[name]
	i, found := slices.BinarySearchFunc(n.prefixes, name, func(p prefix, s string) int { return strings.Compare(p.text, s) })
	if !found {
		i--
	}
	if i = ancestor(n.prefixes, i, name); i >= 0 {
		g.join(n.prefixes[i].grant)
	}
	return g
}

// find returns what the rules say of a resource.
func (r *rights) find(res Resource) (g grant) {
	at := r.kinds[res.kind]
	if n := at[res.namespace]; n != nil {
		g = n.find(res.name)
	}
	if n := at[anyNamespace]; n != nil {
		g.join(n.find(res.name))
	}
	return g
}
