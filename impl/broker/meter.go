package broker

import (
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const meterSeconds = int64(om.RateWindow / time.Second)

// meter counts what happens, in all and in each of the last seconds. Nothing
// ticks: it turns when it is used. Queue.mu guards it.
type meter struct {
	total  int64
	second int64                   // since 1970 UTC, the newest that is counted
	counts [meterSeconds + 1]int64 // by second, modulo their number
}

// add counts n at a time, milliseconds since 1970 UTC.
func (m *meter) add(now, n int64) {
	m.turn(now)
	m.total += n
	m.counts[m.second%int64(len(m.counts))] += n
}

// turn forgets the seconds that are over. Time does not run backwards.
func (m *meter) turn(now int64) {
	second := now / 1000
	m.second = max(m.second, second-int64(len(m.counts)))
	for m.second < second {
		m.second++
		m.counts[m.second%int64(len(m.counts))] = 0
	}
}

// counter tells the total and the rate of the last full seconds.
func (m *meter) counter(now int64) om.Counter {
	m.turn(now)
	var sum int64
	for i := range meterSeconds {
		sum += m.counts[(m.second+1+i)%int64(len(m.counts))] // all but the newest
	}
	return om.Counter{Total: m.total, Rate: float64(sum) / float64(meterSeconds)}
}
