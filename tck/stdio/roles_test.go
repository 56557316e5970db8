//go:build unix

package stdio

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const longTime = time.Hour

func hang() { <-time.After(longTime) }

// open answers hello and then open with a line of its own.
func open(answer string) func(*talk) {
	return func(k *talk) {
		k.say(`{"id":%d,"protocol":1}`, k.next().ID)
		k.say(answer, k.next().ID)
		k.next()
	}
}

// third answers the first call after open with a line of its own.
func third(line string) func(*talk) {
	return func(k *talk) {
		k.begin()
		id := k.next().ID
		k.say("%s", strings.ReplaceAll(line, "ID", fmt.Sprint(id)))
		k.next()
	}
}

// roles are what the test binary can be as a child.
var roles = map[string]func(*talk){
	"silent":        func(*talk) { hang() },
	"deaf":          func(k *talk) { k.begin(); k.next(); hang() },
	"exits-at-once": func(*talk) { fmt.Fprintln(os.Stderr, "no licence"); os.Exit(3) },
	"exits-later":   func(k *talk) { k.begin(); k.next(); fmt.Fprintln(os.Stderr, "boom\nbang"); os.Exit(4) },
	"exits-after-20": func(k *talk) {
		k.begin()
		for range 20 {
			k.next()
		}
		os.Exit(6)
	},
	"ends-badly": func(k *talk) {
		k.begin()
		k.say(`{"id":%d}`, k.next().ID)
		os.Exit(5)
	},
	"protocol-2":     func(k *talk) { k.say(`{"id":%d,"protocol":2}`, k.next().ID); k.next() },
	"no-handle":      open(`{"id":%d,"spec_version":"1.0.0"}`),
	"refuses":        open(`{"id":%d,"error":{"code":10001,"message":"no such option: x"}}`),
	"bad-version":    open(`{"id":%d,"handle":1,"spec_version":"one"}`),
	"other-version":  open(`{"id":%d,"handle":1,"spec_version":"2.0.0"}`),
	"garbage":        third("Traceback (most recent call last): " + strings.Repeat("x", 300)),
	"secret":         third(`the key is s3cret"key, the token t0ken`),
	"null":           third("null"),
	"wrong-type":     third(`{"id":ID,"handle":"three"}`),
	"not-utf8":       third("{\"id\":ID,\"x\":\"\xff\"}"),
	"deep":           third(`{"id":ID,"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}"),
	"unknown-id":     third(`{"id":12345}`),
	"twice":          third("{\"id\":ID,\"handle\":1}\n{\"id\":ID,\"handle\":1}"),
	"unfinished":     func(k *talk) { k.begin(); k.next(); fmt.Print(`{"id":`) },
	"no-deliveries":  third(`{"id":ID,"handle":1}`),
	"asks-nonsense":  third(`{"ask":1,"op":"check"}`),
	"asks-too-much":  asksTooMuch,
	"overlong":       overlong,
	"closes-stdout":  func(k *talk) { k.begin(); k.next(); _ = os.Stdout.Close(); hang() },
	"does-not-read":  func(k *talk) { k.begin(); _ = os.Stdin.Close(); hang() },
	"never-ends":     func(k *talk) { k.begin(); k.say(`{"id":%d}`, k.next().ID); hang() },
	"leaves-a-child": leavesAChild,
	"wrong-counts":   wrongCounts,
	"store":          func(k *talk) { (&store{talk: k}).run() },
	"checks":         checks,
	"tells":          tells,
}

func overlong(k *talk) {
	k.begin()
	k.next()
	fmt.Print(`{"id":`)
	for part := strings.Repeat("1", 1<<20); ; {
		if _, err := fmt.Print(part); err != nil {
			return
		}
	}
}

func asksTooMuch(k *talk) {
	k.begin()
	k.say(`{"id":%d,"handle":1}`, k.next().ID)
	k.next() // now the checker is known
	for i := range maxAsks + 1 {
		k.say(`{"ask":%d,"op":"check","handle":1,"message":{}}`, i+1)
	}
	k.next()
}

// leavesAChild starts a process that would outlive it and holds "fifo" open.
func leavesAChild(k *talk) {
	fifo, err := os.OpenFile("fifo", os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleEnv+"=silent")
	c.Stdin, c.Stdout, c.Stderr = fifo, os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		panic(err)
	}
	k.begin()
	k.say(`{"id":%d}`, k.next().ID)
	k.next()
}

// wrongCounts answers calls of senders and receivers with nothing in them.
func wrongCounts(k *talk) {
	k.begin()
	k.say(`{"id":%d,"handle":1}`, k.next().ID)
	k.say(`{"id":%d,"errors":[null],"deliveries":[{"message":{}}]}`, k.next().ID)
	k.next()
}

// checks asks about a transaction for each call of ping and answers it with
// the verdict as an error.
func checks(k *talk) {
	k.begin()
	k.say(`{"id":%d,"handle":5}`, k.next().ID)
	for {
		call := k.next()
		if call.Op == "ping" {
			k.say(`{"ask":7,"op":"check","handle":5,"message":{"transaction_id":"tx-1","body":"aGk="}}`)
			k.say(`{"id":%d,"error":{"code":1500,"message":%q}}`, call.ID, k.next().Verdict)
			continue
		}
		k.say(`{"id":%d}`, call.ID)
	}
}

// tells gives handles and answers everything else with an error that holds the
// request.
func tells(k *talk) {
	k.begin()
	for {
		switch call := k.next(); call.Op {
		case "sender", "receiver":
			k.say(`{"id":%d,"handle":%d}`, call.ID, 100+call.ID)
		case "close":
			k.say(`{"id":%d}`, call.ID)
		default:
			k.say(`{"id":%d,"error":{"code":1418,"message":%q}}`, call.ID, call.line)
		}
	}
}

// store keeps messages as they come. A receive without messages waits until
// some come or it is canceled; a ping sets it to ignore cancels.
type store struct {
	*talk
	messages []json.RawMessage
	waiting  int64
	stubborn bool
}

func (s *store) run() {
	s.begin()
	for {
		switch call := s.next(); call.Op {
		case "sender", "receiver":
			s.say(`{"id":%d,"handle":%d}`, call.ID, call.ID)
		case "send":
			s.messages = append(s.messages, call.Messages...)
			s.say(`{"id":%d,"outcomes":[{"message_id":"m","partition":3,"offset":"9007199254740993"}%s]}`, call.ID,
				strings.Repeat(`,{"error":{"code":1404,"resource":"other"}}`, len(call.Messages)-1))
			if s.waiting != 0 {
				s.deliver(s.waiting)
			}
		case "receive":
			s.deliver(call.ID)
		case "cancel":
			if call.Target == s.waiting && !s.stubborn {
				s.say(`{"id":%d,"error":{"code":20002}}`, call.Target)
				s.waiting = 0
			}
		case "ack":
			s.say(`{"id":%d,"errors":[null,{"code":20004,"message":%q}]}`, call.ID, call.Receipts[0])
		case "ping":
			s.stubborn = true
			s.say(`{"id":%d}`, call.ID)
		default:
			s.say(`{"id":%d}`, call.ID)
		}
	}
}

func (s *store) deliver(id int64) {
	if len(s.messages) == 0 {
		s.waiting = id
		return
	}
	told := make([]string, len(s.messages))
	for i, m := range s.messages {
		told[i] = fmt.Sprintf(`{"message":%s,"receipt":{"n":12345678901234567890, "x":"<é"},"partition":1,"offset":"%d","lease_until":1517961600123}`, m, i)
	}
	s.say(`{"id":%d,"deliveries":[%s]}`, id, strings.Join(told, ","))
	s.messages, s.waiting = nil, 0
}
