package containerd

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
)

// A daemon makes containers out of directories that it sees: an idmapped mount of this
// process is not among them. So what is on the disk has the owners that containers
// have, and it is this process that looks through a mapped mount, the other way round:
//
//	the daemon's snapshot   root's files are BaseID's     what containers stand on
//	    └─▶ mapped mount    root's files are root's       what images are unpacked into,
//	                                                      completed and compared in
//
// The kernel does the arithmetic, for new files, owners and capabilities alike: nothing
// is changed twice, as it would be with a chown of what was unpacked, and no code that
// unpacks or completes images knows about it.

// mappingOfMounts answers the user namespace that says how layers are mounted.
func (r *rootfs) mappingOfMounts() (*os.File, error) {
	if !r.shifted {
		return userNamespace(r.base, r.ids)
	}
	mapping := fmt.Sprintf("%d:0:%d", r.base, r.ids)
	return mount.GetUsernsFD(mapping, mapping)
}

// see answers where directories with the owners of containers are to be seen with those
// of the image, until unsee is called for that. Elsewhere they are what they look like.
func (r *rootfs) see(dirs []string) ([]string, error) {
	if !r.shifted {
		return dirs, nil
	}
	return r.mount(dirs)
}

// unsee undoes see. An image's directories are unseen when it is removed.
func (r *rootfs) unsee(seen []string) error {
	if !r.shifted {
		return nil
	}
	dirs, err := r.behind(seen)
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(err, r.forget(dirs))
}

// seeOwn is see for one directory that is to be written into. What made it did not know
// whose it is.
func (r *rootfs) seeOwn(dir string) (string, error) {
	if !r.shifted {
		return dir, nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Uid < r.base || st.Gid < r.base) {
		if err := os.Lchown(dir, int(r.base), int(r.base)); err != nil {
			return "", err
		}
	}
	seen, err := r.mount([]string{dir})
	if err != nil {
		return "", err
	}
	return seen[0], nil
}

// behind answers the directories that are seen there.
func (r *rootfs) behind(seen []string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dirs := map[string]string{}
	for dir, m := range r.mapped {
		dirs[m.path] = dir
	}
	var all []string
	for _, s := range seen {
		dir, ok := dirs[s]
		if !ok {
			return nil, fmt.Errorf("finding what is behind %q: nothing is", s)
		}
		all = append(all, dir)
	}
	return all, nil
}

// writable gives where a layer is written and the layers below it, topmost first, as
// unpacking wants to see them, until unsee is called.
func (r *rootfs) writable(mounts []mount.Mount) (upper string, lower []string, unsee func() error, err error) {
	if upper, lower, err = directories(mounts); err != nil || !r.shifted {
		return upper, lower, func() error { return nil }, err
	}
	if upper, err = r.seeOwn(upper); err != nil {
		return "", nil, nil, err
	}
	if lower, err = r.see(lower); err != nil {
		return "", nil, nil, errors.Join(err, r.unsee([]string{upper}))
	}
	return upper, lower, func() error { return r.unsee(append([]string{upper}, lower...)) }, nil
}
