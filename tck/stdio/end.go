package stdio

import (
	"errors"
	"fmt"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// end takes the link down: the child may take grace to end by itself, then it
// is killed. why is told by all calls, those that wait included; nil is for an
// orderly end. The first end counts; the others wait for it.
func (l *link) end(grace time.Duration, why error) {
	l.endOnce.Do(func() {
		l.stop()
		killed := l.child.stop(grace)
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case why != nil:
			l.failure = fmt.Errorf("%w; %s", why, l.fate(killed))
		case killed:
			l.failure = fmt.Errorf("the child did not end in time when its input ended; %s", l.fate(killed))
		case !l.child.cmd.ProcessState.Success():
			l.failure = errors.New(l.fate(killed))
		}
		close(l.down)
	})
}

// fate tells how the child ended and what it said last.
func (l *link) fate(killed bool) string {
	how := "it was killed"
	if !killed {
		how = "it ended with " + l.child.cmd.ProcessState.String()
	}
	if said := l.child.tail.String(); said != "" {
		return fmt.Sprintf("%s; its error output ends with %q", how, l.hidden().Replace(said))
	}
	return how + "; its error output is empty"
}

// broken ends the link because an answer is not what its call asks for, and
// returns the error of the call.
func (l *link) broken(op, resource string, why error) error {
	l.end(0, fmt.Errorf("the child answered %s with what is no answer to it: %w", op, why))
	return l.downError(op, resource)
}

// shown quotes the beginning of what the child wrote.
func (l *link) shown(line []byte) string {
	const most = 120
	l.mu.Lock()
	s := l.hidden().Replace(string(line[:min(len(line), 16*most)]))
	l.mu.Unlock()
	if short := []rune(s); len(short) > most {
		return fmt.Sprintf("%q…", string(short[:most]))
	}
	return fmt.Sprintf("%q", s)
}

// hide keeps secrets out of errors.
func (l *link) hide(secrets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, secrets...)
}

// hidden returns a replacer for the secrets, as they are and as they are
// quoted. The caller holds l.mu.
func (l *link) hidden() *strings.Replacer {
	var pairs []string
	for _, s := range l.secrets {
		if s != "" {
			quoted := fmt.Sprintf("%q", s)
			pairs = append(pairs, s, "[hidden]", quoted[1:len(quoted)-1], "[hidden]")
		}
	}
	return strings.NewReplacer(pairs...)
}

func (l *link) isDown() bool {
	select {
	case <-l.down:
		return true
	default:
		return false
	}
}

// downError is the error of calls that wait when the link is taken down.
func (l *link) downError(op, resource string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed(op, resource)
}

// failed is the error of calls on a link that is down. The caller holds l.mu.
func (l *link) failed(op, resource string) error {
	if l.failure == nil {
		return closed(op, resource)
	}
	return om.NewError(om.CodeServiceUnavailable, op, resource, "driver %s: %w", l.name, l.failure)
}

func closed(op, resource string) error {
	return om.NewError(om.CodeClosed, op, resource, "the connection is closed")
}
