package stdio_test

import (
	"testing"

	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/stdio"
)

// TestConformanceOfPythonDriver runs the whole kit against the example in another
// language.
func TestConformanceOfPythonDriver(t *testing.T) {
	tck.Run(t, tck.Target{
		URL:    "oms:python://localhost/tck",
		Driver: stdio.Driver("python", stdio.Command{Path: "python3", Args: []string{"../../examples/pydriver/driver.py"}, Share: true}),
	})
}
