package runtimetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// What docker run hides in a container's /proc and /sys, makes read-only there, and
// has in its /dev when it is asked for nothing (moby's package oci, and the devices
// that the OCI's runtime specification adds).
var (
	dockerMasks = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
		"/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	// What these patterns match on this machine is hidden, too.
	dockerMaskPatterns = []string{"/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle"}
	dockerReadOnly     = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	dockerDev          = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
)

// What root may open for writing outside of its own processes, in a container of
// docker's, too: devices that do no harm, places of its own, triggers on its own
// pressure, and /dev/null in place of what is hidden.
const writable = "^(/dev/(full|null|zero|random|urandom|tty|shm|mqueue|pts|pts/ptmx)|/proc/pressure/(cpu|io|memory|irq)|/proc/(interrupts|keys|kcore|latency_stats|sched_debug|timer_list|timer_stats))$"

// views is what the file system shows.
func (b *bench) views() []told {
	hidden := dockerMasks
	for _, p := range dockerMaskPatterns {
		found, _ := filepath.Glob(p) // the pattern is a constant
		hidden = append(hidden[:len(hidden):len(hidden)], found...)
	}
	// On cgroup v1 the place of the hierarchies is a file system of the container's own.
	allowed := writable
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		allowed = strings.Replace(writable, ")$", "|/sys/fs/cgroup)$", 1)
	}
	return []told{
		{name: "root file system", script: "probe-mounts | grep '^/ '; echo x > /new; rm /etc/passwd; cat /new", want: "/ overlay nodev\nx\n"},
		{name: "hidden in /proc and /sys", script: "probe-readable " + strings.Join(hidden, " ") + " | grep -v '(absent|empty)$' || true"},
		{name: "/proc/sys and its like", script: "for p in " + strings.Join(dockerReadOnly, " ") + `; do probe-mounts | grep "^$p " | grep -v ' ro,' || true; done
			sh -c 'echo 1 > /proc/sys/kernel/pid_max' || true; probe-writable /proc/sys /proc/bus /proc/fs /proc/irq /proc/sysrq-trigger`, want: "open /proc/sys/kernel/pid_max: read-only file system\n"},
		{name: "/sys", script: "probe-mounts | grep '^/sys '; probe-writable /sys | grep -v '" + allowed + "' || true; ls /sys/class/net", want: "/sys sysfs ro,nosuid,nodev,noexec\nlo\n"},
		{name: "writable in /proc, /sys and /dev", script: "probe-writable /proc /sys /dev | grep -v '" + allowed + "' || true"},
		{name: "/dev", script: "ls /dev | tr '\\n' ' '; probe-mounts | grep '^/dev '", want: dockerDev + " /dev tmpfs ro,nosuid,noexec\n"},
		{name: "other devices", script: "probe-syscall mknod; probe-mounts | grep '^/ '; touch /dev/x || true", want: "mknod EPERM\n/ overlay nodev\ntouch: open /dev/x: read-only file system\n"},
		{name: "/dev/shm", change: func(s *runtime.Spec) { s.Memory = 128 << 20 }, script: "probe-mounts | grep '^/dev/shm '; grep '^shm /dev/shm ' /proc/mounts | tr ',' '\n' | grep size",
			want: "/dev/shm tmpfs nosuid,nodev,noexec\nsize=131072k\n"},
		{name: "cgroups", script: "cut -d: -f3 /proc/self/cgroup | sort | uniq; probe-mounts | grep '^/sys/fs/cgroup.* cgroup2? ' | grep -vc ' ro,' || true", want: "/\n0\n"},
	}
}

// bounds is what a stage may use.
func (b *bench) bounds(t *testing.T) []told {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	files := own.Max
	return []told{
		{name: "core dumps", script: "probe-limits | grep core", want: "core 0 0\n"},
		{name: "open files", script: "probe-limits | grep nofile", want: fmt.Sprintf("nofile %d %d\n", min(65536, files), min(1048576, files))},
		{name: "number of processes", change: func(s *runtime.Spec) { s.Pids = 30 }, script: "probe-fork 100 | awk '{ print ($1 > 0 && $1 < 30) }'", want: "1\n"},
		{name: "memory", needs: []Lack{Limits}, change: func(s *runtime.Spec) { s.Memory = 64 << 20 }, script: "exec probe-memory 500", code: 137},
		{name: "CPU time", needs: []Lack{Limits}, change: func(s *runtime.Spec) { s.CPU = 0.1 },
			script: "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null | cut -d' ' -f1", want: "10000\n"},
		{name: "priority", script: "probe-syscall nice", want: "nice EACCES\n"},
	}
}
