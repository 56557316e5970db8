package auth_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/openmessaging/openmessaging-go/impl/auth"
)

// A first directory, a login and a question.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "auth")
	check(err)
	defer os.RemoveAll(dir)

	// Once: somebody may publish orders.
	first := &auth.Document{}
	check(first.AddUser("shop", auth.User{}))
	check(first.SetPassword("shop", auth.NewSecret("correct horse battery")))
	orders, err := auth.ParseRule("allow publish queue:orders-*")
	check(err)
	check(first.Grant("user:shop", orders))
	file := auth.NewFile(filepath.Join(dir, "auth.yaml"))
	check(auth.Create(ctx, file, first))

	// A server opens it.
	audit := auth.NewAudit(slog.New(slog.DiscardHandler))
	directory, err := auth.OpenDirectory(ctx, file, audit)
	check(err)
	defer directory.Close()
	logins := auth.NewAuthenticator(auth.AuthenticatorConfig{Directory: directory, Gate: auth.NewGate(auth.GateConfig{}), Audit: audit})
	rights := auth.NewAuthorizer(directory, audit)

	who, err := logins.Password(ctx, "192.0.2.1:4711", "shop", auth.NewSecret("correct horse battery"))
	check(err)
	fmt.Println(rights.Allow(who, auth.Publish, auth.Queue("default", "orders-eu")))
	fmt.Println(rights.Allow(who, auth.Publish, auth.Queue("default", "invoices")))

	// Who is disabled is logged out.
	check(directory.Change(ctx, who, func(d *auth.Document) error {
		d.Users["shop"].Disabled = true
		return nil
	}))
	fmt.Println(rights.Check(who))
	// Output:
	// <nil>
	// openmessaging: publish "queue:default://invoices": forbidden (1403): no rule allows the user "shop" to publish here; the rule "allow publish queue:default://invoices" would
	// openmessaging: check: unauthorized (1401): the user is disabled; log in again
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
