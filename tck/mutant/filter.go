package mutant

import (
	"context"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var filterMutants = []Mutant{
	binding("binding-filter-ignored", "R101", "a message that does not match n = 2", func(cfg *spi.ReceiverConfig) { cfg.Filter = om.Filter{} }),
	rewriting("unknown-is-false", "R102", "a message that does not match NOT (none = 1)", "none = 1", "none IS NOT NULL"),
	rewriting("escape-ignored", "R103", "a message that does not match s LIKE 'a!_c' ESCAPE '!' must not be delivered", "!_", "_", "!%", "%"),
	binding("filtered-comes-back", "R104", "first message to a consumer of the group without the filter", func(cfg *spi.ReceiverConfig) {
		if cfg.Filter == (om.Filter{}) {
			cfg.Group += "-anew"
		}
	}),
	{"filter-shared-by-groups", "R105", "came", func(p *parts) {
		var first locked[map[string]om.Filter]
		first.v = make(map[string]om.Filter)
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			first.do(func(by *map[string]om.Filter) {
				if f, ok := (*by)[cfg.Queue]; ok && cfg.Filter.Expression != "n = 3" {
					cfg.Filter = f
				} else if !ok {
					(*by)[cfg.Queue] = cfg.Filter
				}
			})
			return c.NewReceiver(ctx, cfg)
		}
	}},
	rewriting("different-filter-accepted", "R105", "a consumer with another filter than its group's: got success", "n = 3", "n = 1"),
	rewriting("text-compares-with-number", "R106", "a message that does not match n = 1 must not be delivered", "n = 1", "(n = 1 OR n = '1')"),
	binding("first-tag-only", "R107", "of 2 messages came", func(cfg *spi.ReceiverConfig) {
		if cfg.Filter.Type == "tag" {
			cfg.Filter.Expression, _, _ = strings.Cut(cfg.Filter.Expression, "||")
		}
	}),
	routing("route-filter-ignored", "R108", "body of the copy", func(r *om.RouteConfig) { r.Filter = om.Filter{} }),
	routing("operators-ignored", "R108", "properties of the copy", func(r *om.RouteConfig) { r.Operators = nil }),
	routing("start-ignored", "R109", "of 2 messages came", func(r *om.RouteConfig) { r.Start = om.End() }),
	{"update-ignored", "R110", "no message came within", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			r, _ := spi.As[spi.Router](c)
			return unchanging{spi.ConnWrapper{Conn: c}, r}
		}
	}},
	{"route-forgotten-on-restart", "R111", "messages came", func(p *parts) {
		restart := p.faults.Restart
		p.faults.Restart = func(ctx context.Context) error {
			err := restart(ctx)
			if err != nil {
				return err
			}
			p.opened = func(ctx context.Context, _ spi.Config, c spi.Conn) {
				r, _ := spi.As[spi.Router](c)
				routes, _ := r.Routes(ctx)
				for _, route := range routes {
					_ = r.DeleteRoute(ctx, route.Name)
				}
			}
			return nil
		}
	}},
	{"copy-has-another-id", "R112", "id of the copy", func(p *parts) {
		var seen locked[map[string]int]
		seen.v = make(map[string]int)
		p.read = func(m *om.Message) {
			seen.do(func(times *map[string]int) {
				if (*times)[m.MessageID]++; (*times)[m.MessageID] > 1 {
					m.MessageID += "-copy"
				}
			})
		}
	}},
}

// binding changes what receivers are made with.
func binding(name, kills, says string, change func(*spi.ReceiverConfig)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			change(&cfg)
			return c.NewReceiver(ctx, cfg)
		}
	}}
}

// rewriting replaces parts of the SQL filters of receivers.
func rewriting(name, kills, says string, oldnew ...string) Mutant {
	r := strings.NewReplacer(oldnew...)
	return binding(name, kills, says, func(cfg *spi.ReceiverConfig) {
		if cfg.Filter.Type == "sql" {
			cfg.Filter.Expression = r.Replace(cfg.Filter.Expression)
		}
	})
}

// routing changes what routes are made of.
func routing(name, kills, says string, change func(*om.RouteConfig)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			r, _ := spi.As[spi.Router](c)
			return changed{spi.ConnWrapper{Conn: c}, r, change}
		}
	}}
}

type changed struct {
	spi.ConnWrapper
	spi.Router
	change func(*om.RouteConfig)
}

func (c changed) CreateRoute(ctx context.Context, r om.RouteConfig) error {
	c.change(&r)
	return c.Router.CreateRoute(ctx, r)
}

// unchanging does not update.
type unchanging struct {
	spi.ConnWrapper
	spi.Router
}

func (unchanging) UpdateRoute(context.Context, om.RouteConfig) error { return nil }
