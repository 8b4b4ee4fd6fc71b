package runtimetest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is a containerd of the machine's packages, started for a test with all that it
// has below one directory. It runs in the namespaces of the process that starts it.
type Daemon struct {
	Dir string
	Bin string // its PATH, "" for that of the test
	cmd *exec.Cmd
	log *os.File
}

// HasDaemon says whether there is one to start.
func HasDaemon() error {
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	return nil
}

// Socket is where it listens.
func (d *Daemon) Socket() string { return filepath.Join(d.Dir, "c.sock") }

const daemonConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"%[2]s]
[grpc]
  address = "%[1]s/c.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
`

// Start starts it and waits until it listens. without are plug-ins that it is not to have.
func (d *Daemon) Start(without ...string) (err error) {
	more := ""
	for _, plugin := range without {
		more += fmt.Sprintf(", %q", plugin)
	}
	config := filepath.Join(d.Dir, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, daemonConfig, d.Dir, more), 0o600); err != nil {
		return err
	}
	if d.log, err = os.OpenFile(filepath.Join(d.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	d.cmd = exec.Command("containerd", "--config", config)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if d.Bin != "" {
		d.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "PATH=") }), "PATH="+d.Bin)
	}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("unix", d.Socket()); err == nil {
			return conn.Close()
		}
	}
	return errors.Join(errors.New("the containerd does not listen"), d.Kill())
}

// PID is its process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Kill ends the daemon alone: its containers run on.
func (d *Daemon) Kill() error {
	if d.cmd == nil {
		return nil
	}
	err := d.cmd.Process.Kill()
	_ = d.cmd.Wait() // it was killed
	d.cmd = nil
	return errors.Join(err, d.log.Close())
}

// Shims are the processes that keep its containers.
func (d *Daemon) Shims() (pids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		words := strings.Split(string(b), "\x00")
		if strings.HasSuffix(words[0], "containerd-shim-runc-v2") && slices.Contains(words, d.Socket()) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Stop ends it with all that it has started, and removes what it had mounted.
func (d *Daemon) Stop() error {
	shims, err := d.Shims()
	errs := []error{err, d.Kill()}
	for _, shim := range shims {
		errs = append(errs, killTree(shim))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	errs = append(errs, err)
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, d.Dir+"/") {
			errs = append(errs, unix.Unmount(at, unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// killTree kills a process and its children: a shim's are the first ones of containers.
func killTree(pid int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = syscall.Kill(pid, syscall.SIGKILL)
	for child := range strings.FieldsSeq(string(b)) {
		n, cerr := strconv.Atoi(child)
		if cerr == nil {
			cerr = syscall.Kill(n, syscall.SIGKILL)
		}
		err = errors.Join(err, cerr)
	}
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
