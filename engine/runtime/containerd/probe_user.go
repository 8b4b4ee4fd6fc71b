package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	lc "github.com/opencontainers/cgroups"

	"plumb/engine/runtime/containerd/early"
)

// What an ordinary user needs of the machine. Two things may be missing: without
// subordinate ids everything in an image is root's, and without a delegated cgroup
// nothing is limited. So these findings are OK and have a remedy all the same.

// idsRemedy is what gives a user ids.
const idsRemedy = "subordinate ids give it more, and plumb doctor says how to have them"

// enoughIDs is what a user should have for images of any kind.
const enoughIDs = DefaultIDs - 1 // id 0 is the user's own

// ProbeUser looks at what lets an ordinary user have namespaces. entered is what came
// of trying: Probe then says the rest, inside.
func ProbeUser(entered error) []Finding {
	f := Finding{Name: "user namespaces", OK: entered == nil}
	if entered != nil {
		f.Detail, f.Remedy = entered.Error(), namespaceRemedy("/proc/sys")
	}
	return []Finding{f, probeSubordinate()}
}

// namespaceRemedy goes by what kernels and distributions have against them.
func namespaceRemedy(sysctls string) string {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(sysctls, strings.ReplaceAll(name, ".", "/")))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	switch {
	case read("kernel.unprivileged_userns_clone") == "0":
		return "as root: sysctl kernel.unprivileged_userns_clone=1"
	case read("user.max_user_namespaces") == "0":
		return "as root: sysctl user.max_user_namespaces=10000"
	case read("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or let plumb alone have them: " +
			"put \"abi <abi/4.0>, include <tunables/global> profile plumb /path/to/plumb flags=(unconfined) { userns, }\" into /etc/apparmor.d/plumb and run apparmor_parser -r /etc/apparmor.d/plumb"
	}
	return "run plumb as root; inside a container ask for one whose /proc is not masked and that may make user namespaces " +
		"(docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined)"
}

func probeSubordinate() Finding {
	f := Finding{Name: "subordinate ids", OK: true}
	s, err := early.SubordinateIDs()
	var missing *early.Missing
	switch have := min(early.Total(s.UIDs), early.Total(s.GIDs)); {
	case errors.As(err, &missing):
		f.Detail, f.Remedy = fmt.Sprintf("%v: everything in an image is root's, and no image can be made", err), missing.Remedy
	case err != nil:
		f.OK, f.Detail, f.Remedy = false, err.Error(), "make it readable"
	case have < enoughIDs:
		f.Detail, f.Remedy = fmt.Sprintf("%d, and images may have files of %d", have, enoughIDs), early.RangeRemedy()
	default:
		f.Detail = fmt.Sprintf("%d from %d on, groups from %d on", have, s.UIDs[0].First, s.GIDs[0].First)
	}
	return f
}

// probeIDs says who containers are, from the inside.
func probeIDs() (string, error) {
	own, err := early.Mapped()
	if err != nil {
		return "", err
	}
	n := min(early.Total(own.UIDs), early.Total(own.GIDs))
	if n == 0 {
		return "", errors.New("id 0 is not mapped")
	}
	return fmt.Sprintf("an ordinary user; containers have %d", min(n, DefaultIDs)), nil
}

// probeDelegated tells what limits there are. None is no reason not to run.
func probeDelegated() Finding {
	f := Finding{Name: "cgroups", OK: true}
	c, err := openDelegated(cgroup2Mount, "plumb-probe")
	switch {
	case err == nil && c.limitsCPU():
		f.Detail = "delegated to this user"
	case err == nil:
		f.Detail, f.Remedy = "delegated to this user, without CPU time", delegateRemedy("cpu memory pids")
	default:
		f.Detail = fmt.Sprintf("%v: no limit of memory and CPU time is kept, and memory is not counted", err)
		f.Remedy = "a machine with cgroups of version 2 alone, or root"
		if lc.IsCgroup2UnifiedMode() {
			f.Remedy = "run it as systemd-run --user --scope plumb …; if that is not enough, " + delegateRemedy("cpu memory pids")
		}
	}
	return f
}

func delegateRemedy(controllers string) string {
	return fmt.Sprintf("as root, put \"[Service] Delegate=%s\" into /etc/systemd/system/user@.service.d/delegate.conf, and log in anew", controllers)
}

// probeNested makes a user namespace in the own one, as each container does.
func probeNested() (string, error) {
	f, err := mount.GetUsernsFD("0:0:1", "0:0:1")
	if err != nil {
		return "", err
	}
	return "", f.Close()
}

// probeUserOverlay mounts one as containers do.
func probeUserOverlay(dir string) (_ string, err error) {
	at, err := os.MkdirTemp(dir, "plumb-probe-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(at)) }()
	for _, name := range []string{"l", "u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(at, name), 0o755); err != nil {
			return "", err
		}
	}
	m := mount.Mount{Type: "overlay", Source: "overlay", Options: append(overlayNotes(), "lowerdir="+at+"/l", "upperdir="+at+"/u", "workdir="+at+"/w")}
	if err := m.Mount(at + "/m"); err != nil {
		return "", err
	}
	return "", detach(at + "/m")
}
