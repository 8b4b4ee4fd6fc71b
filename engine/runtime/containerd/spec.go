package containerd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"
)

// defaultPath is what a command is looked up in when neither the stage nor the
// image says.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultHostname is the same everywhere: what a stage sees of the machine can
// end up in its outputs.
const defaultHostname = "plumb"

// cpuPeriod is the span over which a CPU limit is accounted, in microseconds.
const cpuPeriod = 100_000

// ociSpec describes the container in the terms of the OCI. The root filesystem
// comes with the request to make the task.
func (r *Runtime) ociSpec(s runtime.Spec, img *image, f furnished) *specs.Spec {
	hostname := s.Hostname
	if hostname == "" {
		hostname = defaultHostname
	}
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: hostname,
		Root:     &specs.Root{Path: "rootfs"},
		Process:  r.process(s, img, f),
		Mounts:   slices.Concat(r.systemMounts(s), deviceMounts(s.Devices), userMounts(s)),
		Hooks:    deviceHooks(s.Devices),
		Linux: &specs.Linux{
			UIDMappings:   r.mapping(r.opts.own.UIDs),
			GIDMappings:   r.mapping(r.opts.own.GIDs),
			Namespaces:    ociNamespaces(s.Network),
			CgroupsPath:   r.cgroups.path(s.ID), // "" for none
			Resources:     r.resources(s),
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if r.opts.loosen != nil {
		r.opts.loosen(spec)
	}
	return spec
}

func (r *Runtime) process(s runtime.Spec, img *image, f furnished) *specs.Process {
	u := specs.User{UID: uint32(f.user.Uid), GID: uint32(f.user.Gid)}
	for _, g := range f.user.Sgids {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
	}
	caps := capabilities()
	limits := []specs.POSIXRlimit{
		{Type: "RLIMIT_CORE", Soft: 0, Hard: 0},
		{Type: "RLIMIT_NOFILE", Soft: min(65536, r.files), Hard: min(1048576, r.files)},
	}
	if r.cgroups.path(s.ID) == "" {
		// Which the kernel counts for each user of each user namespace, so for a container.
		most := min(uint64(r.pids(s)), r.processes)
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_NPROC", Soft: most, Hard: most})
	}
	return &specs.Process{
		Args:            early.Shim(s.Args, s.Streams.Console != nil),
		Env:             environment(deviceEnv(s), img.config.Env),
		Cwd:             dirOf(s),
		User:            u,
		NoNewPrivileges: true,
		Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
		Rlimits:         limits,
	}
}

func dirOf(s runtime.Spec) string {
	if s.Dir == "" {
		return "/"
	}
	return s.Dir
}

// environment is the stage's, then what the image says of variables that the
// stage does not name.
func environment(stage, image []string) []string {
	return environmentOf(stage, append(slices.Clone(image), defaultPath))
}

// environmentOf adds to env what of more it does not have.
func environmentOf(env, more []string) []string {
	env = slices.Clone(env)
	for _, v := range more {
		name, _, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			env = append(env, v)
		}
	}
	return env
}

// mapping gives a container its ids: some of the machine's, or the own ones as they
// are, in the same runs.
func (r *Runtime) mapping(own []early.Range) (all []specs.LinuxIDMapping) {
	if r.opts.rootless {
		for _, run := range own {
			if run.First < r.opts.IDs {
				all = append(all, specs.LinuxIDMapping{ContainerID: run.First, HostID: run.First, Size: min(run.Count, r.opts.IDs-run.First)})
			}
		}
		return all
	}
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: r.opts.BaseID, Size: r.opts.IDs}}
}

func ociNamespaces(network bool) []specs.LinuxNamespace {
	all := []specs.LinuxNamespace{
		{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
	}
	if !network {
		all = append(all, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	return all
}

func (r *Runtime) resources(s runtime.Spec) *specs.LinuxResources {
	if r.cgroups.path(s.ID) == "" {
		return nil
	}
	pids := r.pids(s)
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}, Devices: deviceRules(s.Devices)}
	if s.Memory > 0 {
		res.Memory = &specs.LinuxMemory{Limit: &s.Memory}
		if r.cgroups.countsSwap() {
			res.Memory.Swap = &s.Memory // memory and swap together: no swap
		}
	}
	if s.CPU > 0 && r.cgroups.limitsCPU() {
		period, quota := uint64(cpuPeriod), max(int64(s.CPU*cpuPeriod), 1000)
		res.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	return res
}

func (r *Runtime) pids(s runtime.Spec) int64 {
	if s.Pids == 0 {
		return r.opts.Pids
	}
	return s.Pids
}

// maskedPaths are what Docker hides. How hot each processor runs tells one tenant of a
// machine what another does; the directories are found once, a machine has no more later.
var maskedPaths = sync.OnceValue(func() []string {
	all := []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	hot, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return append(all, hot...)
})

// systemMounts are those that every container has. Without a network namespace
// of its own a container may not mount sysfs: it sees the machine's, read-only.
func (r *Runtime) systemMounts(s runtime.Spec) []specs.Mount {
	sys := specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}}
	if s.Network {
		sys = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "rro", "rnosuid", "rnodev", "rnoexec"}}
	}
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if r.opts.IDs > 5 {
		pts = append(pts, "gid=5")
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "bind", Source: r.devicesOf(s), Options: []string{"rbind", "ro", "nosuid", "noexec"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shmSize(s.Memory))}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		sys,
	}
	if r.cgroups.path(s.ID) != "" {
		all = append(all, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}})
	}
	if s.Network {
		all = append(all, networkFiles()...)
	}
	return all
}

// networkFiles are what a program needs to resolve names on the host's network.
func networkFiles() []specs.Mount {
	var all []specs.Mount
	for _, path := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			all = append(all, specs.Mount{Destination: path, Type: "bind", Source: real, Options: readOnlyBind()})
		}
	}
	return all
}

// shmSize is the container's memory, or half of the machine's: what is written
// there counts as memory in any case.
func shmSize(limit int64) int64 {
	if limit > 0 {
		return limit
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 64 << 20 // what Docker gives
	}
	return int64(info.Totalram) * int64(info.Unit) / 2
}

func readOnlyBind() []string  { return []string{"rbind", "rro", "rnosuid", "rnodev"} }
func readWriteBind() []string { return []string{"rbind", "rw", "rnosuid", "rnodev"} }

func userMounts(s runtime.Spec) []specs.Mount {
	var all []specs.Mount
	for _, m := range s.Mounts {
		options := readWriteBind()
		if m.ReadOnly {
			options = readOnlyBind()
		}
		all = append(all, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: options})
	}
	return all
}
