package cmd

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func isRoot() bool { return os.Geteuid() == 0 }

// alive reports whether a process is there. One that has ended and waits for its
// parent to notice does not count: the parent of an agent whose client is gone may
// be a container's first process, which never looks.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return unix.Kill(pid, 0) == nil
	}
	// The name, in parentheses, may hold anything; the state is what follows it.
	state := bytes.TrimLeft(b[bytes.LastIndexByte(b, ')')+1:], " ")
	return len(state) > 0 && state[0] != 'Z' && state[0] != 'X'
}

// timer fires after so many milliseconds.
func timer(_ *Env, ms int) <-chan time.Time { return time.After(time.Duration(ms) * time.Millisecond) }

// agentPipe is descriptor 3 when this process was started as an agent.
func agentPipe() *os.File {
	var st unix.Stat_t
	if unix.Fstat(3, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	unix.CloseOnExec(3)
	return os.NewFile(3, "parent")
}
