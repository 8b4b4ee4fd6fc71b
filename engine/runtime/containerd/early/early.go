//go:build cgo

// Package early does what has to be done before Go's runtime has threads.
//
// A Go program cannot enter a namespace for all of itself: unshare changes one
// thread, and there are several before the first line of main. A C constructor
// runs earlier. This one does three unrelated jobs, each asked for by the caller
// of the program and neither by accident:
//
//   - With PLUMB_NS in the environment (see Env) the process puts itself into
//     private mount and PID namespaces. What was started stays behind as a
//     waiter of a few kilobytes that passes signals in and the exit status out;
//     the program itself goes on as PID 1 of the new namespace. Kill either with
//     SIGKILL and the kernel ends every process and undoes every mount the
//     program ever made, because the namespaces have no other members: the
//     waiter's death reaches the inside through PDEATHSIG, the death of PID 1
//     ends its namespace. An ordinary user may do this in a user namespace only:
//     there the process is root first, id 0 being the user and 1 and up the
//     user's subordinate ids (see SubordinateIDs), or nothing where there are none.
//   - As a container's first program (see Shim) it loads a seccomp filter and
//     executes the command it was given. The program is linked statically for
//     this: inside a container there is no loader to rely on. C and not Go
//     because the fat program would take ten milliseconds to get to main.
//   - As the first program of a stage without a container (jail.c) it also enters the
//     stage's root directory and gives up what a container would not have.
//
// Linking statically against glibc has one trap, name service switching: see
// nss.c.
package early

// #cgo CFLAGS: -Os -Wall
// #cgo LDFLAGS: -static
import "C"

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// What passes between a program and its constructor.
const (
	nsVariable    = "PLUMB_NS"
	outerVariable = "PLUMB_OUTER_PID"
)

// Env is environ with the order to enter private namespaces. Start the own
// executable (see os.Executable) with it.
//
// For an ordinary user the order names the subordinate ids, "UIDS/GIDS", each as
// "FIRST:COUNT,…".
func Env(environ []string) []string {
	order := "1"
	if os.Geteuid() != 0 {
		if s, err := SubordinateIDs(); err == nil {
			order = ranges(s.UIDs) + "/" + ranges(s.GIDs)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(s string) bool {
		return strings.HasPrefix(s, nsVariable+"=") || strings.HasPrefix(s, outerVariable+"=")
	})
	return append(kept, nsVariable+"="+order)
}

// Inside says whether this process is PID 1 of its own namespaces.
func Inside() bool {
	return os.Getpid() == 1 && os.Getenv(outerVariable) != ""
}

// OuterPID is the process id of the waiter as the rest of the machine sees it,
// the one to write into a pid file; outside of private namespaces it is the own.
func OuterPID() int {
	if pid, err := strconv.Atoi(os.Getenv(outerVariable)); err == nil && Inside() {
		return pid
	}
	return os.Getpid()
}

// Enter starts this program anew inside private namespaces, in the place of
// this process, unless it is there already. It returns only then, or with the
// reason why it could not.
func Enter() error {
	if Inside() {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("entering private namespaces: %w", err)
	}
	if err := syscall.Exec(exe, os.Args, Env(os.Environ())); err != nil {
		return fmt.Errorf("entering private namespaces: executing %q: %w", exe, err)
	}
	return nil
}

// steps are what the constructor says it was doing, where it takes privileges.
var steps = []string{"entering private mount and PID namespaces", "making mounts private", "mounting /proc"}

// Unprivileged says whether what the constructor of an agent told as it failed comes of
// root that may make no namespaces or no mounts.
func Unprivileged(told string) bool {
	doing := slices.ContainsFunc(steps, func(step string) bool { return strings.HasPrefix(told, step) })
	_, why, _ := strings.Cut(strings.ToLower(told), "): ")
	return doing && (why == syscall.EPERM.Error() || why == syscall.EACCES.Error())
}
