package tck

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var messageCases = table{
	"R008": versionPresent,
	"R009": requiredHeaderSet,
	"R010": bodyUntouched,
	"R011": bodyOptional,
	"R012": idAssigned,
	"R013": idFromCallerIgnored,
	"R014": idUnique,
	"R015": idSameAtConsumer,
	"R016": bornTimestamp,
	"R017": bornHost,
	"R018": qosDefault,
	"R022": compressionTransparent,
	"R023": destinationRequired,
	"R024": destinationOnReceipt,
	"R025": noCrossTalk,
	"R026": sizeLimits,
	"G18":  qosRange,
}

var versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func versionPresent(t *trial) {
	d := t.RoundTrip(message(t.Queue(), "a"))
	if !versionForm.MatchString(d.Version) {
		t.Errorf("the received message has version %q, want X.Y.Z or X.Y.Z-pre", d.Version)
	}
}

func requiredHeaderSet(t *trial) {
	m := message(t.Queue(), "a")
	m.Properties = nil
	d := t.RoundTrip(m)
	for what, missing := range map[string]bool{
		"message id": d.MessageID == "", "destination": d.Destination == "", "born time": d.BornAt.IsZero(), "born host": d.BornHost == "",
	} {
		if missing {
			t.Errorf("the received message has no %s", what)
		}
	}
	if d.Properties == nil {
		t.Errorf("the properties of the received message are nil")
	}
}

func bodyUntouched(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 4 << 10, 64 << 10, 1 << 20} {
		body := make([]byte, size)
		_, _ = random.Read(body)
		t.Send(p, om.NewMessage(q, bytes.Clone(body)))
		d := t.Receive(c)
		if !bytes.Equal(d.Body, body) {
			t.Errorf("a body of %d bytes arrived with %d bytes, the first difference is at %d", size, len(d.Body), firstDifference(d.Body, body))
		}
		t.Ack(c, d)
	}
}

func firstDifference(a, b []byte) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

func bodyOptional(t *trial) {
	m := message(t.Queue(), "")
	m.Body = nil
	if d := t.RoundTrip(m); len(d.Body) != 0 {
		t.Errorf("a message without a body arrived with %d bytes", len(d.Body))
	}
}

func idAssigned(t *trial) {
	m := message(t.Queue(), "a")
	r := t.Send(t.Producer(), m)
	if r.MessageID == "" {
		t.Errorf("the send result has no message id")
	}
	equal(t, "message id in the header after send", m.MessageID, r.MessageID)
}

func idFromCallerIgnored(t *trial) {
	m := message(t.Queue(), "a")
	m.MessageID = "chosen-by-the-caller"
	if r := t.Send(t.Producer(), m); r.MessageID == "chosen-by-the-caller" {
		t.Errorf("the id that the caller had set was kept")
	}
}

func idUnique(t *trial) {
	const producers, batches, size = 4, 5, 20
	q := t.Queue()
	seen := make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range producers {
		p := t.Producer()
		all.Go(func() {
			for range batches {
				rs, err := p.SendBatch(t.ctx, messages(q, numbered(size)...))
				if err != nil {
					t.Errorf("send by producer %d: %v", i, err)
					return
				}
				mu.Lock()
				for _, r := range rs {
					seen[r.MessageID]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	repeated := 0
	for id, n := range seen {
		if n > 1 {
			if repeated++; repeated == 1 {
				t.Errorf("id %q was given %d times", id, n)
			}
		}
	}
	equal(t, "ids that repeat", repeated, 0)
}

func idSameAtConsumer(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	r := t.Send(t.Producer(), message(q, "a"))
	equal(t, "id at the consumer", t.Receive(c).MessageID, r.MessageID)
}

func bornTimestamp(t *trial) {
	m := message(t.Queue(), "a")
	m.BornAt = time.Unix(1_000_000, 0)
	before := time.Now().Truncate(time.Millisecond)
	d := t.RoundTrip(m)
	after := time.Now()
	if m.BornAt.Before(before) || m.BornAt.After(after) {
		t.Errorf("the born time after send is %v, want one between %v and %v", m.BornAt, before, after)
	}
	if !d.BornAt.Equal(m.BornAt) {
		t.Errorf("the born time at the consumer is %v, after send it was %v", d.BornAt, m.BornAt)
	}
	if !d.BornAt.Equal(d.BornAt.Truncate(time.Millisecond)) {
		t.Errorf("the born time %v is finer than a millisecond", d.BornAt)
	}
}

func bornHost(t *trial) {
	m := message(t.Queue(), "a")
	m.BornHost = "set-by-the-caller"
	d := t.RoundTrip(m)
	if m.BornHost == "" || m.BornHost == "set-by-the-caller" {
		t.Errorf("the born host after send is %q", m.BornHost)
	}
	equal(t, "born host at the consumer", d.BornHost, m.BornHost)
}

func qosDefault(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "a"))
	first := t.Pull([]string{q})
	d := t.Receive(first)
	equal(t, "quality of service of a message without one", d.QoS, om.AtLeastOnce)
	t.NoError(first.Close(t.ctx), "close")
	again := t.Receive(t.Pull([]string{q}))
	equal(t, "id of the message that comes again after its consumer closed", again.MessageID, d.MessageID)
}

func compressionTransparent(t *trial) {
	m := message(t.Queue(), "")
	m.Compression = "gzip"
	m.Body = bytes.Repeat([]byte("again and again "), 1000)
	if d := t.RoundTrip(m); !bytes.Equal(d.Body, bytes.Repeat([]byte("again and again "), 1000)) {
		t.Errorf("the body arrived with %d bytes and was sent with %d, the first difference is at %d", len(d.Body), len(m.Body), firstDifference(d.Body, m.Body))
	}
}

func destinationRequired(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	_, err := p.Send(t.ctx, message("", "lost"))
	t.Is(err, "send without a destination", om.ErrDestination)
	t.Nothing(c, "a message without a destination must not be stored")
}

func destinationOnReceipt(t *trial) {
	q := t.Queue()
	equal(t, "destination at the consumer", t.RoundTrip(message(q, "a")).Destination, q)
}

func noCrossTalk(t *trial) {
	queues := []string{t.Queue()}
	for range 10 { // q1 and q10, q11 have a common beginning
		queues = append(queues, t.Queue())
	}
	p := t.Producer()
	for _, q := range queues {
		t.Send(p, message(q, q))
	}
	for _, q := range queues {
		c := t.Pull([]string{q})
		d := t.Receive(c)
		equal(t, fmt.Sprintf("body of the message in %s", q), string(d.Body), q)
		t.Ack(c, d)
	}
	t.Nothing(t.Pull(queues[:1]), "a message of another queue must not appear")
}

func sizeLimits(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	const tooMuch = 48 << 20 // above every limit that can be sensible, and within what a test may send
	for what, over := range map[string]struct {
		change func(*om.Message, int)
		want   om.Code
	}{
		"attributes": {func(m *om.Message, n int) { m.Properties["big"] = om.Binary(make([]byte, n)) }, om.CodePropertiesTooLarge},
		"header":     {func(m *om.Message, n int) { m.Ext.TraceID = string(bytes.Repeat([]byte("t"), n)) }, om.CodeHeaderTooLarge},
		"body":       {func(m *om.Message, n int) { m.Body = make([]byte, n) }, om.CodeBodyTooLarge},
	} {
		if what == "header" && !t.Has(om.CapExtIDs) {
			continue
		}
		m := message(q, "big")
		over.change(m, tooMuch)
		_, err := p.Send(t.ctx, m)
		t.Is(err, fmt.Sprintf("send with %d bytes of %s", tooMuch, what), over.want, om.ErrMessageFormat)
	}
	t.Nothing(c, "what is over a limit must not be stored")
}

func qosRange(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	for _, qos := range []om.QoS{-1, 3, 100} {
		m := message(q, "bad")
		m.QoS = qos
		_, err := p.Send(t.ctx, m)
		t.Is(err, fmt.Sprintf("send with qos %d", qos), om.CodeBadParameter)
	}
	t.Nothing(c, "what was refused must not be stored")
}
