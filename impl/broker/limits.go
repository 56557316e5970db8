package broker

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Limits of the broker. What is over them is refused with the status code
// named.
const (
	MaxNamespaces      = 1000      // CodeMaxNamespaces
	MaxQueues          = 10_000    // CodeMaxQueues
	MaxReplyQueues     = 1000      // of a user; CodeMaxQueues
	MaxPartitions      = 1024      // of a queue; CodeBadParameter
	MaxRoutes          = 1000      // CodeBadParameter
	MaxOperators       = 16        // of a route; CodeBadParameter
	MaxOperatorSize    = 16 << 10  // of the keys and properties of one, bytes; CodeBadParameter
	MaxGroupPartitions = 8_000     // groups times partitions of a queue; CodeBadParameter
	MaxNameLength      = 255       // of names, bytes; CodeBadParameter
	MaxDescription     = 4 << 10   // of a queue's description, bytes; CodeBadParameter
	MaxBody            = 16 << 20  // of a message, bytes; CodeBodyTooLarge
	MaxProperties      = 256 << 10 // of a message, bytes; CodePropertiesTooLarge
	MaxHeader          = 64 << 10  // of a message, bytes; CodeHeaderTooLarge
	MaxChunkMessages   = 65536     // in one chunk; CodeBadParameter
	MaxReceive         = 65536     // messages in one receive; CodeBadParameter

	MinExpires      = time.Second          // of a queue; CodeBadParameter
	MaxExpires      = 366 * 24 * time.Hour // CodeBadParameter
	MaxReplyExpires = time.Hour            // of a reply queue; CodeBadParameter

	MaxDelay           = 40 * 24 * time.Hour // CodeBadParameter
	MaxDelayedMessages = 1000                // in a chunk with delays; CodeBadParameter
	MaxDelayedBytes    = 256 << 10           // of a chunk with delays and more than one message; CodeBadParameter
)

const (
	// maxInFlight bounds the unsettled deliveries of a group in one partition;
	// more are not handed out until some are settled.
	maxInFlight = 1 << 20
	// maxHoles bounds the pieces into which unordered settling cuts a group's
	// progress; beyond it nothing new is handed out until holes close.
	maxHoles = 1 << 14
	// receiveBytes ends a receive that has that much.
	receiveBytes = 8 << 20
	// pendingBytes bounds what waits for the committer; publishers block.
	pendingBytes = 128 << 20
	// commitBytes and commitCommands bound what one commit takes.
	commitBytes    = 4 << 20
	commitCommands = 4096
	// commitInline bounds the small values of one commit, before its last
	// command. The biggest command deletes or trims MaxGroupPartitions
	// progresses; together they stay below store.MaxInline.
	commitInline = store.MaxInline / 4
	// progressBytes is about what a progress without holes takes.
	progressBytes = 160
)

// checkName holds the rules of names: 1 to 255 of the letters, digits and
// . _ - % | / ~ $, without "//". The name of a dead-letter queue is made of
// those of a queue and a group.
func checkName(op, what, name string) error {
	if queue, group, dead := strings.Cut(name, deadMark); dead && what == "queue" {
		return cmp.Or(checkName(op, "queue", queue), checkName(op, "group", group))
	}
	bad := func(why string) error {
		return om.NewError(om.CodeBadParameter, op, name, "the %s's name %s; names are 1 to %d letters, digits and . _ - %% | / ~ $", what, why, MaxNameLength)
	}
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > MaxNameLength:
		return om.NewError(om.CodeBadParameter, op, name[:40]+"…", "the %s's name has %d bytes, %d are the most", what, len(name), MaxNameLength)
	}
	for i, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == '%', c == '|', c == '~', c == '$':
		case c == '/' && (i == 0 || name[i-1] != '/') && what != "namespace":
		default:
			return bad(fmt.Sprintf("holds %q at byte %d", c, i))
		}
	}
	return nil
}
