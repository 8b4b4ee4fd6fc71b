package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The commands of this file do what a program does that means no good, or that
// leaves behind what no output can be.

// probeWritable walks and prints what can be opened for writing. Nothing is written.
func probeWritable(args []string) error {
	for _, root := range args {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // what cannot be listed cannot be written in this way
			}
			if ownEntry(path) {
				return filepath.SkipDir
			}
			if mayWrite(path, d) {
				fmt.Println(path)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ownEntry is what /proc has of processes: they are the container's own.
func ownEntry(path string) bool {
	name, ok := strings.CutPrefix(path, "/proc/")
	return ok && (name == "self" || name == "thread-self" || name != "" && strings.Trim(name, "0123456789") == "")
}

func mayWrite(path string, d fs.DirEntry) bool {
	if d.IsDir() {
		return unix.Access(path, unix.W_OK) == nil
	}
	if d.Type()&fs.ModeSymlink != 0 {
		return false
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// probeReadable prints of each path whether anything is to be read there.
func probeReadable(args []string) error {
	for _, path := range args {
		fmt.Println(path, readable(path))
	}
	return nil
}

func readable(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "absent"
	case err != nil:
		return "refused"
	}
	defer f.Close()
	if names, err := f.Readdirnames(1); err == nil {
		return "has " + names[0]
	}
	if n, err := f.Read(make([]byte, 1)); err == nil && n == 1 {
		return "has content"
	}
	return "empty"
}

// probeMounts prints where something is mounted, with the type and the flags that
// take rights away.
func probeMounts([]string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		where, kind := strings.Fields(before), strings.Fields(after)
		var flags []string
		for o := range strings.SplitSeq(where[5], ",") {
			if o == "ro" || o == "nosuid" || o == "nodev" || o == "noexec" {
				flags = append(flags, o)
			}
		}
		fmt.Println(where[4], kind[0], strings.Join(flags, ","))
	}
	return nil
}

// probeLimits prints resource limits, the soft and the hard one.
func probeLimits([]string) error {
	for _, l := range []struct {
		name string
		what int
	}{{"core", unix.RLIMIT_CORE}, {"nofile", unix.RLIMIT_NOFILE}} {
		var r unix.Rlimit
		// prlimit and not getrlimit: Go raises its own soft limit and hides that.
		if err := unix.Prlimit(os.Getppid(), l.what, nil, &r); err != nil {
			return err
		}
		fmt.Println(l.name, r.Cur, r.Max)
	}
	return nil
}

// probeAbstract connects to an abstract socket, which has no file.
func probeAbstract(args []string) error {
	c, err := net.Dial("unix", "@"+args[0])
	if err != nil {
		fmt.Println("refused")
		return nil
	}
	fmt.Println("connected")
	return c.Close()
}

// probeBomb starts itself again and again, as each of these does. Go ends a process that
// can get no thread: this one has its threads before it makes them rare.
func probeBomb([]string) error {
	const threads = 6
	var parked sync.WaitGroup
	for range threads {
		parked.Go(func() {
			runtime.LockOSThread()
			time.Sleep(5 * time.Millisecond)
			runtime.UnlockOSThread()
		})
	}
	parked.Wait()
	for {
		_, err := os.StartProcess("/proc/self/exe", []string{"probe-bomb"}, &os.ProcAttr{})
		if err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// probeStubborn ignores every signal that can be, says so, and stays.
func probeStubborn([]string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1)
	fmt.Println("stays")
	time.Sleep(time.Hour)
	return nil
}

// probeStop stops itself and all that it may signal.
func probeStop([]string) error {
	return errors.Join(syscall.Kill(-1, syscall.SIGSTOP), syscall.Kill(os.Getpid(), syscall.SIGSTOP), syscall.Pause())
}

// probeFill writes into a file until it cannot, and prints why.
func probeFill(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	chunk := []byte(strings.Repeat("plumb", 1<<18/5))
	for err == nil {
		_, err = f.Write(chunk)
	}
	fmt.Println(outcome(err))
	return f.Close()
}

// probeMany makes N files in a directory, each with its name in it.
func probeMany(args []string) error {
	n, err := number(args[:1])
	if err != nil {
		return err
	}
	for i := range n {
		name := fmt.Sprint(i)
		if err := os.WriteFile(filepath.Join(args[1], name), []byte(name), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// probeMake makes what the usual commands cannot: KIND PATH.
func probeMake(args []string) error {
	kind, path := args[0], args[1]
	switch kind {
	case "fifo":
		return unix.Mkfifo(path, 0o644)
	case "socket":
		return unix.Mknod(path, unix.S_IFSOCK|0o644, 0)
	case "device":
		return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	case "terabyte":
		return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 1<<40))
	case "holes": // a byte at the end of a few MiB of nothing
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("x"), 4<<20)
		return errors.Join(err, f.Close())
	case "deep": // 12,000 bytes of path
		if err := os.Chdir(path); err != nil {
			return err
		}
		for range 1200 {
			if err := errors.Join(os.Mkdir("directory", 0o755), os.Chdir("directory")); err != nil {
				return err
			}
		}
		return nil
	case "newline":
		return os.WriteFile(filepath.Join(path, "two\nlines"), []byte("x"), 0o644)
	case "latin1":
		return os.WriteFile(filepath.Join(path, "caf\xe9"), []byte("x"), 0o644)
	case "hardlink":
		return os.Link(args[2], path)
	case "setuid":
		return errors.Join(os.WriteFile(path, []byte("x"), 0o755), os.Chmod(path, 0o755|fs.ModeSetuid|fs.ModeSetgid))
	case "capability": // which takes CAP_SETFCAP
		v := []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		return errors.Join(os.WriteFile(path, []byte("x"), 0o755), unix.Setxattr(path, "security.capability", v, 0))
	}
	return fmt.Errorf("unknown kind %q", kind)
}

// probeSwap exchanges two names for N milliseconds, as fast as it can, while another
// process looks things up by them.
func probeSwap(args []string) error {
	ms, err := number(args[:1])
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
		if err := unix.Renameat2(unix.AT_FDCWD, args[1], unix.AT_FDCWD, args[2], unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
	return nil
}

// probeTrace attaches to a child of its own and says what came of it.
func probeTrace([]string) error {
	c := exec.Command("/proc/self/exe", "sleep", "60")
	if err := c.Start(); err != nil {
		return err
	}
	err := unix.PtraceAttach(c.Process.Pid)
	fmt.Println("a process of its own:", outcome(err))
	return c.Process.Kill()
}

// probeBinary prints bytes that are no text: every one there is, and some that a
// terminal would obey.
func probeBinary([]string) error {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	_, err := os.Stdout.Write(append(all, "\x1b]0;title\x07\x1b[2J\xff\xfe\n"...))
	return err
}

// probeSilent closes what it prints to, and goes on for a moment.
func probeSilent([]string) error {
	err := errors.Join(os.Stdin.Close(), os.Stdout.Close(), os.Stderr.Close())
	time.Sleep(100 * time.Millisecond)
	return err
}

func rawSocket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// bindPort takes a port of the container's own loopback.
func bindPort(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}), unix.Close(fd))
}

func hostileProbes() map[string]func() error {
	return map[string]func() error{
		"request_key":       func() error { return raw(unix.SYS_REQUEST_KEY) },
		"syslog":            func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil); return err },
		"init_module":       func() error { return raw(unix.SYS_INIT_MODULE) },
		"finit_module":      func() error { return raw(unix.SYS_FINIT_MODULE) },
		"delete_module":     func() error { return raw(unix.SYS_DELETE_MODULE) },
		"kexec_load":        func() error { return raw(unix.SYS_KEXEC_LOAD) },
		"swapon":            func() error { return raw(unix.SYS_SWAPON) },
		"acct":              func() error { return raw(unix.SYS_ACCT) },
		"quotactl":          func() error { return raw(unix.SYS_QUOTACTL) },
		"open_by_handle_at": func() error { return raw(unix.SYS_OPEN_BY_HANDLE_AT) },
		"fsopen":            func() error { return raw(unix.SYS_FSOPEN) },
		"move_mount":        func() error { return raw(unix.SYS_MOVE_MOUNT) },
		"unshare-mount":     func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNS) },
		"unshare-net":       func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET) },
		"setdomainname":     func() error { return unix.Setdomainname([]byte("other")) },
		"adjtimex":          func() error { _, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY}); return err },
		"settimeofday":      func() error { return unix.Settimeofday(&unix.Timeval{}) },
		"socket-raw":        func() error { return rawSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
		"socket-packet":     func() error { return rawSocket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
		"port-80":           func() error { return bindPort(80) },
		"port-8080":         func() error { return bindPort(8080) },
		"chroot-here":       func() error { return unix.Chroot(".") },
		"nice":              func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) },
		"mlock":             func() error { return unix.Mlockall(unix.MCL_FUTURE) },
	}
}
