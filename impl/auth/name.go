package auth

import (
	"fmt"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// MaxName bounds names of users, roles and resources, bytes.
const MaxName = 255

// What names hold besides letters and digits. Only ASCII: no two names look
// alike, no name ends a line of a log, none changes under SASLprep. Users and
// roles may be mail addresses and URIs.
const (
	namespaceSigns = "._-%|~$"
	resourceSigns  = namespaceSigns + "/"
	userSigns      = resourceSigns + "@:+="
)

func checkName(what, name, signs string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s's name is empty", what)
	case len(name) > MaxName:
		return fmt.Errorf("the %s's name has %d bytes, %d are the most", what, len(name), MaxName)
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte(signs, c) < 0 {
			return fmt.Errorf("the name of the %s %q holds %q at byte %d; names are letters, digits and %s", what, name, c, i, signs)
		}
	}
	return nil
}

func checkUser(name string) error { return checkName("user", name, userSigns) }
func checkRole(name string) error { return checkName("role", name, userSigns) }

// badParameter returns the error of what does not keep the rules of the
// directory: CodeBadParameter, once even when it wraps another.
func badParameter(format string, args ...any) error {
	for i, arg := range args {
		if e, ok := arg.(*om.Error); ok && e.Code == om.CodeBadParameter {
			args[i] = e.Err
		}
	}
	return om.NewError(om.CodeBadParameter, "directory", "", "%w", fmt.Errorf(format, args...))
}

// short bounds what strangers have us print.
func short(s string) string {
	if len(s) > MaxName {
		return s[:MaxName] + "…"
	}
	return s
}
