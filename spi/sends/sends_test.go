package sends_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/sends"
)

var (
	errNoQueue = errors.New("no such queue")
	errRefused = errors.New("refused")
)

// admit admits messages to the queues that a text names by a letter each; there
// is no queue x, and R is refused.
func admit(to string) (c *sends.Call[string], asked string) {
	var ms []*om.Message
	for i := range to {
		ms = append(ms, om.NewMessage(to[i:i+1], nil))
	}
	return sends.Admit(ms, func(name string) (string, error) {
		asked += name
		if name == "x" {
			return "", errNoQueue
		}
		return name, nil
	}, func(m *om.Message, q string, o *spi.Outcome) error {
		if o.MessageID = q; q == "R" {
			return errRefused
		}
		return nil
	}), asked
}

func TestAdmit(t *testing.T) {
	c, asked := admit("aaxxaRRbb")
	if asked != "axxaRb" {
		t.Errorf("asked for the queues %s", asked)
	}
	for i, o := range c.Outcomes {
		want := map[string]error{"x": errNoQueue, "R": errRefused}[c.Messages[i].Destination]
		if o.Err != want || want == nil && (o.MessageID != c.Messages[i].Destination || c.Queues[i] != o.MessageID) {
			t.Errorf("message %d to %s: queue %q, %+v", i, c.Messages[i].Destination, c.Queues[i], o)
		}
	}
}

// TestSend sends to queues of which those in capitals take batches of 2 to 3.
func TestSend(t *testing.T) {
	for _, c := range []struct {
		to     string
		refuse string // batches to these queues are refused
		want   []string
	}{
		{"", "", nil},
		{"x", "", nil},
		{"abab", "", []string{"[0] [1] [2] [3]"}},
		{"A", "", []string{"[0]"}},
		{"AAA", "", []string{"[0 1 2]"}},
		{"AAAA", "", []string{"[0 1 2]", "[3]"}},
		{"AAxAARA", "", []string{"[0 1 3]", "[4 6]"}},
		{"AaAbAcAdA", "", []string{"[0 2 4] [1] [3] [5] [7]", "[6 8]"}},
		{"ABABABABC", "", []string{"[0 2 4] [1 3 5] [8]", "[6] [7]"}},
		{"AAAABBBBb", "A", []string{"[0 1 2] [4 5 6] [8]", "[0] [1] [2]", "[3] [7]"}},
		{"AAAAAA", "A", []string{"[0 1 2]", "[0] [1] [2]", "[3 4 5]", "[3] [4] [5]"}},
	} {
		call, _ := admit(c.to)
		var got []string
		call.Send(2, 3, func(q string) bool { return q < "a" }, func(groups [][]int) (refused []int) {
			slices.SortFunc(groups, slices.Compare) // their order does not matter
			text := fmt.Sprint(groups)
			got = append(got, text[1:len(text)-1])
			for _, g := range groups {
				if len(g) > 1 && call.Queues[g[0]] == c.refuse {
					refused = append(refused, g...)
				}
			}
			return refused
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("messages to %s went as %q, want %q", c.to, got, c.want)
		}
	}
}

func TestPartition(t *testing.T) {
	none, key, asked := om.NewMessage("q", nil), om.NewMessage("q", nil), om.NewMessage("q", nil)
	key.Ext.MessageKey = "12"
	asked.Ext.MessageKey, asked.Ext.Partition = "12", om.Some[int32](0)
	for m, want := range map[*om.Message]int32{none: 7, key: 2, asked: 0} {
		if got := sends.Partition(m, func(key string) int32 { return int32(len(key)) }, func() int32 { return 7 }); got != want {
			t.Errorf("partition %d, want %d", got, want)
		}
	}
}
