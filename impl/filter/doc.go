// Package filter selects messages by an expression: SQL-92 selectors as JMS 2.0
// has them, with RocketMQ's CONTAINS, STARTSWITH and ENDSWITH, or tags. docs/filter.md
// describes the language.
//
// A filter is compiled once and then tells of any number of messages whether
// they match, from any number of goroutines at once and without allocation.
package filter
