package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The users of a container are these of the host, and its memory this much: as in
// plumb's containers.
const (
	firstID = 0x20000000
	ids     = 65536
	memory  = 64 * mib
)

// bundle is a directory from which runc makes containers, as many at once as one
// likes: nothing in it is written.
type bundle struct {
	dir  string
	root string // of runc's state
	made *atomic.Int64
}

// newBundle describes a container that is closed to the same degree as one of
// plumb's, and does nothing. native leaves system calls of other architectures out
// of the filter, as plumb does; the profile that everybody uses has three tables,
// and libseccomp compiles them for each container.
func (b *bench) newBundle(name string, native bool) (bundle, error) {
	u := bundle{dir: b.path("bundles", name), root: b.path("runc"), made: &atomic.Int64{}}
	work, input := filepath.Join(u.dir, "workspace"), filepath.Join(u.dir, "input")
	if err := errors.Join(os.MkdirAll(filepath.Join(work, "in"), 0o755), os.MkdirAll(input, 0o755)); err != nil {
		return u, fmt.Errorf("making a bundle: %w", err)
	}
	if err := os.Lchown(work, firstID, firstID); err != nil {
		return u, fmt.Errorf("making a bundle: %w", err)
	}
	spec, err := json.Marshal(ociSpec(b.image.rootfs, work, input, native))
	if err != nil {
		return u, fmt.Errorf("making a bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(u.dir, "config.json"), spec, 0o644); err != nil {
		return u, fmt.Errorf("making a bundle: %w", err)
	}
	return u, nil
}

// run is one whole container, from nothing to nothing.
func (u bundle) run(ctx context.Context) (time.Duration, error) {
	id := fmt.Sprintf("plumb-peers-%d-%s-%d", os.Getpid(), filepath.Base(u.dir), u.made.Add(1))
	return timed(exec.CommandContext(ctx, "runc", "--root", u.root, "run", "--bundle", u.dir, id), "")
}

func ociSpec(rootfs, work, input string, native bool) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}
	limit, pids := int64(memory), int64(4096)
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: ids}}
	s := &specs.Spec{
		Version:  "1.0.2",
		Hostname: "plumb",
		Root:     &specs.Root{Path: rootfs, Readonly: true},
		Process: &specs.Process{
			Args: []string{"/bin/true"}, Cwd: "/workspace", Env: []string{"PATH=/bin", "HOME=/tmp"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
		},
		Mounts: mounts(work, input),
		Linux: &specs.Linux{
			UIDMappings: mapping, GIDMappings: mapping, Namespaces: namespaces(),
			Resources:     &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}, Pids: &specs.LinuxPids{Limit: &pids}},
			MaskedPaths:   []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	s.Linux.Seccomp = seccomp.DefaultProfile(s)
	if native {
		s.Linux.Seccomp.Architectures = s.Linux.Seccomp.Architectures[:1]
	}
	return s
}

func namespaces() []specs.LinuxNamespace {
	var all []specs.LinuxNamespace
	for _, t := range []specs.LinuxNamespaceType{
		specs.UserNamespace, specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace, specs.NetworkNamespace,
	} {
		all = append(all, specs.LinuxNamespace{Type: t})
	}
	return all
}

func mounts(work, input string) []specs.Mount {
	quiet := []string{"nosuid", "noexec", "nodev"}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: quiet},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append([]string{"mode=1777", "size=64m"}, quiet...)},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: quiet},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append([]string{"ro"}, quiet...)},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{"ro", "relatime"}, quiet...)},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmp", Options: []string{"nosuid", "nodev", "mode=1777"}},
		{Destination: "/workspace", Type: "bind", Source: work, Options: []string{"rbind", "rw", "nosuid", "nodev"}},
		{Destination: "/workspace/in", Type: "bind", Source: input, Options: []string{"rbind", "ro", "nosuid", "nodev"}},
	}
}
