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

// What the system does not tell is null.
type topQueueJSON struct {
	Name       string  `json:"name"`
	Partitions int     `json:"partitions"`
	Messages   int64   `json:"messages"`
	Delayed    *int64  `json:"delayed"`
	Prepared   *int64  `json:"prepared"`
	In         float64 `json:"in_per_second"`
}

type topGroupJSON struct {
	Queue     string   `json:"queue"`
	Group     string   `json:"group"`
	Consumers int      `json:"consumers"`
	Lag       int64    `json:"lag"`
	Oldest    *float64 `json:"oldest_seconds"`
	InFlight  int64    `json:"in_flight"`
	Waiting   *int64   `json:"waiting"`
	Dead      *int64   `json:"dead"`
	Out       float64  `json:"out_per_second"`
}

func topCommand() *cobra.Command {
	var t target
	var asJSON, once bool
	var namespace string
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch queues and groups with their rates",
		Long: `Watch the queues of a namespace and their groups: how many messages lie in a queue,
are delayed or prepared; how many a group has not settled and for how long the oldest
has been there, how many are in flight, wait to be delivered again or are dead; what
comes in and what the groups settle, in messages per second since the look before. On a terminal the view is drawn anew
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
	queues []queueLook
	groups []groupLook
}

// queueLook and groupLook count what has come and gone from some time on.
type queueLook struct {
	topQueueJSON
	came int64
}

type groupLook struct {
	topGroupJSON
	went int64
}

func (w *watching) look(ctx context.Context) (look, error) {
	if w.ap.Capabilities().Has(om.CapStats) {
		return w.statistics(ctx)
	}
	r := w.ap.Resources()
	l := look{at: time.Now()}
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
		l.queues = append(l.queues, queueLook{topQueueJSON{Name: q.Name, Partitions: q.Partitions, Messages: *stored(parts)}, ends(parts)})
		for _, g := range groups {
			l.groups = append(l.groups, groupLook{topGroupJSON{Queue: g.Queue, Group: g.Group, Consumers: g.Consumers, Lag: g.Lag, InFlight: g.InFlight}, cursors(g)})
		}
	}
	return l, err
}

// statistics is look for a system that keeps them.
func (w *watching) statistics(ctx context.Context) (look, error) {
	l := look{at: time.Now()}
	stats, err := w.ap.Resources().Namespace(w.namespace).Stats(ctx)
	for _, s := range stats {
		l.queues = append(l.queues, queueLook{topQueueJSON{Name: s.Queue, Partitions: s.Partitions, Messages: s.Depth, Delayed: &s.Delayed, Prepared: &s.Prepared}, s.Published.Total})
		for _, g := range s.Groups {
			seconds := g.OldestAge.Seconds()
			l.groups = append(l.groups, groupLook{topGroupJSON{
				Queue: s.Queue, Group: g.Group, Consumers: g.Consumers, Lag: g.Lag, Oldest: &seconds, InFlight: g.InFlight, Waiting: &g.Waiting, Dead: &g.Dead,
			}, g.Acknowledged.Total})
		}
	}
	return l, err
}

// since returns the view of a look with the rates since the one before. A queue
// that was not there before began with nothing.
func (l look) since(before look) topJSON {
	v := topJSON{Time: timeText(l.at), Seconds: l.at.Sub(before.at).Seconds(), Queues: []topQueueJSON{}, Groups: []topGroupJSON{}}
	rate := func(now, then int64) float64 { return max(0, float64(now-then)/v.Seconds) }
	came := make(map[string]int64)
	for _, q := range before.queues {
		came[q.Name] = q.came
	}
	for _, q := range l.queues {
		q.In = rate(q.came, came[q.Name])
		v.In += q.In
		v.Queues = append(v.Queues, q.topQueueJSON)
	}
	went := make(map[[2]string]int64)
	for _, g := range before.groups {
		went[[2]string{g.Queue, g.Group}] = g.went
	}
	for _, g := range l.groups {
		then, ok := went[[2]string{g.Queue, g.Group}]
		if !ok {
			then = g.went // nobody knows where it began
		}
		g.Out = rate(g.went, then)
		v.Out += g.Out
		v.Groups = append(v.Groups, g.topGroupJSON)
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
		rows = append(rows, []string{short(q.Name), strconv.Itoa(q.Partitions), count(q.Messages), countOrDash(q.Delayed), countOrDash(q.Prepared), perSecond(q.In)})
	}
	if err := printTable(out, []string{"QUEUE", "PARTITIONS", "MESSAGES", "DELAYED", "PREPARED", "IN/S"}, rows); err != nil || len(v.Groups) == 0 {
		return err
	}
	fmt.Fprintln(out)
	rows = nil
	for _, g := range v.Groups {
		oldest := "-"
		if g.Oldest != nil && g.Lag > 0 {
			oldest = ageText(time.Duration(*g.Oldest * float64(time.Second)))
		}
		rows = append(rows, []string{short(g.Queue), g.Group, strconv.Itoa(g.Consumers), count(g.Lag), oldest, count(g.InFlight), countOrDash(g.Waiting), countOrDash(g.Dead), perSecond(g.Out)})
	}
	return printTable(out, []string{"QUEUE", "GROUP", "CONSUMERS", "LAG", "OLDEST", "IN FLIGHT", "WAITING", "DEAD", "OUT/S"}, rows)
}
