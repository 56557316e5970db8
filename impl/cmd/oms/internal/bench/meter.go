package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const gigabyte = 1_000_000_000

// meter counts what was done and how long each operation took. add may be
// called concurrently.
type meter struct {
	size     int
	total    int64
	progress func(done, total int64)
	began    time.Time
	cpu      time.Duration

	mu       sync.Mutex
	done     int64
	latency  *hdrhistogram.Histogram // microseconds
	windows  []Window
	lastMark time.Time
	worst    time.Duration // of the present window
	last     time.Time
}

func newMeter(size int, total int64, progress func(done, total int64)) *meter {
	now := time.Now()
	return &meter{
		size: size, total: total, progress: progress, began: now, lastMark: now, last: now, cpu: cpuTime(),
		latency: hdrhistogram.New(1, 10*time.Minute.Microseconds(), 3),
	}
}

// add counts messages of one operation that took d.
func (m *meter) add(messages int, d time.Duration) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.latency.RecordValue(max(1, d.Microseconds()))
	m.worst = max(m.worst, d)
	perWindow := max(1, int64(gigabyte/max(1, m.size)))
	before := m.done / perWindow
	m.done += int64(messages)
	m.last = now
	if m.done/perWindow > before {
		s := now.Sub(m.lastMark).Seconds()
		m.windows = append(m.windows, Window{Seconds: s, MessagesPerSecond: float64(perWindow) / s, Max: ms(m.worst)})
		m.lastMark, m.worst = now, 0
	}
	if m.progress != nil {
		m.progress(m.done, m.total)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// fill puts the figures into a result.
func (m *meter) fill(r *Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Messages = m.done
	r.Seconds = m.last.Sub(m.began).Seconds()
	if r.Seconds > 0 {
		r.MessagesPerSecond = float64(m.done) / r.Seconds
		r.BytesPerSecond = r.MessagesPerSecond * float64(m.size)
	}
	quantile := func(q float64) *float64 {
		v := float64(m.latency.ValueAtQuantile(q)) / 1000
		return &v
	}
	r.P50, r.P99, r.Max = quantile(50), quantile(99), quantile(100)
	r.CPUSeconds = (cpuTime() - m.cpu).Seconds()
	r.RSSBytes = resident()
	r.Gigabytes = m.windows
}
