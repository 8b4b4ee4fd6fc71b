package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	lc "github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// An ordinary user may have a part of the unified hierarchy: systemd gives one to each
// user's own manager, and to units that ask for it (Delegate=). A cgroup whose children
// are limited may hold no processes itself, so what is looked for is the one above the
// own:
//
//	user@1000.service/app.slice      the user's
//	├── run-u7.scope                 where this process is
//	└── plumb-STORE
//	    └── CONTAINER

// openDelegated answers cgroups in a part that is the user's, or why there is none.
func openDelegated(mount, parent string) (*cgroup2, error) {
	if !lc.IsCgroup2UnifiedMode() {
		return nil, fmt.Errorf("cgroups are of version 1, which an ordinary user cannot be given")
	}
	own, err := lc.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("reading the own cgroup: %w", err)
	}
	above := filepath.Dir(own[""])
	have, err := delegated(filepath.Join(mount, above))
	if err != nil {
		return nil, err
	}
	return &cgroup2{
		root: mount, parent: filepath.Join(above, parent),
		own:     filepath.Join(mount, own[""], "cgroup.procs"),
		unruled: !strings.Contains(have, " cpu "),
	}, nil
}

// delegated says which controllers the user has in the cgroup dir, each between
// spaces. It changes nothing.
func delegated(dir string) (controllers string, err error) {
	for _, name := range []string{".", "cgroup.procs", "cgroup.subtree_control"} {
		if err := unix.Access(filepath.Join(dir, name), unix.W_OK); err != nil {
			return "", fmt.Errorf("the cgroup %q is not this user's: %w", dir, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return "", fmt.Errorf("reading a cgroup: %w", err)
	}
	controllers = " " + strings.TrimSpace(string(b)) + " "
	for _, needed := range []string{"memory", "pids"} {
		if !strings.Contains(controllers, " "+needed+" ") {
			return "", fmt.Errorf("the cgroup %q is this user's without the controller %q", dir, needed)
		}
	}
	return controllers, nil
}
