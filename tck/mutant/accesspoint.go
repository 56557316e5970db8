package mutant

import (
	"context"
	"errors"
	"slices"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

// parsing returns a mutant that changes what a URL is parsed into.
func parsing(name, kills, says string, change func(url string, u *om.URL, err *error)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.parse = func(url string) (om.URL, error) {
			u, err := om.ParseURL(url)
			change(url, &u, &err)
			return u, err
		}
	}}
}

var accessPointMutants = []Mutant{
	parsing("account-in-host", "R043", "account of", func(_ string, u *om.URL, err *error) {
		if *err == nil && u.Account != "" {
			u.Hosts[0].Host, u.Account = u.Account+"@"+u.Hosts[0].Host, ""
		}
	}),
	parsing("empty-region-accepted", "R044", `parse "oms:mq://host:9876/": got success`, func(url string, u *om.URL, err *error) {
		if strings.HasSuffix(url, "/") {
			*err = nil
		}
	}),
	parsing("account-demanded", "R045", "is refused", func(url string, u *om.URL, err *error) {
		if *err == nil && u.Account == "" {
			*err = om.NewError(om.CodeMalformedURL, "parse", url, "the account is missing")
		}
	}),
	parsing("only-first-host-has-default-port", "R046", "hosts of", func(_ string, u *om.URL, _ *error) {
		for i := range u.Hosts {
			if i > 0 && u.Hosts[i].Port == 80 {
				u.Hosts[i].Port = 0
			}
		}
	}),
	parsing("hosts-sorted", "R047", "hosts of", func(_ string, u *om.URL, _ *error) {
		slices.SortFunc(u.Hosts, func(a, b om.HostPort) int { return strings.Compare(a.Host, b.Host) })
	}),
	{"unknown-driver-is-a-server-error", "R048", "open with an unknown driver", func(p *parts) {
		p.open = func(ctx context.Context, url string, opts ...oms.Option) (om.AccessPoint, error) {
			ap, err := oms.Open(ctx, url, opts...)
			if errors.Is(err, om.CodeDriverUnavailable) {
				err = om.NewError(om.CodeServerError, "open", url, "no driver")
			}
			return ap, err
		}
	}},
	{"attributes-empty", "R049", "attribute DRIVER_IMPL", func(p *parts) {
		p.ap = func(ap om.AccessPoint) om.AccessPoint { return bare{ap, ap.SpecVersion()} }
	}},
	{"version-lies", "R050", "specification version of the access point", func(p *parts) {
		p.ap = func(ap om.AccessPoint) om.AccessPoint { return bare{ap, "9.9.9"} }
	}},
	parsing("blank-refused", "G37", "is refused", func(url string, _ *om.URL, err *error) {
		if strings.Contains(url, " ") {
			*err = om.NewError(om.CodeMalformedURL, "parse", url, "a blank")
		}
	}),
	parsing("port-zero-accepted", "G38", `parse "oms:mq://host:0/r": got success`, func(url string, _ *om.URL, err *error) {
		if strings.Contains(url, ":0/") {
			*err = nil
		}
	}),
	{"secret-in-error", "G39", "an error of Send shows the account key", func(p *parts) {
		var key locked[string]
		p.opened = func(ctx context.Context, cfg spi.Config, _ spi.Conn) {
			if cfg.Credentials != nil {
				if c, err := cfg.Credentials(ctx); err == nil {
					key.set(c.AccountKey)
				}
			}
		}
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			outs, err := s.Send(ctx, ms)
			for i := range outs {
				if outs[i].Err != nil {
					outs[i].Err = om.NewError(om.CodeOf(outs[i].Err), "send", ms[i].Destination, "with key %s", key.get())
				}
			}
			return outs, err
		}
	}},
}

// bare is an access point without attributes and with another version.
type bare struct {
	om.AccessPoint
	version string
}

func (b bare) SpecVersion() string { return b.version }

func (b bare) Attributes() om.Properties {
	if b.version == b.AccessPoint.SpecVersion() {
		return nil
	}
	return b.AccessPoint.Attributes()
}
