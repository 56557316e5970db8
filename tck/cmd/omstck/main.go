// Command omstck is the conformance kit with the drivers of this module.
package main

import (
	_ "github.com/openmessaging/openmessaging-go/impl/badger"
	_ "github.com/openmessaging/openmessaging-go/impl/nats"
	_ "github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/tck"
)

func main() { tck.Main() }
