package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"plumb/store/erase"
)

// sweep removes what an earlier owner of the root left because it was killed:
// processes and cgroups, mounts, mount points, scratch layers. Containers and
// their records live no longer than their owner. Nothing is running yet.
func (r *Runtime) sweep() error {
	if err := r.cgroups.sweep(); err != nil {
		return err
	}
	for _, dir := range []string{r.base, r.opts.State} {
		if err := emptyDir(dir); err != nil {
			return fmt.Errorf("sweeping %q: %w", dir, err)
		}
	}
	return nil
}

// emptyDir unmounts and removes all that is in dir.
func emptyDir(dir string) error {
	if dir == "" { // New failed before it was known
		return nil
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := erase.All(context.Background(), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// unmountBelow detaches all mounts below dir, the innermost first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("reading the mounts below %q: %w", dir, err)
	}
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
	for _, m := range mounts {
		if m.Mountpoint == dir {
			continue
		}
		if err := detach(m.Mountpoint); err != nil {
			return err
		}
	}
	return nil
}

// mountBase answers the directory below which root filesystems are mounted. It
// is state where the ids that containers are mapped to can walk there; a store
// in somebody's home is often closed to others, and then it is a directory of
// the machine's that nobody else can write to. Without root there is no question:
// a container's root is the store's owner.
func mountBase(o Options, name string) (string, error) {
	state := o.State
	if o.rootless || searchable(state) {
		return filepath.Join(state, "containers"), nil
	}
	for _, parent := range mountParents() {
		if !searchable(parent) {
			continue
		}
		dir := filepath.Join(parent, "plumb-"+name)
		if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
			continue
		}
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && ownedByRoot(info) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("mounting root filesystems: %q and %v are closed to other users; open the way to it with chmod o+x", state, mountParents())
}

func mountParents() []string { return []string{"/run", "/var/tmp", "/tmp"} }

func ownedByRoot(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}

// searchable says whether everyone can walk through all of a path.
func searchable(path string) bool {
	for ; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if path == "/" {
			return true
		}
	}
}
