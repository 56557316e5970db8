package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

type version struct {
	Version     string   `json:"version"`
	Revision    string   `json:"revision,omitempty"`
	Go          string   `json:"go"`
	SpecVersion string   `json:"specification"`
	Drivers     []string `json:"drivers"`
}

func versionCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is and which drivers it has",
		Example: "  oms version\n  oms version --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			v := version{Version: "(devel)", Go: runtime.Version(), SpecVersion: om.SpecVersion, Drivers: spi.DefaultRegistry.Names()}
			if info, ok := debug.ReadBuildInfo(); ok {
				if info.Main.Version != "" {
					v.Version = info.Main.Version
				}
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Revision = s.Value
					}
				}
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(v)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "oms %s, %s, OpenMessaging %s, drivers: %s\n", v.Version, v.Go, v.SpecVersion, strings.Join(v.Drivers, ", "))
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
