package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// rootfs makes root filesystems: an overlay of a fresh scratch directory above
// the layers of an image.
//
// Files of the layers carry the ids of the image. Each layer is mounted once
// through the id mapping that all containers share, and the overlays of all
// containers stand on these mounts; so root's files are root's inside, and
// making a container costs one mount whatever the number of layers.
//
// Without root the layers carry the ids that containers have, and there is nothing
// to map: the mounts are plain ones, for their short names.
//
// With a daemon the layers carry the ids of containers on the machine, since nothing
// that is mounted here is there where containers are made: see shifted.go.
type rootfs struct {
	root    string // the store
	state   string // mount points
	scratch string // upper layers, on the disk of the store
	base    uint32
	ids     uint32
	plain   bool  // without root
	shifted bool  // with a daemon
	jail    *jail // without mounts

	mu     sync.Mutex
	userns *os.File
	mapped map[string]*mapped // by layer directory
	last   int64              // number of the latest mount point
}

func newRootfs(o Options) rootfs {
	return rootfs{
		root:    o.Root,
		state:   filepath.Join(o.State, "layers"),
		scratch: filepath.Join(o.Root, "scratch"),
		base:    o.BaseID,
		ids:     o.IDs,
		plain:   o.rootless,
		shifted: o.Socket != "",
		mapped:  map[string]*mapped{},
	}
}

// mapped is a layer's idmapped mount and how many use it: images share layers.
type mapped struct {
	path  string
	users int
}

// mapLayers answers the idmapped mounts of the layers, in the order given, until
// forgetLayers is called for them.
func (r *rootfs) mapLayers(layers []string) ([]string, error) {
	if r.shifted {
		return r.behind(layers)
	}
	if r.jail != nil {
		return layers, nil
	}
	return r.mount(layers)
}

// mount mounts each of the directories, or finds that it is.
func (r *rootfs) mount(layers []string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for i, layer := range layers {
		m, err := r.mapLayer(layer)
		if err != nil {
			err = fmt.Errorf("mapping ids of layer %q: %w", layer, err)
			return nil, errors.Join(err, r.forget(layers[:i]))
		}
		m.users++
		all = append(all, m.path)
	}
	return all, nil
}

func (r *rootfs) mapLayer(layer string) (*mapped, error) {
	if m, ok := r.mapped[layer]; ok {
		return m, nil
	}
	if r.userns == nil && !r.plain {
		f, err := r.mappingOfMounts()
		if err != nil {
			return nil, fmt.Errorf("making a user namespace: %w", err)
		}
		r.userns = f
	}
	// Short names: all layers of an image have to fit into one page of options.
	r.last++
	path := filepath.Join(r.state, strconv.FormatInt(r.last, 36))
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, err
	}
	if err := r.mountLayer(layer, path); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	m := &mapped{path: path}
	r.mapped[layer] = m
	return m, nil
}

func (r *rootfs) mountLayer(layer, path string) error {
	if r.plain {
		return unix.Mount(layer, path, "", unix.MS_BIND, "")
	}
	return mount.IDMapMount(layer, path, int(r.userns.Fd()))
}

// forgetLayers undoes mapLayers. Overlays that stand on the mounts have clones of
// their own; one that is made too late fails for want of the directory.
func (r *rootfs) forgetLayers(layers []string) error {
	if r.shifted || r.jail != nil {
		return nil // unsee does, or there is nothing to undo
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forget(layers)
}

func (r *rootfs) forget(layers []string) error {
	var errs []error
	for _, layer := range layers {
		m, ok := r.mapped[layer]
		if !ok {
			continue
		}
		if m.users--; m.users > 0 {
			continue
		}
		delete(r.mapped, layer)
		errs = append(errs, detach(m.path), os.Remove(m.path))
	}
	return errors.Join(errs...)
}

// overlay describes the root filesystem of the container id: scratch above
// layers, topmost first, already mapped. It makes the scratch directories.
// Devices among an image's files are not usable: /dev has what there is.
//
// With bare the scratch directory can be read afterwards: its files are whole and
// where they seem to be. It is of use only while this process lives, so nothing in
// it has to get to the disk: what packages do with fsync is most of their time.
func (r *rootfs) overlay(id string, layers []string, bare bool) (mount.Mount, error) {
	dir := r.scratchOf(id)
	upper, work := r.upperOf(id), filepath.Join(dir, "w")
	for _, d := range []string{dir, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return mount.Mount{}, fmt.Errorf("making the scratch layer of %q: %w", id, err)
		}
	}
	// The root directory's owner and mode are those of the topmost directory.
	if err := copyAttributes(layers, ".", upper); err != nil {
		return mount.Mount{}, fmt.Errorf("making the scratch layer of %q: %w", id, err)
	}
	options := append([]string{"nodev", "index=off"}, overlayNotes()...)
	if bare {
		options = append(options, "volatile")
		if !r.plain { // else it is so, and must not be said
			options = append(options, "redirect_dir=off", "metacopy=off")
		}
	}
	options = append(options, "workdir="+work, "upperdir="+upper, "lowerdir="+strings.Join(layers, ":"))
	return mount.Mount{Type: "overlay", Source: "overlay", Options: options}, nil
}

func (r *rootfs) scratchOf(id string) string { return filepath.Join(r.scratch, id) }
func (r *rootfs) upperOf(id string) string   { return filepath.Join(r.scratchOf(id), "u") }

// copyAttributes gives dir the owner and mode that name has in the first layer
// that has it. A layer seen through its mapped mount shows mapped owners.
func copyAttributes(layers []string, name, dir string) error {
	for _, layer := range layers {
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(layer, name), &st)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "lstat", Path: filepath.Join(layer, name), Err: err}
		}
		if err := os.Lchown(dir, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return unix.Chmod(dir, st.Mode&0o7777)
	}
	return nil
}

// close takes all mounts away.
func (r *rootfs) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, m := range r.mapped {
		errs = append(errs, detach(m.path))
	}
	clear(r.mapped)
	if r.userns != nil {
		errs = append(errs, r.userns.Close())
	}
	return errors.Join(errs...)
}

// detach unmounts path now, or, where it is busy, as soon as it is not.
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmounting %q: %w", path, err)
	}
	return nil
}
