package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The jailer is a process between the agent and a stage that no namespace keeps
// together: all that the stage starts, wherever it hides, is a descendant of it, and is
// ended when the stage has ended, or the agent has, however that comes.
//
//	agent ─▶ jailer (this program, as jailerName) ─▶ the stage's command and all it starts
//
// It gets its orders, one JSON value after the other, through a pipe whose end is the
// order to end everything, and answers once.

// jailerName is what it finds as its own name.
const jailerName = "plumb-jailer"

// Descriptors of the jailer.
const (
	jailerOrders = 3 + iota
	jailerAnswer
	jailerFilter
	jailerSocket // where a terminal is to be sent, when one is wanted
)

// jailed says what is to be run.
type jailed struct {
	Args     []string // of plumb_jail in jail.c, from the second on
	Env      []string
	Flags    uintptr // of clone
	Files    uint64  // RLIMIT_NOFILE
	Terminal bool
}

// order is what the agent wants: the command to begin, or a signal to be sent.
type order struct {
	Signal int  `json:"signal"` // 0 to begin
	All    bool `json:"all"`
}

// verdict is how it ended.
type verdict struct {
	Error  string        `json:"error,omitempty"` // it did not begin
	Code   int           `json:"code"`
	Signal int           `json:"signal"`
	CPU    time.Duration `json:"cpu"`
}

func jailer() int {
	// The kernel's answer to the death of a parent is to that of the thread.
	goruntime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1
	}
	// Where there is no PID namespace a stage may signal whom it likes. What is ignored
	// would be by the stage, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	answer := os.NewFile(jailerAnswer, "answer")
	if err := unix.CloseRange(jailerOrders, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1
	}
	v := jailerRun(json.NewDecoder(os.NewFile(jailerOrders, "orders")))
	if v == nil {
		return 0
	}
	if json.NewEncoder(answer).Encode(v) != nil {
		return 1
	}
	return 0
}

// jailerRun answers nothing when the agent wants it to end before it began.
func jailerRun(orders *json.Decoder) *verdict {
	var j jailed
	var first order
	if orders.Decode(&j) != nil || orders.Decode(&first) != nil || first.Signal != 0 {
		return nil
	}
	pid, err := j.start()
	if err != nil {
		return &verdict{Error: err.Error()}
	}
	var main atomic.Int64
	main.Store(int64(pid))
	go obey(orders, &main)
	var status unix.WaitStatus
	for {
		got, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got == pid {
			break
		}
	}
	main.Store(0)
	endDescendants()
	v := &verdict{Code: exitCode(syscall.WaitStatus(status))}
	if status.Signaled() {
		v.Signal = int(status.Signal())
	}
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &used) == nil {
		v.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	return v
}

// obey passes signals on. When the agent is gone, or has no use for the stage any more,
// all of it ends.
func obey(orders *json.Decoder, main *atomic.Int64) {
	for {
		var o order
		if orders.Decode(&o) != nil {
			break
		}
		if o.All {
			for _, pid := range descendants() {
				unix.Kill(pid, syscall.Signal(o.Signal)) //nolint:errcheck // it may be gone
			}
			continue
		}
		if pid := int(main.Load()); pid > 0 {
			unix.Kill(pid, syscall.Signal(o.Signal)) //nolint:errcheck // it may be gone
		}
	}
	for {
		for _, pid := range descendants() {
			unix.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// start runs the command in a session of its own.
func (j *jailed) start() (pid int, err error) {
	for what, limit := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: j.Files} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return 0, fmt.Errorf("limiting open files and core dumps: %w", err)
		}
	}
	sys := &syscall.SysProcAttr{Setsid: true, Cloneflags: j.Flags, Pdeathsig: syscall.SIGKILL}
	files := []uintptr{0, 1, 2, jailerFilter}
	if j.Terminal {
		slave, err := sendTerminal(jailerSocket)
		if err != nil {
			return 0, fmt.Errorf("opening a terminal: %w", err)
		}
		files[0], files[1], files[2] = slave.Fd(), slave.Fd(), slave.Fd()
		sys.Setctty = true
		defer slave.Close()
	}
	args := append([]string{"plumb", "plumb-jail", "3"}, j.Args...)
	return syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{Env: j.Env, Files: files, Sys: sys})
}

// sendTerminal opens a terminal and sends its other side away, as the C of a container's
// first program does.
func sendTerminal(socket int) (*os.File, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	// It takes its flags by value, which the library does not offer.
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errno
	}
	f := os.NewFile(slave, "terminal")
	err = unix.Sendmsg(socket, []byte{0}, unix.UnixRights(master), nil, 0)
	if err == nil {
		var n int
		if n, err = unix.Read(socket, make([]byte, 1)); err == nil && n != 1 {
			err = errors.New("nobody took it")
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// endDescendants kills and reaps until there are none.
func endDescendants() {
	for {
		for _, pid := range descendants() {
			unix.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err == unix.ECHILD {
				return
			}
			if err != nil && err != unix.EINTR || pid == 0 {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// endInside kills all processes whose root directory is dir or below it, until there are
// none: they cannot leave it.
func endInside(dir string) error {
	for range 2000 {
		roots, err := filepath.Glob("/proc/[0-9]*/root")
		if err != nil {
			return err
		}
		found := false
		for _, name := range roots {
			root, err := os.Readlink(name)
			if err != nil || root != dir && !strings.HasPrefix(root, dir+"/") {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				return err
			}
			found = true
			unix.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
		}
		if !found {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("processes in %q cannot be ended", dir)
}

// descendants are all processes below this one.
func descendants() []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if len(fields) < 2 || perr != nil {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		if err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	var all []int
	for todo := []int{os.Getpid()}; len(todo) > 0; {
		below := children[todo[0]]
		all, todo = append(all, below...), append(todo[1:], below...)
	}
	return all
}
