package serve

import (
	"context"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
)

// TestConformance runs the kit against a server with TLS and users, as one who may
// do everything, and as one who may only look.
func TestConformance(t *testing.T) {
	a := newAuthority(t)
	m := start(t, a.secured)
	m.ca = a.ca()
	m.addUser(m.security(), "reader", userKey, "allow browse queue:*://*", "allow browse namespace:*", "allow browse group:*://*")
	given := func(account, key string) func(context.Context) (spi.Credentials, error) {
		return func(context.Context) (spi.Credentials, error) {
			return spi.Credentials{AccountID: account, AccountKey: key}, nil
		}
	}
	tck.Run(t, tck.Target{
		URL:         remote.URL(m.address, "tls", "true", "ca", a.ca()),
		Credentials: given("root", rootKey), ReadOnly: given("reader", userKey),
		Timing: tck.Timing{Arrive: 20 * time.Second, Quiet: 200 * time.Millisecond, Case: 3 * time.Minute}, // impl/remote waits for longer in quiet
	})
}
