package containerd_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

// A process in the machine's own namespaces starts daemons for the tests, which are
// asked for through two pipes. It ends them when the tests have ended.

// outsideVariable is "serve" for that process, and for the others the numbers of the
// pipes' ends.
const outsideVariable = "PLUMB_TEST_OUTSIDE"

// stayOutside starts it, for a process that is going to enter namespaces.
func stayOutside() error {
	if early.Inside() || os.Geteuid() != 0 || os.Getenv(victimVariable) != "" || runtimetest.HasDaemon() != nil {
		return nil
	}
	var asking, answers [2]int
	for _, p := range []*[2]int{&asking, &answers} {
		if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
			return err
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), outsideVariable+"=serve")
	in, out := os.NewFile(uintptr(asking[0]), "asking"), os.NewFile(uintptr(answers[1]), "answers")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := errors.Join(in.Close(), out.Close()); err != nil {
		return err
	}
	for _, fd := range []int{asking[1], answers[0]} { // which outlive the exec of this process
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	return os.Setenv(outsideVariable, fmt.Sprintf("%d %d", asking[1], answers[0]))
}

// serveOutside is that process: "start DIR PATH WITHOUT…", "kill DIR", "stop DIR",
// "signal DIR NUMBER" and "shims DIR", each answered by a line.
func serveOutside() int {
	all := map[string]*runtimetest.Daemon{}
	defer func() {
		for _, d := range all {
			if err := d.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Split(lines.Text(), " ")
		d := all[words[1]]
		if d == nil {
			d = &runtimetest.Daemon{Dir: words[1]}
			all[d.Dir] = d
		}
		answer := "ok"
		var err error
		switch words[0] {
		case "start":
			d.Bin = words[2]
			err = d.Start(words[3:]...)
		case "kill":
			err = d.Kill()
		case "stop":
			err = d.Stop()
			delete(all, d.Dir)
		case "signal":
			var n int
			if n, err = strconv.Atoi(words[2]); err == nil {
				err = syscall.Kill(d.PID(), syscall.Signal(n))
			}
		case "shims":
			var pids []int
			pids, err = d.Shims()
			answer = strconv.Itoa(len(pids))
		}
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		fmt.Println(answer)
	}
	return 0
}

var outside = struct {
	once    sync.Once
	mu      sync.Mutex
	asking  *os.File
	answers *bufio.Reader
}{}

// ask lets the process outside do something.
func ask(tb testing.TB, words ...string) string {
	tb.Helper()
	outside.mu.Lock()
	defer outside.mu.Unlock()
	outside.once.Do(func() {
		var w, r int
		if _, err := fmt.Sscan(os.Getenv(outsideVariable), &w, &r); err != nil {
			tb.Fatal(err)
		}
		outside.asking = os.NewFile(uintptr(w), "asking")
		outside.answers = bufio.NewReader(os.NewFile(uintptr(r), "answers"))
	})
	if _, err := fmt.Fprintln(outside.asking, strings.Join(words, " ")); err != nil {
		tb.Fatal(err)
	}
	line, err := outside.answers.ReadString('\n')
	if line = strings.TrimSpace(line); err != nil || strings.HasPrefix(line, "error ") {
		tb.Fatalf("%v: %s %v", words, line, err)
	}
	return line
}

// startDaemon starts a containerd outside and answers its directory and socket.
func startDaemon(tb testing.TB, path string, without ...string) (dir, socket string) {
	tb.Helper()
	needDaemon(tb)
	dir = tempDir(tb)
	if err := os.Chmod(dir, 0o711); err != nil { // as its state directory in /run is
		tb.Fatal(err)
	}
	ask(tb, append([]string{"start", dir, path}, without...)...)
	tb.Cleanup(func() { ask(tb, "stop", dir) })
	return dir, (&runtimetest.Daemon{Dir: dir}).Socket()
}

func needDaemon(tb testing.TB) {
	tb.Helper()
	if early.Rootless() {
		tb.Skip("containers of a daemon are root's")
	}
	if err := runtimetest.HasDaemon(); err != nil {
		tb.Skip(err)
	}
}
