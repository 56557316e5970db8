package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// join subscribes as a member.
func (c *client) join(m *wirepb.Member) (*subscription, error) {
	s, err := c.Receive(c.ctx)
	c.must(err)
	c.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Subscribe{Subscribe: &wirepb.Subscribe{Queue: "q", Group: "members", Start: "begin", Lease: 60_000, Member: m}}}))
	_, err = s.Recv()
	return &subscription{client: c, BidiStreamingClient: s}, err
}

// beat sends a heartbeat and returns the answer.
func (s *subscription) beat(h *wirepb.Heartbeat) *wirepb.Membership {
	s.Helper()
	s.last++
	h.Heartbeat = s.last
	s.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Heartbeat{Heartbeat: h}}))
	for {
		r, err := s.Recv()
		s.must(err)
		if m := r.GetMembership(); m.GetHeartbeat() == s.last {
			return m
		}
	}
}

func member(id string) *wirepb.Member {
	return &wirepb.Member{Id: id, Strategy: "s", Session: 60_000}
}

// TestBadMembers: what cannot be is refused, and the server lives on.
func TestBadMembers(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	labels := map[string]string{}
	for i := range 65 {
		labels[fmt.Sprint(i)] = ""
	}
	for name, m := range map[string]*wirepb.Member{
		"nobody":           {Strategy: "s", Session: 1000},
		"a long id":        {Id: strings.Repeat("x", 256), Strategy: "s", Session: 1000},
		"no strategy":      {Id: "a", Session: 1000},
		"no session":       {Id: "a", Strategy: "s"},
		"a negative one":   {Id: "a", Strategy: "s", Session: -1},
		"an endless one":   {Id: "a", Strategy: "s", Session: 1 << 62},
		"too many labels":  {Id: "a", Strategy: "s", Session: 1000, Labels: labels},
		"too long a label": {Id: "a", Strategy: "s", Session: 1000, Labels: map[string]string{"k": strings.Repeat("x", 4<<10)}},
	} {
		if _, err := c.join(m); code(err) != om.CodeBadParameter {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := c.join(member("a"))
	f.must(err)
	first := s.beat(&wirepb.Heartbeat{})
	if len(first.GetMembers()) != 1 || first.GetTotal() != 1 {
		t.Fatalf("%v", first)
	}
	for name, h := range map[string]*wirepb.Heartbeat{
		"claims what is not there": {Generation: first.GetGeneration(), Claims: []int32{1}},
		"holds what is not there":  {Held: []int32{-1}},
	} {
		if got := s.beat(h); got.GetError().GetCode() != int32(om.CodeBadParameter) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := s.beat(&wirepb.Heartbeat{Held: []int32{0}}); got.GetError().GetCode() != int32(om.CodeMemberExpired) {
		t.Errorf("a member that holds what it was not given: %v", got)
	}
	for range 1000 { // each ends the one before
		s.last++
		f.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Heartbeat{Heartbeat: &wirepb.Heartbeat{Heartbeat: s.last, Version: 1 << 60}}}))
	}
	if got := s.beat(&wirepb.Heartbeat{}); got.GetError() != nil || len(got.GetMembers()) != 1 {
		t.Errorf("after many heartbeats: %v", got)
	}
	if got := c.subscribe("q", "g").beat(&wirepb.Heartbeat{}); got.GetError().GetCode() != int32(om.CodeBadParameter) {
		t.Errorf("a heartbeat of who shares: %v", got)
	}
	second, err := c.join(member("a"))
	f.must(err)
	if got := s.beat(&wirepb.Heartbeat{}); got.GetError().GetCode() != int32(om.CodeMemberFenced) {
		t.Errorf("a member whose id another one has: %v", got)
	}
	second.beat(&wirepb.Heartbeat{})
	if _, err := c.join(&wirepb.Member{Id: "b", Strategy: "t", Session: 1000}); code(err) != om.CodeBadParameter {
		t.Errorf("another strategy: %v", err)
	}
	many, err := c.join(member("c"))
	f.must(err)
	f.must(many.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Heartbeat{Heartbeat: &wirepb.Heartbeat{Held: make([]int32, 5000)}}}))
	if _, err := many.Recv(); code(err) != om.CodeBadRequest {
		t.Errorf("more partitions than can be: %v", err)
	}
	f.alive()
}
