// Package agent is the process that owns a store, and the way to it.
//
// Badger's directory and containerd's metadata each take one owner at a time, and
// people run two things at once. So one process per store, the agent, owns both.
// The first command that has to write starts it (the same binary), everyone talks
// to it over a Unix socket in the store, and it leaves by itself when it has had
// nothing to do for a minute.
//
//	client ──▶ agent.sock ──▶ server ──▶ engine.API
//	   └─ nobody there: start an agent, wait until it says that it is ready
//
// The store's own lock elects the agent: of two that start at once one gets it,
// the other leaves, and both clients talk to the first. The socket has mode 0600
// and the peer's credentials are checked besides, since some systems ignore the
// mode. Requests are HTTP with JSON; a call that takes long answers with one JSON
// object a line.
//
// A client that goes away cancels what it asked for, unless that was detached. An
// agent that is killed takes its containers with it; a client that finds it gone
// starts another and goes on.
package agent

import (
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	socketName = "agent.sock"
	pidName    = "agent.pid"
	// maxAddress is what fits into a socket address, with the closing NUL.
	maxAddress = 107
)

// address gives a store's socket a path that fits into a socket address. Where the
// store's own is too long for one it leads through an open descriptor of its
// directory, and holds until done is called: nothing of the caller's environment
// decides where an agent is found.
func address(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, socketName)
	if len(path) <= maxAddress {
		return path, func() {}, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("opening the directory %q: %w", dir, err)
	}
	path = "/proc/self/fd/" + strconv.Itoa(fd) + "/" + socketName
	return path, func() { unix.Close(fd) }, nil //nolint:errcheck // nothing was written
}

// Status is what an agent says of itself.
type Status struct {
	Schema  int     `json:"schema"`
	Running bool    `json:"running"`
	PID     int     `json:"pid"`
	Build   string  `json:"build"`
	Version string  `json:"version"`
	Store   string  `json:"store"`
	Runs    int     `json:"runs"`            // under way
	Blind   bool    `json:"blind,omitempty"` // sees another directory where the client's project is
	Leaving bool    `json:"leaving"`         // takes no new runs, and ends after those under way
	Seconds float64 `json:"seconds"`         // since it started
	Memory  int64   `json:"memory"`          // resident, bytes
}
