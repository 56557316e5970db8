package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// topJSON is one view of oms top. Rates are messages per second.
type topJSON struct {
	Time    string         `json:"time"`
	Seconds float64        `json:"seconds"` // over which the rates are
	In      float64        `json:"in_per_second"`
	Out     float64        `json:"out_per_second"`
	Queues  []topQueueJSON `json:"queues"`
	Groups  []topGroupJSON `json:"groups"`
}

type topQueueJSON struct {
	Name       string  `json:"name"`
	Partitions int     `json:"partitions"`
	Messages   int64   `json:"messages"`
	In         float64 `json:"in_per_second"`
}

type topGroupJSON struct {
	Queue     string  `json:"queue"`
	Group     string  `json:"group"`
	Consumers int     `json:"consumers"`
	Lag       int64   `json:"lag"`
	InFlight  int64   `json:"in_flight"`
	Out       float64 `json:"out_per_second"`
}

func topCommand() *cobra.Command {
	var t target
	var asJSON, once bool
	var namespace string
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch queues and groups with their rates",
		Long: `Watch the queues of a namespace and their groups: what comes in, counted by the
ends of the partitions, and what goes out, counted by the groups' cursors, in
messages per second since the look before. On a terminal the view is drawn anew
until Ctrl-C; elsewhere one follows the other, with --json one on a line.`,
		Example: `  oms top
  oms top --once
  oms top --once --json --interval 500ms`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if interval < shortestLook {
				return usage(c, fmt.Errorf("--interval %s is shorter than %s", interval, shortestLook))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				w := watching{ap: ap, namespace: namespace, interval: interval, once: once, draw: drawer(c.OutOrStdout(), ap, asJSON, once)}
				return w.run(ctx)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	f := c.Flags()
	f.BoolVar(&once, "once", false, "print one view, after one interval")
	f.DurationVar(&interval, "interval", 2*time.Second, "time between two looks")
	f.StringVar(&namespace, "namespace", om.DefaultNamespace, "namespace of the queues")
	_ = c.RegisterFlagCompletionFunc("namespace", t.namespaces()) // the flag is there
	return c
}

const shortestLook = 100 * time.Millisecond

// watching is one run of oms top.
type watching struct {
	ap        *connection
	namespace string
	interval  time.Duration
	once      bool
	draw      func(topJSON) error
}

func (w *watching) run(ctx context.Context) error {
	before, err := w.look(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // the way it ends
		}
		now, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = w.draw(now.since(before))
		}
		if err != nil || w.once {
			if brokenPipe(err) {
				return nil
			}
			return err
		}
		before = now
	}
}

// look is what lay there at a moment.
type look struct {
	at     time.Time
	queues []om.QueueConfig
	parts  map[string][]om.PartitionInfo // by queue
	groups []om.GroupInfo
}

func (w *watching) look(ctx context.Context) (l look, err error) {
	r := w.ap.Resources()
	l = look{at: time.Now(), parts: make(map[string][]om.PartitionInfo)}
	queues, err := r.Namespace(w.namespace).Queues(ctx)
	for _, q := range queues {
		parts, err := r.Partitions(ctx, q.Name)
		var groups []om.GroupInfo
		if err == nil {
			groups, err = r.Groups(ctx, q.Name)
		}
		if errors.Is(err, om.ErrDestination) {
			continue // deleted meanwhile
		}
		if err != nil {
			return l, err
		}
		l.queues, l.parts[q.Name], l.groups = append(l.queues, q), parts, append(l.groups, groups...)
	}
	return l, err
}

// since returns the view of a look with the rates since the one before. A queue
// or group that was not there before began at its first offset.
func (l look) since(before look) topJSON {
	v := topJSON{Time: timeText(l.at), Seconds: l.at.Sub(before.at).Seconds(), Queues: []topQueueJSON{}, Groups: []topGroupJSON{}}
	rate := func(now, then int64) float64 { return max(0, float64(now-then)/v.Seconds) }
	for _, q := range l.queues {
		parts := l.parts[q.Name]
		j := topQueueJSON{q.Name, q.Partitions, *stored(parts), rate(ends(parts), ends(before.parts[q.Name]))}
		v.In += j.In
		v.Queues = append(v.Queues, j)
	}
	then := make(map[[2]string]int64)
	for _, g := range before.groups {
		then[[2]string{g.Queue, g.Group}] = cursors(g)
	}
	for _, g := range l.groups {
		was, ok := then[[2]string{g.Queue, g.Group}]
		if !ok {
			was = cursors(g) // nobody knows where it began
		}
		j := topGroupJSON{g.Queue, g.Group, g.Consumers, g.Lag, g.InFlight, rate(cursors(g), was)}
		v.Out += j.Out
		v.Groups = append(v.Groups, j)
	}
	return v
}

func ends(parts []om.PartitionInfo) (sum int64) {
	for _, p := range parts {
		sum += p.End
	}
	return sum
}

func cursors(g om.GroupInfo) (sum int64) {
	for _, p := range g.Partitions {
		sum += p.Cursor
	}
	return sum
}

// drawer returns how views are shown.
func drawer(out io.Writer, ap *connection, asJSON, once bool) func(topJSON) error {
	name := ap.choice.Name
	if name == "" {
		name = ap.choice.URL
	}
	f, terminal := out.(*os.File)
	terminal = terminal && isTerminal(out) && !once
	between := ""
	return func(v topJSON) error {
		if asJSON {
			return printJSON(out, v)
		}
		var b strings.Builder
		if err := v.print(&b, name); err != nil {
			return err
		}
		text := between + b.String()
		between = "\n"
		if terminal {
			width, height, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return err
			}
			text = screen(b.String(), width, height)
		}
		_, err := io.WriteString(out, text)
		return err
	}
}

// screen draws a text over what the terminal shows, cut to its size.
func screen(text string, width, height int) string {
	var b strings.Builder
	b.WriteString("\x1b[H") // to the corner
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines[:min(len(lines), max(1, height-1))] {
		if i > 0 {
			b.WriteString("\n")
		}
		if r := []rune(line); len(r) > width {
			line = string(r[:max(0, width)])
		}
		b.WriteString(line + "\x1b[K") // nothing behind it
	}
	b.WriteString("\n\x1b[J") // nor below
	return b.String()
}

func perSecond(rate float64) string {
	if rate >= 100 {
		return count(int64(rate + 0.5))
	}
	return strconv.FormatFloat(rate, 'f', 1, 64)
}

func (v topJSON) print(out io.Writer, name string) error {
	fmt.Fprintf(out, "%s  %s  in %s/s  out %s/s\n\n", name, v.Time, perSecond(v.In), perSecond(v.Out))
	var rows [][]string
	for _, q := range v.Queues {
		rows = append(rows, []string{short(q.Name), strconv.Itoa(q.Partitions), count(q.Messages), perSecond(q.In)})
	}
	if err := printTable(out, []string{"QUEUE", "PARTITIONS", "MESSAGES", "IN/S"}, rows); err != nil || len(v.Groups) == 0 {
		return err
	}
	fmt.Fprintln(out)
	rows = nil
	for _, g := range v.Groups {
		rows = append(rows, []string{short(g.Queue), g.Group, strconv.Itoa(g.Consumers), count(g.Lag), count(g.InFlight), perSecond(g.Out)})
	}
	return printTable(out, []string{"QUEUE", "GROUP", "CONSUMERS", "LAG", "IN FLIGHT", "OUT/S"}, rows)
}
