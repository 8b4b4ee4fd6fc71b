package runtimetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Job is a container as CI services give one to a job: root, with what Docker gives a
// container when nobody asks for more. Mounts and namespaces are refused in it. It has
// a network of its own, with nothing in it.
//
// The programs in it are this machine's, to be read only.
type Job struct {
	JobOptions
	dir string
	id  string
	pid int // of its first process, as the machine sees it
}

// JobOptions are directories and files of the machine that a container has under the
// same names, and whether it may do as the machine's root does (docker run --privileged).
type JobOptions struct {
	Shared     []string // to write in
	Fixed      []string // to read
	Privileged bool
}

// dockerCapabilities are those of a container of Docker's.
var dockerCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// dockerMask is the same as the kernel prints it.
const dockerMask = "00000000a80425fb"

// NewJob makes one. Where it cannot be had the test is skipped.
func NewJob(tb testing.TB, opts JobOptions) *Job {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can make such a container")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		tb.Skip(err)
	}
	dir, err := os.MkdirTemp("", "plumb-job-")
	if err != nil {
		tb.Fatal(err)
	}
	j := &Job{JobOptions: opts, dir: dir, id: filepath.Base(dir)}
	tb.Cleanup(func() {
		if err := errors.Join(j.end(), os.RemoveAll(dir)); err != nil {
			tb.Error(err)
		}
	})
	if err := j.bundle(); err != nil {
		tb.Fatal(err)
	}
	if err := j.begin(); err != nil {
		tb.Fatal(err)
	}
	if opts.Privileged {
		return j
	}
	if err := j.refuses(); err != nil {
		tb.Fatal(err)
	}
	return j
}

// refuses makes sure that the container is what it is taken for.
func (j *Job) refuses() error {
	status, err := j.Command("/", nil, "cat", "/proc/self/status").CombinedOutput()
	if err != nil {
		return fmt.Errorf("looking into the container of a job: %w\n%s", err, status)
	}
	for _, want := range []string{"CapEff:\t" + dockerMask, "CapBnd:\t" + dockerMask, "NoNewPrivs:\t0", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want+"\n") {
			return fmt.Errorf("the container of a job does not have %q:\n%s", want, status)
		}
	}
	for _, args := range [][]string{
		{"unshare", "--mount", "true"}, {"unshare", "--user", "true"}, {"unshare", "--pid", "--fork", "true"}, {"mount", "-t", "tmpfs", "tmpfs", "/tmp"},
	} {
		out, err := j.Command("/", []string{"LC_ALL=C"}, args...).CombinedOutput()
		var failed *exec.ExitError
		if !errors.As(err, &failed) || !strings.Contains(string(out), "ermission denied") && !strings.Contains(string(out), "not permitted") {
			return fmt.Errorf("in the container of a job %q is not refused: %v\n%s", args, err, out)
		}
	}
	return nil
}

// bundle writes what runc makes the container of.
func (j *Job) bundle() error {
	spec := j.spec()
	if j.Privileged {
		if err := loosen(spec); err != nil {
			return err
		}
	}
	for _, path := range j.Shared {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: path, Type: "bind", Source: path, Options: []string{"bind", "rw"}})
	}
	for _, path := range j.Fixed {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		spec.Mounts = append(spec.Mounts, bound(real, path))
	}
	root := filepath.Join(j.dir, "rootfs")
	for _, made := range []string{"root", "run", "var/lib", "var/tmp", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, made), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(j.dir, 0o755), os.Chmod(filepath.Join(root, "tmp"), 0o1777)); err != nil {
		return err
	}
	for _, path := range []string{"/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		target, err := os.Readlink(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil:
			if err := os.Symlink(target, filepath.Join(root, path)); err != nil {
				return err
			}
		default: // no link
			spec.Mounts = append(spec.Mounts, bound(path, path))
		}
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.dir, "config.json"), b, 0o600)
}

func bound(source, at string) specs.Mount {
	return specs.Mount{Destination: at, Type: "bind", Source: source, Options: []string{"bind", "ro"}}
}

// spec is Docker's, but for the mounts that it makes of images and volumes.
func (j *Job) spec() *specs.Spec {
	caps := dockerCapabilities
	spec := &specs.Spec{
		Version:  "1.0.2",
		Hostname: "job",
		Root:     &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: []string{"sleep", "infinity"}, Cwd: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/" + j.id,
			MaskedPaths: []string{
				"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Resources:     &specs.LinuxResources{Devices: dockerDevices()},
		},
	}
	for _, kind := range []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace,
	} {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	spec.Linux.Seccomp = seccomp.DefaultProfile(spec)
	return spec
}

// loosen makes it a container with --privileged.
func loosen(spec *specs.Spec) error {
	caps, err := cap.Current() // nobody can give more
	if err != nil {
		return fmt.Errorf("looking for the own capabilities: %w", err)
	}
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	spec.Linux.Seccomp, spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil, nil
	spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	for n, m := range spec.Mounts {
		spec.Mounts[n].Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "ro" })
	}
	return nil
}

// dockerDevices lets a container make any device and open few.
func dockerDevices() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"}}
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d[0], Minor: &d[1], Access: "rwm"})
	}
	return rules
}

func (j *Job) runc(args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", filepath.Join(j.dir, "state")}, args...)...)
}

// begin starts its first process, which outlives runc: what it prints goes into a file.
func (j *Job) begin() error {
	said, err := os.Create(filepath.Join(j.dir, "log"))
	if err != nil {
		return err
	}
	cmd := j.runc("run", "--detach", "--bundle", j.dir, "--pid-file", filepath.Join(j.dir, "pid"), j.id)
	cmd.Stdout, cmd.Stderr = said, said
	err = errors.Join(cmd.Run(), said.Close())
	if err != nil {
		text, rerr := os.ReadFile(said.Name())
		return fmt.Errorf("starting the container of a job: %w\n%s", errors.Join(err, rerr), text)
	}
	text, err := os.ReadFile(filepath.Join(j.dir, "pid"))
	if err != nil {
		return err
	}
	j.pid, err = strconv.Atoi(string(text))
	return err
}

// end kills all that is in it, and removes it.
func (j *Job) end() error {
	if j.pid == 0 {
		return nil
	}
	out, err := j.runc("delete", "--force", j.id).CombinedOutput()
	if err != nil {
		return fmt.Errorf("removing the container %s: %w\n%s", j.id, err, out)
	}
	return nil
}

// Command is a program run inside, in dir and with env besides its PATH. What is started
// there and left there goes on when the program has ended.
func (j *Job) Command(dir string, env []string, args ...string) *exec.Cmd {
	words := []string{"exec", "--cwd", dir}
	for _, e := range env {
		words = append(words, "--env", e)
	}
	return j.runc(slices.Concat(words, []string{j.id}, args)...)
}

// Root is where the machine finds the files of the container.
func (j *Job) Root() string { return fmt.Sprintf("/proc/%d/root", j.pid) }

// Processes are those inside but for the first, by what the machine knows of them.
func (j *Job) Processes() ([]string, error) {
	out, err := j.runc("ps", "--format", "json", j.id).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the processes of the container %s: %w", j.id, err)
	}
	var pids []int
	if err := json.Unmarshal(out, &pids); err != nil {
		return nil, err
	}
	var found []string
	for _, pid := range pids {
		if pid == j.pid {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			found = append(found, fmt.Sprintf("%d %s", pid, strings.ReplaceAll(string(b), "\x00", " ")))
		}
	}
	return found, nil
}
