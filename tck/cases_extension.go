package tck

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var extensionCases = table{
	"R027": allOptional,
	"R028": unsupportedIsSaid,
	"R029": storeTimestamp,
	"R030": storeHost,
	"R031": idsPassThrough,
	"R034": delayNotEarly,
	"R035": noDelayImmediate,
	"R036": expireDiscards,
	"R037": noExpireStays,
	"R039": deliveryCount,
	"R040": priorityDefaultAndRange,
	"R041": priorityBestEffort,
	"R162": priorityNoStarving,
	"R042": partitionHonoured,
	"G19":  badDelay,
	"G20":  partitionRange,
}

func allOptional(t *trial) {
	m := message(t.Queue(), "plain")
	m.Ext = om.ExtensionHeader{}
	equal(t, "body", string(t.RoundTrip(m).Body), "plain")
}

// asking are the extension fields by the capability that they ask for.
var asking = map[om.Capability]func(*om.Message){
	om.CapDelay:       func(m *om.Message) { m.Ext.Delay = time.Millisecond },
	om.CapExpire:      func(m *om.Message) { m.Ext.ExpireAt = om.ExpireAfter(time.Hour) },
	om.CapPriority:    func(m *om.Message) { m.Ext.Priority = 7 },
	om.CapQoS1:        func(m *om.Message) { m.QoS = om.AtMostOnce },
	om.CapQoS2:        func(m *om.Message) { m.QoS = om.ExactlyOnce },
	om.CapCompression: func(m *om.Message) { m.Compression = "gzip" },
	om.CapPartitions:  func(m *om.Message) { m.Ext.Partition = om.Some[int32](0) },
	om.CapExtIDs:      func(m *om.Message) { m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID = "c", "k", "t" },
	om.CapNested:      func(m *om.Message) { m.Properties["object"] = om.Object(om.Properties{"k": om.String("v")}) },
}

// unsupportedIsSaid also sends past the portable layer's own gate: the driver
// itself must refuse what it does not do.
func unsupportedIsSaid(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	for capability, ask := range asking {
		m := message(q, "asks for "+string(capability))
		ask(m)
		_, err := p.Send(t.ctx, m)
		if t.Has(capability) {
			if err != nil {
				t.Errorf("a message that uses %s, which is declared, is refused: %v", capability, err)
				continue
			}
			t.Ack(c, t.Receive(c))
			continue
		}
		t.Is(err, fmt.Sprintf("a message that asks for %s, which is not declared", capability), om.ErrUnsupported)
		if err := t.sendRaw(m); !is(err, om.ErrUnsupported) {
			t.Errorf("the driver's own answer to a message that asks for %s, which is not declared: got %s, want the unsupported class", capability, shown(err))
		}
	}
	t.Nothing(c, "what is not supported must not be stored")
}

func storeTimestamp(t *trial) {
	m := message(t.Queue(), "a")
	m.Ext.StoredAt = time.Unix(1_000_000, 0)
	before := time.Now()
	d := t.RoundTrip(m)
	at := d.Ext.StoredAt
	if at.Before(before.Add(-t.Slack)) || at.After(time.Now().Add(t.Slack)) {
		t.Errorf("the store time is %v, want one between %v and now, give or take %v", at, before, t.Slack)
	}
	if !at.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("the store time %v is finer than a millisecond", at)
	}
}

func storeHost(t *trial) {
	m := message(t.Queue(), "a")
	m.Ext.StoreHost = "set-by-the-caller"
	if got := t.RoundTrip(m).Ext.StoreHost; got == "" || got == "set-by-the-caller" {
		t.Errorf("the store host is %q, want one that the provider has set", got)
	}
}

func idsPassThrough(t *trial) {
	q := t.Queue()
	m := message(q, "a")
	m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID = "correlation 🌋", "key/with.odd=signs", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	want := []string{m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID}
	t.Send(t.Producer(), m)
	for _, delivery := range []string{"first delivery", "redelivery"} {
		c := t.Pull([]string{q})
		e := t.Receive(c).Ext
		equalLists(t, "correlation id, message key and trace id of the "+delivery, []string{e.CorrelationID, e.MessageKey, e.TraceID}, want)
		t.NoError(c.Close(t.ctx), "close")
	}
}

func delayNotEarly(t *trial) {
	delay := 2 * t.Quiet
	m := message(t.Queue(), "late")
	m.Ext.Delay = delay
	c := t.Pull([]string{m.Destination})
	t.Send(t.Producer(), m)
	d := t.Receive(c)
	if late := time.Since(m.BornAt) - delay; late < -time.Millisecond {
		t.Errorf("a message with a delay of %v came %v too early", delay, -late)
	} else if late > t.Arrive/2 {
		t.Errorf("a message with a delay of %v came %v too late", delay, late)
	}
	equal(t, "delay at the consumer", d.Ext.Delay, delay)
}

func noDelayImmediate(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	t.Send(t.Producer(), message(q, "now"))
	ctx, cancel := t.within(t.Quiet + t.Slack)
	defer cancel()
	if _, err := c.Receive(ctx); err != nil {
		t.Errorf("a message without a delay did not come within %v: %v", t.Quiet+t.Slack, err)
	}
}

func expireDiscards(t *trial) {
	q := t.Queue()
	p := t.Producer()
	m := message(q, "expires")
	m.Ext.ExpireAt = om.ExpireAfter(t.Quiet)
	t.Send(p, m)
	stays := message(q, "stays")
	stays.Ext.ExpireAt = om.ExpireAfter(time.Hour)
	t.Send(p, stays)
	t.pause(t.Quiet + t.Slack)
	c := t.Pull([]string{q})
	d := t.Receive(c)
	equal(t, "body of what comes after the first message has expired", string(d.Body), "stays")
	if !d.Ext.ExpireAt.Equal(stays.Ext.ExpireAt.Truncate(time.Millisecond)) {
		t.Errorf("the expiry at the consumer is %v, sent was %v", d.Ext.ExpireAt, stays.Ext.ExpireAt)
	}
	t.Nothing(c, "an expired message must not be delivered")
}

func noExpireStays(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "stays"))
	t.pause(4 * t.Quiet)
	equal(t, "body", string(t.Receive(t.Pull([]string{q})).Body), "stays")
}

func deliveryCount(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "a"))
	for want := 1; want <= 3; want++ {
		c := t.Pull([]string{q})
		equal(t, fmt.Sprintf("delivery count of delivery %d", want), t.Receive(c).Ext.DeliveryCount, want)
		t.NoError(c.Close(t.ctx), "close")
	}
}

func priorityDefaultAndRange(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	for _, priority := range []int8{-3, 0, 11, 127} {
		m := message(q, fmt.Sprint(priority))
		m.Ext.Priority = priority
		if _, err := p.Send(t.ctx, m); err != nil {
			t.Errorf("a message with priority %d is refused, it should be ignored: %v", priority, err)
			continue
		}
		d := t.Receive(c)
		if got := d.Ext.Priority; got != 0 && got != 5 {
			t.Errorf("a message sent with priority %d arrived with %d, want 5 or unset", priority, got)
		}
		t.Ack(c, d)
	}
}

func priorityBestEffort(t *trial) {
	const runs, size = 5, 40
	higher, pairs := 0, 0
	for range runs {
		q := t.Queue()
		p := t.Producer()
		for _, i := range rand.Perm(size) {
			m := message(q, "x")
			m.Ext.Priority = int8(i%10 + 1)
			t.Send(p, m)
		}
		ds := t.ReceiveN(t.Pull([]string{q}), size)
		for i := range ds {
			for k := i + 1; k < len(ds); k++ {
				if a, b := ds[i].Ext.Priority, ds[k].Ext.Priority; a != b {
					pairs++
					if a > b {
						higher++
					}
				}
			}
		}
	}
	share := float64(higher) / float64(pairs)
	t.Logf("in %.0f %% of the pairs the higher priority came first", 100*share)
	if share < 0.6 {
		t.Errorf("in %.0f %% of the pairs the higher priority came first, want clearly more than half", 100*share)
	}
}

func priorityNoStarving(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	send := func(body string, priority int8) {
		m := message(q, body)
		m.Ext.Priority = priority
		t.Send(p, m)
	}
	send("low", 1)
	for range 10 {
		send("high", 10)
	}
	const most = 200
	for range most {
		send("high", 10)
		d := t.Receive(c)
		t.Ack(c, d)
		if string(d.Body) == "low" {
			return
		}
	}
	t.Errorf("a message of priority 1 did not come among %d, behind others of priority 10", most)
}

func partitionHonoured(t *trial) {
	const n = 3
	q := t.QueueOf(n)
	p := t.Producer()
	c := t.Pull([]string{q})
	for i := range int32(n) {
		m := message(q, fmt.Sprint(i))
		m.Ext.Partition = om.Some(i)
		equal(t, "partition in the send result", t.Send(p, m).Partition, i)
		d := t.Receive(c)
		equal(t, "partition of the delivery", d.Partition, i)
		got, _ := d.Ext.Partition.Get()
		equal(t, "partition in the extension header", got, i)
		t.Ack(c, d)
	}
}

func badDelay(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	m := message(q, "negative")
	m.Ext.Delay = -time.Second
	_, err := p.Send(t.ctx, m)
	t.Is(err, "send with a negative delay", om.CodeBadParameter)
	if t.Has(om.CapDelay) && t.Has(om.CapExpire) {
		m := message(q, "expires before it is due")
		m.Ext.Delay, m.Ext.ExpireAt = 2*t.Quiet, om.ExpireAfter(t.Quiet)
		if _, err := p.Send(t.ctx, m); err == nil {
			t.pause(2 * t.Quiet)
		}
	}
	t.Nothing(c, "neither a refused message nor one that expires before it is due may be delivered")
}

func partitionRange(t *trial) {
	q := t.QueueOf(2)
	p, c := t.Producer(), t.Pull([]string{q})
	for _, n := range []int32{-1, 2, 1 << 30} {
		m := message(q, "bad")
		m.Ext.Partition = om.Some(n)
		_, err := p.Send(t.ctx, m)
		t.Is(err, fmt.Sprintf("send to partition %d of 2", n), om.CodeBadParameter)
	}
	t.Nothing(c, "what was refused must not be stored")
}

var orderCases = table{
	"R032": orderPerKey,
	"R033": keyToOnePartition,
	"R128": partitionsAdded,
	"R160": keyOrderResumed,
	"G34":  offsetMonotonic,
}

// keyed sends n messages for each of some keys, mixed, by single sends and
// batches, and returns what is received and acknowledged.
func (t *trial) keyed(q string, keys []string, n int) []*om.Delivery {
	p := t.Producer()
	var batch []*om.Message
	for i := range n {
		for _, k := range keys {
			m := message(q, fmt.Sprint(i))
			m.Ext.MessageKey = k
			if i < n/2 {
				batch = append(batch, m)
			} else {
				t.Send(p, m)
			}
		}
		if i == n/2-1 {
			_, err := p.SendBatch(t.ctx, batch)
			t.NoError(err, "send a batch")
		}
	}
	return t.ReceiveAndAck(t.Pull([]string{q}), n*len(keys))
}

func (t *trial) manyPartitions() string {
	if t.Has(om.CapPartitions) {
		return t.QueueOf(4)
	}
	return t.Queue()
}

func orderPerKey(t *trial) {
	keys := []string{"a", "b", "c", "d", "e"}
	got := make(map[string][]string)
	for _, d := range t.keyed(t.manyPartitions(), keys, 20) {
		got[d.Ext.MessageKey] = append(got[d.Ext.MessageKey], string(d.Body))
	}
	for _, k := range keys {
		equalLists(t, "messages of key "+k, got[k], numbered(20))
	}
}

func keyOrderResumed(t *trial) {
	const n = 12
	q := t.manyPartitions()
	p := t.Producer()
	for _, body := range numbered(n) {
		m := message(q, body)
		m.Ext.MessageKey = "k"
		t.Send(p, m)
	}
	c := t.Pull([]string{q})
	got := bodies(t.ReceiveAndAck(c, 3))
	t.NoError(c.Close(t.ctx), "close")
	t.die(q, 1)
	c = t.Pull([]string{q})
	got = append(got, bodies(t.ReceiveAndAck(c, 3))...)
	t.NoError(c.Close(t.ctx), "close")
	if restart := t.target.Faults.Restart; restart != nil && t.Has(om.CapPersistent) {
		t.die(q, 1)
		t.fault("Restart", restart)
	}
	got = append(got, bodies(t.ReceiveAndAck(t.Pull([]string{q}), n-6))...)
	equalLists(t, "messages of a key over the deaths of its consumers", got, numbered(n))
}

func keyToOnePartition(t *trial) {
	partitions := make(map[string][]int32)
	for _, d := range t.keyed(t.manyPartitions(), []string{"a", "b", "c", "d", "e"}, 8) {
		if k := d.Ext.MessageKey; !slices.Contains(partitions[k], d.Partition) {
			partitions[k] = append(partitions[k], d.Partition)
		}
	}
	for k, ps := range partitions {
		if len(ps) != 1 {
			t.Errorf("messages of key %q lie in partitions %v, want one", k, ps)
		}
	}
}

func partitionsAdded(t *trial) {
	q, rs := t.QueueOf(2), t.AP().Resources()
	p, keys := t.Producer(), []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	c := t.Pull([]string{q})
	const each = 5
	for round, total := range []int{2, 5, 7} {
		t.NoError(rs.AddPartitions(t.ctx, q, total), "give it %d partitions", total)
		for i := range each {
			for _, k := range keys {
				m := message(q, fmt.Sprint(round*each+i))
				m.Ext.MessageKey = k
				t.Send(p, m)
			}
		}
	}
	m := message(q, "there")
	m.Ext.Partition = om.Some(int32(6))
	t.Send(p, m)
	if t.Has(om.CapAdmin) {
		made, err := rs.Queue(t.ctx, q)
		t.NoError(err, "describe the queue")
		equal(t, "partitions of the queue", made.Partitions, 7)
	}
	t.Is(rs.AddPartitions(t.ctx, q, 6), "6 partitions where there are 7", om.CodeBadParameter)
	t.Is(rs.AddPartitions(t.ctx, unique("tck-none"), 3), "partitions of a queue that is not there", om.ErrDestination)
	got := make(map[string][]string)
	for _, d := range t.ReceiveAndAck(c, 3*each*len(keys)+1) {
		got[d.Ext.MessageKey] = append(got[d.Ext.MessageKey], string(d.Body))
	}
	for _, k := range keys {
		equalLists(t, "messages of key "+k, got[k], numbered(3*each))
	}
	t.Nothing(c, "each message comes once")
}

func offsetMonotonic(t *trial) {
	q := t.QueueOf(2)
	p := t.Producer()
	last := map[int32]int64{0: -1, 1: -1}
	check := func(r om.SendResult) {
		if r.Offset <= last[r.Partition] {
			t.Errorf("partition %d gave offset %d after %d", r.Partition, r.Offset, last[r.Partition])
		}
		last[r.Partition] = r.Offset
	}
	for range 10 {
		check(t.Send(p, message(q, "a")))
		for _, r := range t.SendAll(p, q, "b", "c", "d") {
			check(r)
		}
	}
	seen := make(map[string]bool)
	for _, d := range t.ReceiveN(t.Pull([]string{q}), 40) {
		place := fmt.Sprint(d.Partition, "/", d.Offset)
		if seen[place] {
			t.Errorf("two messages lie at partition/offset %s", place)
		}
		seen[place] = true
	}
}
