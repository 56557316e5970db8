//go:build !unix

package auth

// Rights of files are not those of Unix here; keep the folder to the server.
const checksModes = false

const nonblocking = 0

func syncFolder(string) error { return nil }
