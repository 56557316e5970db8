package auth

import (
	"crypto/rand"
	"crypto/tls"
	"errors"

	"github.com/xdg-go/scram"
)

var errAuthzID = errors.New("acting as another user is not possible")

// maxScram bounds one message of a client, bytes.
const maxScram = 2048

// Conversation is the server's side of one login with SCRAM-SHA-256. It is for
// one goroutine and one login.
type Conversation struct {
	a       *Authenticator
	from    string
	binding scram.ChannelBinding
	tries   []*scram.ServerConversation // one for each verifier, all with the same nonce; none after an error
	checks  []Verifier
	user    string
	step    int
}

// Scram begins a login with SCRAM-SHA-256. State is that of the TLS connection
// where the protocol offers the mechanism SCRAM-SHA-256-PLUS as well: then a
// client may bind the login to the channel (tls-exporter, RFC 9266), and one
// that could and was kept from it is refused. It is nil where it does not.
func (a *Authenticator) Scram(from string, state *tls.ConnectionState) (*Conversation, error) {
	c := &Conversation{a: a, from: from}
	if state != nil {
		var err error
		if c.binding, err = scram.NewTLSExporterBinding(state); err != nil {
			return nil, unauthorized("login", "the TLS connection cannot be bound to; TLS 1.3 can: %w", err)
		}
	}
	return c, nil
}

// Step takes a message of the client, the first and then the final one, and
// returns the message to be sent back, which the caller owns; it is not empty
// unless there is an error. The principal is nil until the login has succeeded.
// After an error send the reply, if there is one, and close. A user who is not
// there is answered like one who is.
func (c *Conversation) Step(message []byte) (reply []byte, p *Principal, err error) {
	c.step++
	if len(message) > maxScram {
		return nil, nil, c.a.refuse(ByScram, c.from, c.user, "the message is too long")
	}
	switch c.step {
	case 1:
		reply, err = c.first(string(message))
		return reply, nil, err
	case 2:
		return c.final(string(message))
	default:
		return nil, nil, unauthorized("login", "this login is over; begin another")
	}
}

func (c *Conversation) first(message string) ([]byte, error) {
	nonce := rand.Text()
	begin := func(lookup scram.CredentialLookup) (*scram.ServerConversation, string, error) {
		server, err := scram.SHA256.NewServer(lookup)
		if err != nil {
			return nil, "", err
		}
		server.WithNonceGenerator(func() string { return nonce })
		conversation := server.NewConversation()
		if c.binding.IsSupported() {
			conversation = server.NewConversationWithChannelBinding(c.binding)
		}
		reply, err := conversation.Step(message)
		return conversation, reply, err
	}
	try, reply, err := begin(func(name string) (scram.StoredCredentials, error) {
		c.user = prepareName(name)
		c.checks = c.a.config.Directory.now.Load().verifiers(c.user)
		return c.checks[0].keys(), nil
	})
	if err == nil && try.AuthzID() != "" && try.AuthzID() != try.Username() {
		reply, err = scram.ErrOtherError, errAuthzID
	}
	if err != nil {
		// The library's errors quote the message; what its reply says
		// will do.
		return []byte(reply), c.a.refuse(ByScram, c.from, c.user, "bad first message "+reply)
	}
	if err := c.a.wait(c.from, c.user); err != nil {
		return []byte(scram.ErrNoResources), err
	}
	c.tries = append(c.tries, try)
	for _, v := range c.checks[1:] {
		try, _, err := begin(func(string) (scram.StoredCredentials, error) { return v.keys(), nil })
		if err != nil {
			return nil, err // the same message passed above
		}
		c.tries = append(c.tries, try)
	}
	return []byte(reply), nil
}

func (c *Conversation) final(message string) ([]byte, *Principal, error) {
	if err := c.a.wait(c.from, c.user); err != nil {
		return []byte(scram.ErrNoResources), nil, err
	}
	won, reply := -1, ""
	for i, try := range c.tries {
		r, err := try.Step(message)
		if err == nil && try.Valid() {
			won, reply = i, r
		} else if won < 0 {
			reply = r
		}
	}
	if won < 0 {
		return []byte(reply), nil, c.a.refuse(ByScram, c.from, c.user, "wrong user name or password "+reply)
	}
	p, err := c.a.accept(&Principal{Name: c.user, Method: ByScram, From: c.from, stamp: c.checks[won].stamp()})
	if err != nil {
		return []byte(scram.ErrInvalidProof), nil, err
	}
	return []byte(reply), p, nil
}
