// Package lint holds rules of this repository as tests.
package lint
