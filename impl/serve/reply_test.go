package serve

import (
	"context"
	"strings"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// TestReplyQueuesAreTheMakersOwn: who asks needs the right to publish and nothing
// else, who answers the right to consume; what others may do with a reply queue is
// to send, when they know its name (R100).
func TestReplyQueuesAreTheMakersOwn(t *testing.T) {
	m := start(t, nil)
	m.withQueues("q")
	s, ctx := m.security(), t.Context()
	m.addUser(s, "asker", userKey, "allow publish queue:q")
	m.addUser(s, "service", userKey, "allow consume queue:q", "allow consume group:g", "allow browse namespace:default")
	asker, service := m.open(as("asker", userKey)), m.open(as("service", userKey))
	names := make(chan string, 1)
	consumer, err := service.NewPushConsumer(ctx, om.WithGroup("g"))
	m.must(err)
	m.must(consumer.Bind(ctx, oms.Answer(m.producer(service), func(_ context.Context, d *om.Delivery) ([]byte, error) {
		names <- d.Properties.GetString(om.PropertyReplyTo, "")
		return []byte("yes"), nil
	}), "q"))
	p := m.producer(asker)
	reply, err := p.Request(ctx, om.NewMessage("q", nil))
	m.must(err)
	if string(reply.Body) != "yes" {
		t.Errorf("the reply is %q", reply.Body)
	}
	name := <-names

	queues, err := service.Resources().Queues(ctx)
	m.must(err)
	for _, q := range queues {
		if om.IsReplyQueue(q.Name) {
			t.Errorf("another user is told of %s", q.Name)
		}
	}
	other, err := service.NewPullConsumer(ctx, om.WithGroup("reply"))
	m.must(err)
	wantCode(t, other.Bind(ctx, name), om.CodeForbidden)
	wantCode(t, service.Resources().DeleteQueue(ctx, name), om.CodeForbidden)
	wantCode(t, service.Resources().AddPartitions(ctx, name, 2), om.CodeForbidden)
	wantCode(t, asker.Resources().AddPartitions(ctx, name, 2), om.CodeForbidden)
	wantCode(t, asker.Resources().CreateQueue(ctx, om.QueueConfig{Name: "mine", Expires: time.Minute}), om.CodeForbidden)
	wantCode(t, asker.Resources().CreateQueue(ctx, om.QueueConfig{Name: om.ReplyQueuePrefix + "short", Expires: time.Minute}), om.CodeBadParameter)
	wantCode(t, asker.Resources().CreateQueue(ctx, om.QueueConfig{Name: om.ReplyQueuePrefix + strings.Repeat("x", 30)}), om.CodeBadParameter)
	if all, err := m.open(as("root", rootKey)).Resources().Queues(ctx); err != nil || len(all) != 2 {
		t.Errorf("who may browse it all is told of %v, %v", all, err)
	}
	m.must(p.Close(ctx))
	_, err = m.producer(service, once()).Send(ctx, om.NewMessage(name, nil))
	wantCode(t, err, om.CodeDestinationNotFound)
}
