package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The probe-* commands try what a container must not be able to do, and print
// what came of it.

// id prints numbers and names, and the supplementary groups.
func id([]string) error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	name := "?"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	fmt.Printf("uid=%d(%s) gid=%d groups=%v\n", os.Getuid(), name, os.Getgid(), groups)
	return nil
}

// probeConnect tries each address of the form host:port over TCP.
func probeConnect(args []string) error {
	for _, a := range args {
		c, err := net.DialTimeout("tcp", a, time.Second)
		if err != nil {
			fmt.Println(a, "refused:", err)
			continue
		}
		fmt.Println(a, "connected")
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// probeEffect has an effect on whoever listens at an address, which takes so many
// milliseconds: it says who it is, waits until that was taken, and stays until it is over.
func probeEffect(args []string) error {
	took, err := time.ParseDuration(args[1] + "ms")
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", args[0], time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%s %s\n", os.Getenv("PLUMB_KEY"), os.Getenv("PLUMB_ATTEMPT")); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return err
	}
	time.Sleep(took)
	_, err = fmt.Fprintln(c, "over")
	return err
}

// probeNames prints the network interfaces and whether each is up.
func probeNames([]string) error {
	all, err := net.Interfaces()
	for _, i := range all {
		fmt.Println(i.Name, i.Flags&net.FlagUp != 0)
	}
	return err
}

// probeWinsize prints the rows and columns of the terminal that is standard input.
func probeWinsize([]string) error {
	size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err == nil {
		fmt.Println(size.Row, size.Col)
	}
	return err
}

// probeFiles prints what is open, but for what Go opens itself.
func probeFiles([]string) error {
	for fd := range 64 {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			continue
		}
		target, _, _ = strings.Cut(target, ":")
		fmt.Println(fd, target)
	}
	return nil
}

// probeDaemon leaves a process of another session behind that sleeps.
func probeDaemon(args []string) error {
	c := exec.Command(ownProgram(), append([]string{"sleep"}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c.Start()
}

// probeFork starts sleeping processes until it cannot, at most N, and prints how
// many there were.
func probeFork(args []string) error {
	limit, err := number(args)
	if err != nil {
		return err
	}
	var all []*os.Process
	for range limit {
		p, err := os.StartProcess("/proc/self/exe", []string{"sleep", "60"}, &os.ProcAttr{})
		if err != nil {
			break
		}
		all = append(all, p)
	}
	fmt.Println(len(all), "processes")
	for _, p := range all {
		err = errors.Join(err, p.Kill())
	}
	return err
}

// probeMemory touches N MiB.
func probeMemory(args []string) error {
	mib, err := number(args)
	if err != nil {
		return err
	}
	var all [][]byte
	for range mib {
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println(len(all), "MiB")
	return nil
}

// probeSpin uses the CPU for N milliseconds of wall-clock time.
func probeSpin(args []string) error {
	ms, err := number(args)
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for time.Now().Before(end) {
	}
	return nil
}

func number(args []string) (int, error) {
	if len(args) != 1 {
		return 0, errors.New("needs a number")
	}
	return strconv.Atoi(args[0])
}

// probeRemount tries to make a mount writable.
func probeRemount(args []string) error {
	for _, path := range args {
		fmt.Println(path, outcome(unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND, "")))
	}
	return nil
}

// probeSyscall makes system calls that the seccomp filter is to judge.
func probeSyscall(args []string) error {
	calls := probes()
	maps.Copy(calls, hostileProbes())
	for _, name := range args {
		call, ok := calls[name]
		if !ok {
			return fmt.Errorf("unknown probe %q", name)
		}
		fmt.Println(name, outcome(call()))
	}
	return nil
}

func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func raw(number uintptr, args ...uintptr) error {
	a := make([]uintptr, 6)
	copy(a, args)
	if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// openSocket opens and closes a socket of a family.
func openSocket(family int) error {
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func probes() map[string]func() error {
	return map[string]func() error{
		"unshare-user":    func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER) },
		"unshare-nothing": func() error { return raw(unix.SYS_UNSHARE, 0) },
		"mount":           func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
		"umount":          func() error { return unix.Unmount("/proc", 0) },
		"pivot_root":      func() error { return unix.PivotRoot("/", "/") },
		"keyctl":          func() error { return raw(unix.SYS_KEYCTL, 0, 0, 0) },
		"add_key":         func() error { return raw(unix.SYS_ADD_KEY) },
		"bpf":             func() error { return raw(unix.SYS_BPF) },
		"perf_event_open": func() error { return raw(unix.SYS_PERF_EVENT_OPEN) },
		"userfaultfd":     func() error { return raw(unix.SYS_USERFAULTFD) },
		"io_uring_setup":  func() error { return raw(unix.SYS_IO_URING_SETUP) },
		"ptrace-1":        func() error { return raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1) },
		"setns":           func() error { return raw(unix.SYS_SETNS, 0, 0) },
		"reboot":          func() error { return raw(unix.SYS_REBOOT) },
		"clone3":          func() error { return raw(unix.SYS_CLONE3) },
		"clone-newuser":   func() error { return raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)) },
		"personality-get": func() error { return raw(unix.SYS_PERSONALITY, 0xffffffff) },
		"personality-aslr": func() error {
			return raw(unix.SYS_PERSONALITY, 0x0040000) // ADDR_NO_RANDOMIZE
		},
		"socket-unix":  func() error { return openSocket(unix.AF_UNIX) },
		"socket-inet":  func() error { return openSocket(unix.AF_INET) },
		"socket-vsock": func() error { return openSocket(unix.AF_VSOCK) },
		"socket-alg":   func() error { return openSocket(unix.AF_ALG) },
		"future":       func() error { return raw(9999) },
		"mknod":        func() error { return unix.Mknod("/tmp/device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
		"chroot":       func() error { return unix.Chroot("/tmp") },
		"setuid":       func() error { return raw(unix.SYS_SETUID, 1000) },
		"sethostname":  func() error { return unix.Sethostname([]byte("other")) },
		"settime":      func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{}) },
	}
}

// probeBetray writes a file, leaves a process behind in a session of its own, kills its
// parent and stays.
func probeBetray(args []string) error {
	if err := os.WriteFile(args[0], []byte("here\n"), 0o644); err != nil {
		return err
	}
	c := exec.Command(ownProgram(), "600")
	c.Args[0] = "sleep"
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	if err := syscall.Kill(os.Getppid(), syscall.SIGKILL); err != nil {
		return err
	}
	time.Sleep(10 * time.Minute)
	return nil
}

// ownProgram is this one, also where there is no /proc: by a name that it has.
func ownProgram() string {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self
	}
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		return path
	}
	return self
}
