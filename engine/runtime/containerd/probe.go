package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/containerd/seccomp"
)

// Finding is one thing that the runtime needs of the machine.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what was found
	Remedy string `json:"remedy"` // what to do when it is not OK, or could be better
}

// leastFree is what a store should have room for.
const leastFree = 1 << 30

// Probe looks whether this machine can run containers with their store at root,
// which need not exist. It changes nothing that it does not change back. For an
// ordinary user it has to run inside namespaces (package early); see also ProbeUser.
func Probe(ctx context.Context, root string) []Finding {
	root = existing(root)
	if early.Rootless() {
		return append(inspect(ctx, userProbes(root)), probeDelegated())
	}
	all := rootProbes(root)
	if _, err := probePrivileges(); err != nil {
		// The others would blame the kernel or the file system.
		all = slices.DeleteFunc(all, func(p probe) bool { return slices.Contains(privileged, p.name) })
	}
	return inspect(ctx, all)
}

// privileged are the probes that make namespaces and mounts, or are of use only to who does.
var privileged = []string{"program", "user namespaces", "overlay", "idmapped mounts"}

// probe looks at one thing and says what it found, or what is wrong.
type probe struct {
	name, remedy string
	look         func() (string, error)
}

func userProbes(root string) []probe {
	return []probe{
		{"ids", "run plumb as root", probeIDs},
		{"kernel", "use a kernel of version 5.19 or newer", probeKernel},
		{"program", programRemedy, probeProgram},
		{"nested namespaces", "allow them: sysctl user.max_user_namespaces=10000", probeNested},
		{"overlay", "keep the store on a local file system, such as ext4, xfs or btrfs", func() (string, error) { return probeUserOverlay(root) }},
		{"seccomp", "use a kernel with CONFIG_SECCOMP_FILTER", probeSeccomp},
		{"free space", "make room, or move the store with --store", func() (string, error) { return probeSpace(root) }},
	}
}

func rootProbes(root string) []probe {
	return []probe{
		{"root", "run plumb as root, or with sudo", probeRoot},
		{"privileges", PrivilegesRemedy, probePrivileges},
		{"kernel", "use a kernel of version 5.19 or newer", probeKernel},
		{"program", programRemedy, probeProgram},
		{"cgroups", "mount cgroups: with systemd they are, in a container ask for them", probeCgroups},
		{"user namespaces", "allow them: sysctl user.max_user_namespaces=10000", probeUserNamespace},
		{"overlay", "keep the store on a file system that overlayfs can use, such as ext4 or xfs", func() (string, error) { return "", overlayutils.Supported(root) }},
		{"idmapped mounts", "keep the store on a file system that has them, such as ext4, xfs or btrfs", func() (string, error) { return "", probeIDMap(root) }},
		{"seccomp", "use a kernel with CONFIG_SECCOMP_FILTER", probeSeccomp},
		{"mount points", "open the way to the store to other users: chmod o+x", func() (string, error) { return probeMountBase(root) }},
		{"free space", "make room, or move the store with --store", func() (string, error) { return probeSpace(root) }},
	}
}

func inspect(ctx context.Context, all []probe) []Finding {
	var findings []Finding
	for _, p := range all {
		if ctx.Err() != nil {
			break
		}
		detail, err := p.look()
		f := Finding{Name: p.name, OK: err == nil, Detail: detail}
		if err != nil {
			f.Detail, f.Remedy = err.Error(), p.remedy
		}
		findings = append(findings, f)
	}
	return findings
}

// existing is path, or the nearest directory above it that is there.
func existing(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for path != "/" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

// PrivilegesRemedy is for root that may make no namespaces or mounts.
const PrivilegesRemedy = "in a container, such as a CI job's: plumb --isolation chroot run (PLUMB_ISOLATION=chroot says so for the whole job), " +
	"or give the container what it lacks (for docker: --privileged)"

func probeRoot() (string, error) {
	if uid := os.Geteuid(); uid != 0 {
		return "", fmt.Errorf("the user id is %d", uid)
	}
	return "", nil
}

// probePrivileges looks for what a container of Docker's is not given.
func probePrivileges() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			var caps uint64
			if _, err := fmt.Sscanf(strings.TrimSpace(value), "%x", &caps); err != nil {
				return "", err
			}
			if caps&(1<<unix.CAP_SYS_ADMIN) == 0 {
				return "", errors.New("root has no CAP_SYS_ADMIN here: this is a container without privileges")
			}
		}
	}
	return "", nil
}

func probeKernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return "", fmt.Errorf("kernel %q has no version", release)
	}
	if major < 5 || major == 5 && minor < 19 {
		return "", fmt.Errorf("version %s", release)
	}
	return release, nil
}

func probeCgroups() (string, error) {
	c, err := openCgroups("plumb-probe", false)
	if err != nil {
		return "", err
	}
	swap := "swap is not counted"
	if c.countsSwap() {
		swap = "swap is counted"
	}
	if _, ok := c.(*cgroup1); ok {
		return "version 1, " + swap, nil
	}
	have, err := os.ReadFile(filepath.Join(cgroup2Mount, "cgroup.controllers"))
	if err != nil {
		return "", err
	}
	for _, needed := range []string{"cpu", "memory", "pids"} {
		if !strings.Contains(" "+strings.TrimSpace(string(have))+" ", " "+needed+" ") {
			return "", fmt.Errorf("version 2 without the controller %q", needed)
		}
	}
	return "version 2, " + swap, nil
}

func probeUserNamespace() (string, error) {
	f, err := userNamespace(DefaultBaseID, DefaultIDs)
	if err != nil {
		return "", err
	}
	return "", f.Close()
}

// userNamespace answers a namespace that has the mapping of containers.
func userNamespace(base, ids uint32) (*os.File, error) {
	mapping := fmt.Sprintf("0:%d:%d", base, ids)
	return mount.GetUsernsFD(mapping, mapping)
}

// probeIDMap maps a copy of the mount of dir that is attached nowhere.
func probeIDMap(dir string) error {
	ns, err := userNamespace(DefaultBaseID, DefaultIDs)
	if err != nil {
		return err
	}
	defer ns.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("copying the mount of %q: %w", dir, err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("mapping ids of the mount of %q: %w", dir, err)
	}
	return nil
}

func probeSeccomp() (string, error) {
	code, err := seccomp.Filter(capabilities())
	if err != nil {
		return "", err
	}
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(actions), "errno") {
		return "", fmt.Errorf("only the actions %q", strings.TrimSpace(string(actions)))
	}
	return fmt.Sprintf("a filter of %d instructions", len(code)/8), nil
}

func probeMountBase(root string) (string, error) {
	if searchable(root) {
		return "in the store", nil
	}
	for _, parent := range mountParents() {
		if searchable(parent) {
			return "in " + parent, nil
		}
	}
	return "", fmt.Errorf("%q and %v are closed to other users", root, mountParents())
}

func probeSpace(root string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return "", &os.PathError{Op: "statfs", Path: root, Err: err}
	}
	free := int64(st.Bavail) * st.Bsize
	detail := fmt.Sprintf("%.1f GiB in %s", float64(free)/(1<<30), root)
	if free < leastFree {
		return "", errors.New(detail)
	}
	return detail, nil
}
