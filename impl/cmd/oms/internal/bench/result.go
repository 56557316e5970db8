package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Result is what a scenario measured. Fields that a scenario does not measure
// are null in JSON.
type Result struct {
	Scenario               string   `json:"scenario"`
	Messages               int64    `json:"messages"`
	Size                   int      `json:"size"`
	Batch                  int      `json:"batch"`
	Seconds                float64  `json:"seconds"`
	MessagesPerSecond      float64  `json:"messages_per_second"`
	BytesPerSecond         float64  `json:"bytes_per_second"`
	P50                    *float64 `json:"p50_ms"`
	P99                    *float64 `json:"p99_ms"`
	LimitMessagesPerSecond *float64 `json:"limit_messages_per_second"`
	RatioToLimit           *float64 `json:"ratio_to_limit"`
	PeerMessagesPerSecond  *float64 `json:"peer_messages_per_second,omitempty"`
	RatioToPeer            *float64 `json:"ratio_to_peer,omitempty"`
	CPUSeconds             float64  `json:"cpu_seconds"`
	RSSBytes               int64    `json:"rss_bytes"`
	Max                    *float64 `json:"max_ms"`
	Producers              int      `json:"producers"`
	Consumers              int      `json:"consumers"`
	Queues                 int      `json:"queues"`
	Partitions             int      `json:"partitions"`
	Groups                 int      `json:"groups"`
	Routes                 int      `json:"routes"`
	Duplicates             int64    `json:"duplicates"`
	Gigabytes              []Window `json:"gigabytes,omitempty"`
	Interrupted            bool     `json:"interrupted,omitempty"`
}

// WriteCSV writes the names of the fields and their values, as in JSON without
// the gigabytes; what was not measured is empty.
func (r Result) WriteCSV(out io.Writer) error {
	var names, values []string
	v := reflect.ValueOf(r)
	for field, value := range v.Fields() {
		if value.Kind() == reflect.Slice {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		text := ""
		if value.Kind() != reflect.Pointer {
			text = fmt.Sprint(value)
		} else if !value.IsNil() {
			text = fmt.Sprint(value.Elem())
		}
		names, values = append(names, name), append(values, text)
	}
	w := csv.NewWriter(out)
	return w.WriteAll([][]string{names, values})
}

// Window is one gigabyte of message bodies on its way.
type Window struct {
	Seconds           float64 `json:"seconds"`
	MessagesPerSecond float64 `json:"messages_per_second"`
	Max               float64 `json:"max_ms"`
}
