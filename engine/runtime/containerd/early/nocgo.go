//go:build !cgo

// Package early needs cgo: see early.go. Without it nothing can run inside
// private namespaces, and the runtime says so when it is made.
package early

import (
	"errors"
	"os"
)

// Env is environ as it is.
func Env(environ []string) []string { return environ }

// Inside is false.
func Inside() bool { return false }

// OuterPID is the own process id.
func OuterPID() int { return os.Getpid() }

// Enter is not possible.
func Enter() error {
	return errors.New("entering private namespaces: this program was built without cgo")
}
