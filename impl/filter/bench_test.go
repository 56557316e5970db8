package filter

import (
	"fmt"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// BenchmarkMatch evaluates three comparisons over earthquakes, of which some
// match, as messages in memory and as they lie in a chunk.
func BenchmarkMatch(b *testing.B) {
	f, err := Parse("mag >= 4.5 AND net IN ('us','ak') AND place LIKE '%Alaska%'", Options{})
	if err != nil {
		b.Fatal(err)
	}
	var ms []*om.Message
	var views []*chunk.View
	for i := range 1000 {
		m := om.NewMessage("q", make([]byte, 128))
		m.BornAt = time.UnixMilli(1)
		m.Properties = om.Properties{
			"mag": om.Double(float64(i%70) / 10), "net": om.String([]string{"us", "ak", "ci", "nc"}[i%4]),
			"place": om.String(fmt.Sprintf("%d km W of Anchor Point, %s", i, []string{"Alaska", "CA"}[i%2])), "tsunami": om.Bool(false),
		}
		ms = append(ms, m)
		views = append(views, viewOf(b, m))
	}
	b.Run("decoded", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			f.MatchMessage(ms[i%len(ms)])
		}
	})
	b.Run("encoded", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			f.Match(views[i%len(views)])
		}
	})
}
