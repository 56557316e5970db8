package main

import "github.com/spf13/cobra"

// operatorCommands are the commands that work with a messaging system.
func operatorCommands() []*cobra.Command {
	return []*cobra.Command{
		contextCommand(), namespaceCommand(), queueCommand(), groupCommand(), routeCommand(),
		publishCommand(), consumeCommand(), requestCommand(), messageCommand(), backupCommand(), restoreCommand(),
		topCommand(), doctorCommand(), userCommand(), permissionCommand(),
		delayedCommand(), deadLetterCommand(), transactionCommand(), serverCommand(),
	}
}

// groups are what the help of oms lists together.
var groups = []struct {
	title    string
	commands []string
}{
	{"Messages:", []string{"publish", "consume", "message", "delayed", "dead-letter", "transaction", "filter"}},
	{"Resources:", []string{"namespace", "queue", "group", "route"}},
	{"Looking after a system:", []string{"context", "server", "top", "doctor", "backup", "restore", "store"}},
	{"Who may do what:", []string{"user", "permission"}},
	{"Running a broker:", []string{"dev", "serve", "bench"}},
}

// arrange puts the commands into their groups; others follow them.
func arrange(root *cobra.Command) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, name := range g.commands {
			for _, c := range root.Commands() {
				if c.Name() == name {
					c.GroupID = g.title
				}
			}
		}
	}
}
