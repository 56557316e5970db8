package tck

import (
	"context"
	"fmt"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

var accessPointCases = table{
	"R043": uriParts,
	"R044": uriRefusals,
	"R045": accountOptional,
	"R046": defaultPort,
	"R047": severalHosts,
	"R048": unknownDriver,
	"R049": attributes,
	"R050": versionNegotiation,
	"G37":  uriBlanks,
	"G38":  uriIPv6AndPort,
	"G39":  secretNotShown,
}

// url parses a URL and compares its parts; hosts are written as host:port.
func (t *trial) url(url, driver, account, hosts, region string) {
	u, err := t.target.Library.ParseURL(url)
	if err != nil {
		t.Errorf("%s is refused: %v", url, err)
		return
	}
	var all []string
	for _, h := range u.Hosts {
		all = append(all, fmt.Sprintf("%s:%d", h.Host, h.Port))
	}
	equal(t, "driver of "+url, u.Driver, driver)
	equal(t, "account of "+url, u.Account, account)
	equal(t, "hosts of "+url, strings.Join(all, " "), hosts)
	equal(t, "region of "+url, u.Region, region)
}

func (t *trial) urlRefused(url string) {
	_, err := t.target.Library.ParseURL(url)
	t.Is(err, fmt.Sprintf("parse %q", url), om.CodeMalformedURL)
}

func uriParts(t *trial) {
	t.url("oms:rocketmq://alice@rocketmq.apache.org:9876/us-east", "rocketmq", "alice", "rocketmq.apache.org:9876", "us-east")
	t.url("oms:kafka://bob@10.0.0.1:9092,10.0.0.2:9093/eu", "kafka", "bob", "10.0.0.1:9092 10.0.0.2:9093", "eu")
	t.url("oms:mq://h:1/us-east:default_space", "mq", "", "h:1", "us-east:default_space")
}

func uriRefusals(t *trial) {
	for _, bad := range []string{
		"", "rocketmq://host:9876/region", "oms://host:9876/region", "oms::host/region", "oms:mq:/host/region",
		"oms:mq:///region", "oms:mq://alice@/region", "oms:mq://host:9876", "oms:mq://host:9876/", "http://host/region",
	} {
		t.urlRefused(bad)
	}
}

func accountOptional(t *trial) {
	t.url("oms:mq://host:9876/region", "mq", "", "host:9876", "region")
	t.url("oms:mq://a:1,b:2/region", "mq", "", "a:1 b:2", "region")
}

func defaultPort(t *trial) {
	t.url("oms:mq://host/region", "mq", "", "host:80", "region")
	t.url("oms:mq://a,b:9876,c/region", "mq", "", "a:80 b:9876 c:80", "region")
}

func severalHosts(t *trial) {
	var hosts, want []string
	for i := range 12 {
		hosts = append(hosts, fmt.Sprintf("node%d:%d", 12-i, 7000+i))
		want = append(want, hosts[i])
	}
	t.url("oms:mq://"+strings.Join(hosts, ",")+"/region", "mq", "", strings.Join(want, " "), "region")
}

func unknownDriver(t *trial) {
	ap, err := t.target.Library.Open(t.ctx, "oms:nobody-has-this-driver://host:1/region", t.options(t.target.Driver)...)
	t.Is(err, "open with an unknown driver", om.CodeDriverUnavailable)
	if ap != nil {
		t.Errorf("open with an unknown driver returned an access point")
	}
}

func attributes(t *trial) {
	u, err := t.target.Library.ParseURL(t.target.URL)
	t.NoError(err, "parse the target's URL")
	got := t.AP().Attributes()
	for _, key := range []string{"ACCESS_POINTS", "DRIVER_IMPL", "REGION", "ACCOUNT_ID"} {
		if _, ok := got[key]; !ok && !(key == "ACCOUNT_ID" && u.Account == "") {
			t.Errorf("attribute %s is missing; there are %v", key, got.Keys())
		}
	}
	equal(t, "attribute DRIVER_IMPL", got.GetString("DRIVER_IMPL", ""), u.Driver)
	equal(t, "attribute REGION", got.GetString("REGION", ""), u.Region)
	equal(t, "attribute ACCOUNT_ID", got.GetString("ACCOUNT_ID", ""), u.Account)
}

// versioned is a driver that targets another version of the specification.
type versioned struct {
	spi.Driver
	version string
}

func (d versioned) Info() spi.Info {
	info := d.Driver.Info()
	info.SpecVersion = d.version
	return info
}

func versionNegotiation(t *trial) {
	own := t.target.Driver.Info().SpecVersion
	if !versionForm.MatchString(own) {
		t.Errorf("the driver targets specification version %q, want X.Y.Z or X.Y.Z-pre (10002)", own)
	}
	equal(t, "specification version of the access point", t.AP().SpecVersion(), own)
	for version, want := range map[string]error{
		"1": om.CodeMalformedVersion, "one.two.three": om.CodeMalformedVersion, "": om.CodeMalformedVersion,
		"99.0.0": om.CodeIncompatibleVersion, "0.3.1": om.CodeIncompatibleVersion,
	} {
		ap, err := t.target.Library.Open(t.ctx, t.target.URL, t.options(versioned{t.target.Driver, version})...)
		t.Is(err, fmt.Sprintf("open with a driver of specification version %q", version), want, om.CodeDriverUnavailable)
		if err == nil {
			_ = ap.Close(t.ctx)
		}
	}
}

func uriBlanks(t *trial) {
	t.url("oms:mq://alice@a:1, b:2,  c:3/region", "mq", "alice", "a:1 b:2 c:3", "region")
}

func uriIPv6AndPort(t *trial) {
	t.url("oms:mq://[::1]:9876,[2001:db8::2]/region", "mq", "", "::1:9876 2001:db8::2:80", "region")
	for _, bad := range []string{"oms:mq://host:0/r", "oms:mq://host:65536/r", "oms:mq://host:-1/r", "oms:mq://host:port/r", "oms:mq://host:/r", "oms:mq://::1/r"} {
		t.urlRefused(bad)
	}
}

func secretNotShown(t *trial) {
	const secret = "s3cr3t-of-the-kit"
	given := func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: "tck-account", AccountKey: secret, Token: secret}, nil
	}
	check := func(what, text string) {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows the account key", what)
		}
	}
	ap, err := t.target.Library.Open(t.ctx, t.target.URL, append(t.options(t.target.Driver), oms.WithCredentials(given))...)
	if err != nil {
		check("the error of Open", fmt.Sprintf("%v %+v %#v", err, err, err))
		t.Logf("the target refuses the account: %v", err)
		return
	}
	defer ap.Close(t.ctx)
	check("the access point, printed,", fmt.Sprintf("%v %+v", ap, ap))
	for k, v := range ap.Attributes() {
		check("attribute "+k, v.String())
	}
	p, err := ap.NewProducer(t.ctx)
	t.NoError(err, "new producer")
	if _, err := p.Send(t.ctx, message(t.Missing(), "a")); err != nil {
		check("an error of Send", fmt.Sprintf("%v %+v", err, err))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, line := range t.log {
		if strings.Contains(line, secret) {
			t.log[i] = "(a line that showed the secret)"
			go t.Errorf("a line that the driver logs shows the account key")
		}
	}
}
