package stdio

import (
	"encoding/json"
	"errors"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// protocol is the version of PROTOCOL.md.
const protocol = 1

// request is a line to the child. PROTOCOL.md tells which fields an operation has.
type request struct {
	ID          uint64              `json:"id,omitempty"`
	Ask         uint64              `json:"ask,omitempty"`
	Op          string              `json:"op"`
	Protocol    int                 `json:"protocol,omitempty"`
	Target      uint64              `json:"target,omitempty"`
	Handle      uint64              `json:"handle,omitempty"`
	URL         string              `json:"url,omitempty"`
	Driver      string              `json:"driver,omitempty"`
	Account     string              `json:"account,omitempty"`
	Hosts       []host              `json:"hosts,omitempty"`
	Region      string              `json:"region,omitempty"`
	Options     map[string][]string `json:"options,omitempty"`
	Credentials *credentials        `json:"credentials,omitempty"`
	Checker     bool                `json:"checker,omitempty"`
	Verdict     string              `json:"verdict,omitempty"`
	Queue       string              `json:"queue,omitempty"`
	Group       string              `json:"group,omitempty"`
	Name        string              `json:"name,omitempty"`
	Namespace   string              `json:"namespace,omitempty"`
	Config      *queueConfig        `json:"config,omitempty"`
	Route       *route              `json:"route,omitempty"`
	Filter      *filter             `json:"filter,omitempty"`
	Position    *position           `json:"position,omitempty"`
	Partition   *int32              `json:"partition,omitempty"`
	Offset      *int64              `json:"offset,omitempty,string"`
	Max         int                 `json:"max,omitempty"`
	LeaseMS     *int64              `json:"lease_ms,omitempty"`
	DelayMS     *int64              `json:"delay_ms,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Receipts    []json.RawMessage   `json:"receipts,omitempty"`
	Tx          string              `json:"tx,omitempty"`
	Check       *transactionCheck   `json:"check,omitempty"`
	Message     json.RawMessage     `json:"message,omitempty"`
	Messages    []json.RawMessage   `json:"messages,omitempty"`
}

// answer is a line of the child: the answer with an ID, or a question with an Ask.
type answer struct {
	ID           uint64          `json:"id"`
	Ask          uint64          `json:"ask"`
	Op           string          `json:"op"`
	Error        *failure        `json:"error"`
	Protocol     int             `json:"protocol"`
	Handle       uint64          `json:"handle"`
	Version      string          `json:"version"`
	SpecVersion  string          `json:"spec_version"`
	Capabilities om.Capabilities `json:"capabilities"`
	Outcome      *outcome        `json:"outcome"`
	Outcomes     []outcome       `json:"outcomes"`
	Tx           string          `json:"tx"`
	Deliveries   []delivery      `json:"deliveries"`
	Errors       []*failure      `json:"errors"`
	Message      *message        `json:"message"`
	Names        []string        `json:"names"`
	Config       *queueConfig    `json:"config"`
	Configs      []queueConfig   `json:"configs"`
	Partitions   []partition     `json:"partitions"`
	Groups       []group         `json:"groups"`
	Routes       []route         `json:"routes"`
	Offset       *int64          `json:"offset,string"`
}

// failure is an error with its status code.
type failure struct {
	Code     int    `json:"code"`
	Message  string `json:"message"`
	Resource string `json:"resource"`
}

// err returns the *openmessaging.Error that f tells, nil for nil.
func (f *failure) err(op, resource string) error {
	if f == nil {
		return nil
	}
	e := &om.Error{Code: om.Code(f.Code), Op: op, Resource: resource}
	if f.Resource != "" {
		e.Resource = f.Resource
	}
	if f.Message != "" {
		e.Err = errors.New(f.Message)
	}
	return e
}

type host struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

type credentials struct {
	AccountID  string `json:"account_id,omitempty"`
	AccountKey string `json:"account_key,omitempty"`
	Token      string `json:"token,omitempty"`
}

type outcome struct {
	MessageID string   `json:"message_id"`
	Partition *int32   `json:"partition"`
	Offset    *int64   `json:"offset,string"`
	Error     *failure `json:"error"`
}

type delivery struct {
	Message    *message        `json:"message"`
	Receipt    json.RawMessage `json:"receipt"`
	Partition  *int32          `json:"partition"`
	Offset     *int64          `json:"offset,string"`
	LeaseUntil *int64          `json:"lease_until"`
}

type queueConfig struct {
	Name        string `json:"name"`
	Partitions  int    `json:"partitions,omitempty"`
	Description string `json:"description,omitempty"`

	DeadLetterExpired bool  `json:"dead_letter_expired,omitempty"`
	ExpiresMS         int64 `json:"expires_ms,omitempty"`
}

func newQueueConfig(q om.QueueConfig) queueConfig {
	return queueConfig{Name: q.Name, Partitions: q.Partitions, Description: q.Description, DeadLetterExpired: q.DeadLetterExpired, ExpiresMS: q.Expires.Milliseconds()}
}

func (q queueConfig) value() om.QueueConfig {
	return om.QueueConfig{Name: q.Name, Partitions: q.Partitions, Description: q.Description, DeadLetterExpired: q.DeadLetterExpired,
		Expires: time.Duration(q.ExpiresMS) * time.Millisecond}
}

type partition struct {
	Queue     string `json:"queue"`
	Partition int32  `json:"partition"`
	Begin     int64  `json:"begin,string"`
	End       int64  `json:"end,string"`
	Messages  int64  `json:"messages,string"`
}

func (p partition) value() om.PartitionInfo { return om.PartitionInfo(p) }

type group struct {
	Queue       string           `json:"queue"`
	Group       string           `json:"group"`
	Consumers   int              `json:"consumers"`
	Lag         int64            `json:"lag"`
	InFlight    int64            `json:"in_flight"`
	Lost        int64            `json:"lost"`
	Expired     int64            `json:"expired"`
	Redelivered int64            `json:"redelivered"`
	OldestLease *int64           `json:"oldest_lease"`
	Partitions  []groupPartition `json:"partitions"`
}

type groupPartition struct {
	Partition int32 `json:"partition"`
	Cursor    int64 `json:"cursor,string"`
	Lag       int64 `json:"lag"`
	InFlight  int64 `json:"in_flight"`
}

func (g group) value() om.GroupInfo {
	i := om.GroupInfo{
		Queue: g.Queue, Group: g.Group, Consumers: g.Consumers, Lag: g.Lag, InFlight: g.InFlight,
		Lost: g.Lost, Expired: g.Expired, Redelivered: g.Redelivered, OldestLease: fromMillis(g.OldestLease),
	}
	for _, p := range g.Partitions {
		i.Partitions = append(i.Partitions, om.GroupPartition{Partition: p.Partition, Cursor: p.Cursor, Lag: p.Lag, InFlight: p.InFlight})
	}
	return i
}

type filter struct {
	Type       string `json:"type"`
	Expression string `json:"expression"`
}

type route struct {
	Name      string     `json:"name"`
	Source    string     `json:"source"`
	Target    string     `json:"target"`
	Filter    *filter    `json:"filter,omitempty"`
	Start     *position  `json:"start,omitempty"`
	Operators []operator `json:"operators,omitempty"`
}

type operator struct {
	Type       string     `json:"type"`
	Properties properties `json:"properties,omitempty"`
	Keys       []string   `json:"keys,omitempty"`
	WindowMS   int64      `json:"window_ms,omitempty"`
	Count      int        `json:"count,omitempty"`
}

func (o operator) value() om.Operator {
	v := om.Operator{Type: om.OperatorType(o.Type), Keys: o.Keys, Window: time.Duration(o.WindowMS) * time.Millisecond, Count: o.Count}
	if o.Properties != nil {
		v.Properties = o.Properties.value()
	}
	return v
}

// wireFilter returns nil for no filter.
func wireFilter(f om.Filter) *filter {
	if f == (om.Filter{}) {
		return nil
	}
	w := filter(f)
	return &w
}

func wireRoute(r om.RouteConfig) *route {
	w := &route{Name: r.Name, Source: r.Source, Target: r.Target, Filter: wireFilter(r.Filter)}
	if !r.Start.IsBegin() {
		w.Start = wirePosition(r.Start)
	}
	for _, o := range r.Operators {
		w.Operators = append(w.Operators, operator{string(o.Type), toWire(o.Properties), o.Keys, *lasting(o.Window), o.Count})
	}
	return w
}

func (r route) value() om.RouteConfig {
	c := om.RouteConfig{Name: r.Name, Source: r.Source, Target: r.Target}
	if r.Filter != nil {
		c.Filter = om.Filter(*r.Filter)
	}
	if r.Start != nil {
		c.Start = r.Start.value()
	}
	if len(r.Operators) > 0 {
		c.Operators = values(r.Operators)
	}
	return c
}

// position is a place in a partition: at is begin, end, offset or time.
type position struct {
	At     string `json:"at"`
	Offset *int64 `json:"offset,omitempty,string"`
	Time   *int64 `json:"time,omitempty"`
}

// wirePosition rounds a time up to the millisecond: the first message at or
// after it is the same, as times of messages are milliseconds.
func wirePosition(p om.Position) *position {
	if n, ok := p.Offset(); ok {
		return &position{At: "offset", Offset: &n}
	}
	if t, ok := p.Time(); ok {
		return &position{At: "time", Time: millis(t.Add(time.Millisecond - 1))}
	}
	if p.IsEnd() {
		return &position{At: "end"}
	}
	return &position{At: "begin"}
}

// value returns Begin for a place that the protocol does not know.
func (p position) value() om.Position {
	switch {
	case p.At == "end":
		return om.End()
	case p.At == "offset" && p.Offset != nil:
		return om.AtOffset(*p.Offset)
	case p.At == "time" && p.Time != nil:
		return om.AtTime(time.UnixMilli(*p.Time))
	}
	return om.Begin()
}

// millis returns the milliseconds since 1970 UTC, nil for the zero time.
func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMilli()
	return &n
}

func fromMillis(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.UnixMilli(*n).UTC()
}

// lasting returns a duration in milliseconds, rounded up.
func lasting(d time.Duration) *int64 {
	n := d.Milliseconds()
	if time.Duration(n)*time.Millisecond < d {
		n++
	}
	return &n
}

// values maps a slice of wire forms to what they stand for.
func values[W interface{ value() V }, V any](ws []W) []V {
	vs := make([]V, len(ws))
	for i, w := range ws {
		vs[i] = w.value()
	}
	return vs
}

// transactionCheck has times in milliseconds; what is missing is a default.
type transactionCheck struct {
	AfterMS int64 `json:"after_ms,omitempty"`
	EveryMS int64 `json:"every_ms,omitempty"`
	Max     int   `json:"max,omitempty"`
}

func newTransactionCheck(c om.TransactionCheck) *transactionCheck {
	if c == (om.TransactionCheck{}) {
		return nil
	}
	return &transactionCheck{c.After.Milliseconds(), c.Every.Milliseconds(), c.Max}
}
