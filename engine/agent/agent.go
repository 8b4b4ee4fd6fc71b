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
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"plumb/store"
)

const (
	socketName = "agent.sock"
	pidName    = "agent.pid"
	// maxAddress is what fits into a socket address, with the closing NUL.
	maxAddress = 107
)

// SocketPath is where the agent of a store listens: in the store, or, where that
// path is too long for a socket address, in the runtime directory under the
// digest of the store's path.
func SocketPath(dir string) string {
	p := filepath.Join(dir, socketName)
	if len(p) <= maxAddress {
		return p
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" || len(base) > maxAddress-32 {
		base = filepath.Join(os.TempDir(), "plumb-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(base, "plumb-"+store.Sum([]byte(dir)).Short()+".sock")
}

// preparePlace makes the socket's directory when it is not the store itself, for
// this user alone.
func preparePlace(dir, socket string) error {
	at := filepath.Dir(socket)
	if at == dir {
		return nil
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return fmt.Errorf("making the socket's directory %q: %w", at, err)
	}
	fi, err := os.Lstat(at)
	if err != nil {
		return fmt.Errorf("looking at the socket's directory %q: %w", at, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.IsDir() || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("the socket's directory %q belongs to somebody else", at)
	}
	return nil
}

// Status is what an agent says of itself.
type Status struct {
	Schema  int     `json:"schema"`
	Running bool    `json:"running"`
	PID     int     `json:"pid"`
	Build   string  `json:"build"`
	Version string  `json:"version"`
	Store   string  `json:"store"`
	Runs    int     `json:"runs"`    // under way
	Seconds float64 `json:"seconds"` // since it started
	Memory  int64   `json:"memory"`  // resident, bytes
}
