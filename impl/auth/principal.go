package auth

import (
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Method is how somebody logged in.
type Method string

// The methods.
const (
	ByScram       Method = "scram"
	ByPassword    Method = "password"
	ByToken       Method = "token"
	ByCertificate Method = "certificate"
)

// Principal is who has logged in. Keep it as long as the connection and ask the
// [Authorizer] with it; do not change it.
type Principal struct {
	// Name is the user's, or the subject of a token whose groups are roles.
	Name string
	// Method is how the login was.
	Method Method
	// From is the remote address, as the login was told.
	From string
	// Expires is when the token or certificate does, zero for never. The
	// user's own end is not in it.
	Expires time.Time
	// Roles come from a token, beside those the directory gives the user.
	Roles []string

	stamp uint64 // of the verifier of the login, 0 for none
}

// unauthorized is what a client is told of a login that failed: the same,
// whatever the reason.
func unauthorized(op, format string, args ...any) error {
	return om.NewError(om.CodeUnauthorized, op, "", format, args...)
}
