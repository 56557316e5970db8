package openmessaging

// Properties that a message has in a dead-letter queue, besides its own. Their
// names are good in filters.
const (
	PropertyDeadReason     = "$deadReason"     // String: why, in words
	PropertyDeadDeliveries = "$deadDeliveries" // Integer: how often it was delivered
	PropertyDeadQueue      = "$deadQueue"      // String: the long name of the queue it comes from
	PropertyDeadGroup      = "$deadGroup"      // String: the group that could not handle it
	PropertyDeadPartition  = "$deadPartition"  // Integer: where it lay
	PropertyDeadOffset     = "$deadOffset"     // Long
)

// DeadExpired is the [PropertyDeadReason] of messages that were not delivered
// in time; see [QueueConfig].
const DeadExpired = "expired"

// PropertyRedriveGroup is a String property that a message has after it was
// redriven: the group that it was redriven for. No other group gets it.
const PropertyRedriveGroup = "$redriveGroup"

// DeadLetterQueue returns the name of the queue that gets the messages which a
// group of a queue rejects, or was given too often. It is an ordinary queue of
// the same namespace; the first dead letter makes it.
func DeadLetterQueue(queue, group string) string { return queue + "//dlq//" + group }

// DefaultRedrive is how many dead letters one call of Redrive moves at most
// when it is not told.
const DefaultRedrive = 1000

const maxRedrive = 10_000

// Redrive says which dead letters of a group go back: those with one of the
// IDs, those that match the Filter, or with neither all of them, the oldest
// first. What was redriven is no dead letter any more: it is not found again,
// although the dead-letter queue keeps it until retention removes it.
//
// A redriven message lies in its queue anew, at the end of the partition that
// it came from, with its id, key, body and properties; the $dead properties and
// the expiry are gone, and its deliveries count from 1. It is delivered to the
// group that it was dead for and to no other group and no route: these have had
// it. Reading by offset shows it. The copy and what makes the dead letter count
// as redriven are one commit.
type Redrive struct {
	// IDs are message ids, at most Max. Each gives one result: with 20015 where
	// no dead letter has it. Of several with the same id the oldest goes.
	IDs []string
	// Filter selects by the message and its $dead properties. It cannot be
	// used together with IDs.
	Filter Filter
	// Max is how many messages are moved at most, 1 to 10,000, or 0 for
	// [DefaultRedrive]. Who wants more calls again.
	Max int
	// DryRun moves nothing and tells what would be moved.
	DryRun bool
}

// Complete returns what is asked for with the default filled in. What
// contradicts itself or is out of range gives 1418. Drivers call it.
func (r Redrive) Complete(op, queue string) (Redrive, error) {
	if r.Max == 0 {
		r.Max = DefaultRedrive
	}
	bad := func(format string, args ...any) (Redrive, error) {
		return Redrive{}, NewError(CodeBadParameter, op, queue, format, args...)
	}
	switch {
	case r.Max < 1 || r.Max > maxRedrive:
		return bad("%d messages are not in 1 to %d; call again for more", r.Max, maxRedrive)
	case len(r.IDs) > r.Max:
		return bad("%d ids, and %d messages are the most; call again for more", len(r.IDs), r.Max)
	case len(r.IDs) > 0 && r.Filter != (Filter{}):
		return bad("it names ids and a filter; use one of them")
	}
	return r, nil
}

// Redriven is what became of one dead letter.
type Redriven struct {
	MessageID string
	// DeadOffset is where it lies in the dead-letter queue; -1 for an id that
	// is not there.
	DeadOffset int64
	// Queue, Partition and Offset are where it lies now. The offset is -1 after
	// a dry run or with an error, and so is the partition of an id that is not
	// there.
	Queue     string
	Partition int32
	Offset    int64
	// Err is nil when it was moved: 20015 for an id that is not there or was
	// redriven before.
	Err error
}
