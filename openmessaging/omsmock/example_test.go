package omsmock_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/golang/mock/gomock"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/omsmock"
)

// Shop is the portable code under test: it knows the contract only.
type Shop struct{ orders om.Sender }

// Buy sends an order and returns its number.
func (s Shop) Buy(ctx context.Context, article string) (string, error) {
	body, err := json.Marshal(map[string]string{"article": article})
	if err != nil {
		return "", err
	}
	m := om.NewMessage("orders", body)
	m.Ext.MessageKey = article
	result, err := s.orders.Send(ctx, m)
	if errors.Is(err, om.ErrDestination) {
		return "", errors.New("the shop is closed today")
	}
	return result.MessageID, err
}

// Ship handles one order; orders without an article are put aside for an hour.
func Ship(ctx context.Context, d *om.Delivery) error {
	var order struct{ Article string }
	if err := json.Unmarshal(d.Body, &order); err != nil || order.Article == "" {
		return d.Nack(ctx, time.Hour)
	}
	return d.Ack(ctx)
}

// Example tests both without any messaging system.
func Example() {
	var t testing.T // in a test: the test's own
	ctrl := gomock.NewController(&t)
	ctx := context.Background()

	sender := omsmock.NewMockSender(ctrl)
	sender.EXPECT().Send(ctx, gomock.Any()).DoAndReturn(
		func(_ context.Context, m *om.Message) (om.SendResult, error) {
			fmt.Println("sent to", m.Destination, "with key", m.Ext.MessageKey)
			return om.SendResult{MessageID: "42"}, nil
		})
	sender.EXPECT().Send(ctx, gomock.Any()).Return(om.SendResult{}, om.NewError(om.CodeDestinationNotFound, "send", "orders", ""))
	shop := Shop{sender}
	fmt.Println(shop.Buy(ctx, "kettle"))
	fmt.Println(shop.Buy(ctx, "teapot"))

	settler := omsmock.NewMockSettler(ctrl)
	good := om.NewDelivery(om.NewMessage("orders", []byte(`{"article":"kettle"}`)), 0, 7, settler)
	bad := om.NewDelivery(om.NewMessage("orders", []byte(`{}`)), 0, 8, settler)
	settler.EXPECT().Settle(ctx, &good, om.Ack, time.Duration(0), "")
	settler.EXPECT().Settle(ctx, &bad, om.Nack, time.Hour, "")
	fmt.Println(Ship(ctx, &good), Ship(ctx, &bad))

	ctrl.Finish()
	// Output:
	// sent to orders with key kettle
	// 42 <nil>
	//  the shop is closed today
	// <nil> <nil>
}
