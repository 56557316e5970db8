package oms

import (
	"context"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// batchJob is a batch on its way through the buffer, in as many parcels as it
// takes calls of the driver.
type batchJob struct {
	back   givingBack
	future *om.Future[[]om.SendResult] // nil for one-way

	mu      sync.Mutex
	batch   *batch // nil when cancelled
	results []om.SendResult
	parcels []*parcel
	open    int // parcels not finished, and one for the handing over
}

func (p *producer) SendBatchAsync(ctx context.Context, ms []*om.Message) *om.Future[[]om.SendResult] {
	r, err := p.current(ctx, "send", "")
	if err != nil || len(ms) == 0 {
		f := om.NewFuture[[]om.SendResult](nil)
		f.Complete(nil, err)
		return f
	}
	j := &batchJob{}
	j.future = om.NewFuture[[]om.SendResult](func() { j.cancel(r) })
	j.post(ctx, p, r, ms, true)
	return j.future
}

func (p *producer) SendBatchOneway(ctx context.Context, ms []*om.Message) error {
	r, err := p.current(ctx, "send", "")
	if err != nil || len(ms) == 0 {
		return err
	}
	j := &batchJob{}
	return om.NewBatchError(j.post(ctx, p, r, ms, false))
}

// post hands the batch over part by part and returns the errors that are known
// then, by the places of the messages.
func (j *batchJob) post(ctx context.Context, p *producer, r *sendRun, ms []*om.Message, watched bool) []error {
	b := p.check(ctx, ms, true)
	local := append([]error(nil), b.errs...)
	j.batch, j.results, j.open = b, make([]om.SendResult, len(ms)), 1
	for i := 0; i < len(b.work); {
		end, bytes := b.part(i, &r.cfg)
		pc := &parcel{msgs: b.work[i:end], bytes: bytes, done: make(chan struct{})}
		if b.trails != nil {
			pc.trails = b.trails[i:end]
		}
		at := i
		pc.finished = func(pc *parcel) { j.collect(pc, at) }
		j.add(pc)
		if err := r.post(ctx, pc, watched); err != nil {
			if local == nil {
				local = make([]error, len(ms))
			}
			for k := i; k < end; k++ {
				local[b.place(k)] = err
			}
		}
		i = end
	}
	j.less()
	return local
}

func (j *batchJob) add(pc *parcel) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open++
	j.parcels = append(j.parcels, pc)
}

// collect takes the results of a parcel whose first message is number at of
// the batch's work.
func (j *batchJob) collect(pc *parcel, at int) {
	j.mu.Lock()
	for i := range pc.msgs {
		if j.batch == nil {
			break
		}
		place := j.batch.place(at + i)
		r, err := pc.result(i)
		if err != nil {
			j.batch.fail(place, err)
			continue
		}
		j.results[place] = r
		if j.future != nil {
			j.back.do(j.batch.ms[place], pc.msgs[i])
		}
	}
	j.mu.Unlock()
	j.less()
}

// less counts a part as done; after the last one the future is.
func (j *batchJob) less() {
	j.mu.Lock()
	j.open--
	last := j.open == 0 && j.batch != nil
	j.mu.Unlock()
	if last && j.future != nil {
		j.future.Complete(j.results, om.NewBatchError(j.batch.errs))
	}
}

// cancel takes back what has not been sent yet.
func (j *batchJob) cancel(r *sendRun) {
	j.back.stop()
	j.mu.Lock()
	parcels := j.parcels
	j.parcels, j.batch = nil, nil
	j.mu.Unlock()
	for _, pc := range parcels {
		pc.abandon(r.buffer, om.WrapError(context.Canceled, "send", pc.destination()))
	}
}
