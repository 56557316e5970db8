package newdriver_test

import (
	"context"
	"testing"

	"github.com/openmessaging/openmessaging-go/examples/newdriver"
	"github.com/openmessaging/openmessaging-go/tck"
)

func TestConformance(t *testing.T) {
	system := newdriver.New()
	tck.Run(t, tck.Target{
		URL:    "oms:newdriver://localhost/tck",
		Driver: system,
		CreateQueue: func(_ context.Context, name string, _ int) (string, error) {
			system.CreateQueue(name)
			return name, nil
		},
	})
}
