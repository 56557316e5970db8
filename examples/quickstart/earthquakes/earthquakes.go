// Package earthquakes is the feed that examples send: all earthquakes of a week
// of 2018, by the USGS, public domain.
package earthquakes

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

//go:embed earthquakes.jsonl
var feed []byte

// Event is a line of the feed. Felt is how many people reported it, where any did.
type Event struct {
	ID      string  `json:"id"`
	Time    int64   `json:"time"` // milliseconds since 1970 UTC
	Mag     float64 `json:"mag"`
	Place   string  `json:"place"`
	Net     string  `json:"net"`
	Tsunami int     `json:"tsunami"`
	Felt    *int32  `json:"felt"`

	line []byte
}

// Events returns all events, in the order of the feed.
func Events() (events []Event, err error) {
	lines := bufio.NewScanner(bytes.NewReader(feed))
	for lines.Scan() {
		e := Event{line: slices.Clone(lines.Bytes())}
		if err := json.Unmarshal(e.line, &e); err != nil {
			return nil, fmt.Errorf("line %d of the feed: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	return events, lines.Err()
}

// Message makes a message to a queue with typed properties of an event.
func (e Event) Message(queue string) *om.Message {
	m := om.NewMessage(queue, e.line)
	m.Properties["id"] = om.String(e.ID)
	m.Properties["net"] = om.String(e.Net)
	m.Properties["mag"] = om.Double(e.Mag)
	m.Properties["place"] = om.String(e.Place)
	m.Properties["time"] = om.Long(e.Time)
	m.Properties["tsunami"] = om.Bool(e.Tsunami != 0)
	if e.Felt != nil {
		m.Properties["felt"] = om.Integer(*e.Felt)
	}
	return m
}
