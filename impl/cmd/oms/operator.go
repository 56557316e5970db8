package main

import "github.com/spf13/cobra"

// operatorCommands are the commands that work with any messaging system.
func operatorCommands() []*cobra.Command {
	return []*cobra.Command{
		contextCommand(), namespaceCommand(), queueCommand(), groupCommand(), routeCommand(),
		publishCommand(), consumeCommand(), messageCommand(), backupCommand(), restoreCommand(),
		topCommand(), doctorCommand(),
	}
}
