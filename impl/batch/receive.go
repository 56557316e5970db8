package batch

import (
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/compression"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Span is a run of messages of one chunk.
type Span struct {
	Partition int32
	Lease     uint64    // 0 without a lease
	Ends      time.Time // of the lease
	Base      int64     // offset of the first message of the span
	Skip      int       // messages of the chunk before it
	Count     int       // messages in the span
	Delivery  int       // which delivery of each message this is, from 1; 0 without a lease
	StoredAt  int64     // milliseconds since 1970 UTC
	Chunk     []byte
}

// follows reports whether a span lies behind another one in the same chunk.
func (s *Span) follows(other *Span) bool {
	return len(s.Chunk) > 0 && len(other.Chunk) > 0 && &s.Chunk[0] == &other.Chunk[0] && s.Skip >= other.Skip+other.Count
}

// receipt names one delivery; its address is the spi.Receipt.
type receipt struct {
	lease     uint64
	offset    int64
	partition int32
}

// Decode decodes spans into messages, with few allocations for all of them. The
// messages share the chunks' memory. Receipts are nil where there is no lease.
func Decode(spans []Span, queue, host string) ([]spi.Received, error) {
	n, leased := 0, false
	for i := range spans {
		n += spans[i].Count
		leased = leased || spans[i].Lease != 0
	}
	messages := make([]om.Message, n)
	out := make([]spi.Received, n)
	var receipts []receipt
	if leased {
		receipts = make([]receipt, n)
	}
	var h chunk.Header
	var d *chunk.Decoder
	at := 0
	for i := range spans {
		s := &spans[i]
		var err error
		if i == 0 || !s.follows(&spans[i-1]) {
			if h, err = chunk.Parse(s.Chunk); err == nil {
				d = chunk.NewDecoder(s.Chunk, h)
			}
		}
		if err == nil {
			_, err = d.Decode(s.Skip, messages[at:at+s.Count])
		}
		if err == nil && h.Flags&chunk.HasCompression != 0 {
			err = decompress(messages[at : at+s.Count])
		}
		if err != nil {
			return nil, om.NewError(om.CodeStorageCorrupt, "receive", queue, "partition %d, offset %d: %w", s.Partition, s.Base, err)
		}
		stored := time.UnixMilli(s.StoredAt).UTC()
		partition := om.Some(s.Partition)
		for i := range s.Count {
			m := &messages[at+i]
			m.Destination = queue
			m.Ext.Partition = partition
			m.Ext.StoredAt, m.Ext.StoreHost = stored, host
			m.Ext.DeliveryCount = s.Delivery
			rec := &out[at+i]
			*rec = spi.Received{Message: m, Partition: s.Partition, Offset: s.Base + int64(i), LeaseUntil: s.Ends}
			if leased {
				receipts[at+i] = receipt{s.Lease, rec.Offset, s.Partition}
				rec.Receipt = &receipts[at+i]
			}
		}
		at += s.Count
	}
	return out, nil
}

// MaxDecompressed is the most bytes of a body that was compressed.
const MaxDecompressed = 64 << 20

func decompress(ms []om.Message) (err error) {
	for i := range ms {
		if m := &ms[i]; m.Compression != "" {
			if m.Body, err = compression.Decompress(m.Compression, m.Body, MaxDecompressed); err != nil {
				return err
			}
		}
	}
	return nil
}

// Range is the offsets From ≤ offset < To of a partition, received under one
// lease.
type Range struct {
	Partition int32
	Lease     uint64
	From, To  int64
}

// Ranges joins receipts that follow each other; ends has for each range the
// index behind its last receipt. A receipt of another driver gives
// CodeBadParameter.
func Ranges(op, queue string, receipts []spi.Receipt) (ranges []Range, ends []int, err error) {
	for i, v := range receipts {
		rc, ok := v.(*receipt)
		if !ok {
			return nil, nil, om.NewError(om.CodeBadParameter, op, queue, "receipt %d is not one of this driver", i)
		}
		if n := len(ranges); n > 0 {
			if last := &ranges[n-1]; last.Lease == rc.lease && last.To == rc.offset && last.Partition == rc.partition {
				last.To++
				ends[n-1] = i + 1
				continue
			}
		}
		ranges = append(ranges, Range{Partition: rc.partition, Lease: rc.lease, From: rc.offset, To: rc.offset + 1})
		ends = append(ends, i+1)
	}
	return ranges, ends, nil
}

// Settle joins receipts that follow each other into ranges, has f settle these,
// and gives the result of each range to its receipts.
func Settle(op, queue string, receipts []spi.Receipt, f func([]Range) ([]error, error)) ([]error, error) {
	ranges, ends, err := Ranges(op, queue, receipts)
	if err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		return nil, nil
	}
	errs, err := f(ranges)
	if err != nil || errs == nil {
		return nil, err
	}
	out := make([]error, len(receipts))
	i := 0
	for n, end := range ends {
		for ; i < end; i++ {
			out[i] = errs[n]
		}
	}
	return out, nil
}

// Prepared decodes the chunk of a prepared message. It shares the chunk's
// memory.
func Prepared(data []byte, queue string) (*om.Message, error) {
	ms := make([]om.Message, 1)
	h, err := chunk.Parse(data)
	if err == nil {
		_, err = chunk.Decode(data, h, 0, ms)
	}
	if err == nil {
		err = decompress(ms)
	}
	if err != nil {
		return nil, om.NewError(om.CodeStorageCorrupt, "check", queue, "%w", err)
	}
	ms[0].Destination = queue
	return &ms[0], nil
}
