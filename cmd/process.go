package cmd

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func isRoot() bool { return os.Geteuid() == 0 }

// alive reports whether a process is there, a zombie not counted as one.
func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

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
