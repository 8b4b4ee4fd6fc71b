package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// What a bare container has changed is in its scratch layer, in overlayfs's words:
// a device 0:0 hides a name, an attribute on a directory hides all that the image has
// in it. The layer is mounted so that there are no other words (rootfs.overlay), and
// its files are whole. What was only opened for writing, or changed and changed back,
// was copied there all the same, so each file is held against the image's.

// errNotEnded is for a container that may still change something.
var errNotEnded = errors.New("it has not ended")

// changes reads the scratch layer of a container.
func (c *container) changes(ctx context.Context, fn runtime.Change) (err error) {
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	switch {
	case !c.bare:
		return errors.New("it is not a bare one")
	case gone:
		return errors.New("it is deleted")
	}
	select {
	case <-c.task.ended():
	default:
		return errNotEnded
	}
	view, done, err := look(c.img.layers, c.r.rootfs.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	d := &difference{
		ctx: ctx, upper: c.r.rootfs.upperOf(c.id), view: view, fn: fn,
		base: c.r.opts.BaseID, ids: c.r.opts.IDs, first: map[uint64]string{},
	}
	if c.r.jail != nil {
		d.copied = &c.copied
	}
	return d.all()
}

// difference is one walk through a scratch layer.
type difference struct {
	ctx       context.Context
	upper     string
	view      string // the image, with its own ids
	base, ids uint32
	fn        runtime.Change
	first     map[uint64]string // of the names of one file, by inode
	copied    *unix.Timespec    // upper is all of a copy, made by then; nil for a scratch layer
}

// changed is a name in the scratch layer and what the image has there, nil for
// nothing.
type changed struct {
	name string
	now  unix.Stat_t
	was  *unix.Stat_t
}

func (d *difference) all() error {
	root, err := d.compare(".", true)
	if err != nil {
		return err
	}
	if root.was != nil && d.differs(root) {
		if err := d.emit(root, tar.TypeDir, "./"); err != nil {
			return err
		}
	}
	return d.inside(".", root.was != nil)
}

// inside goes through a directory. merged says that the image's directory of that
// name shows through: only then is the image asked, so no path that it is asked for
// leads through a link.
func (d *difference) inside(dir string, merged bool) error {
	if d.copied != nil && (dir == "dev" || dir == "proc" || dir == "sys") {
		return nil // what is in them is not the image's
	}
	names, err := d.names(dir, merged)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		c, err := d.compare(path.Join(dir, name), merged)
		if d.copied != nil && errors.Is(err, os.ErrNotExist) {
			if err := d.mark(path.Join(dir, ".wh."+name)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := d.entry(c); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory, sorted; of a copy also what is gone from it.
func (d *difference) names(dir string, merged bool) ([]string, error) {
	var all []string
	from := []string{d.upper}
	if d.copied != nil && merged {
		from = append(from, d.view)
	}
	for _, at := range from {
		entries, err := os.ReadDir(filepath.Join(at, dir))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// untouched says of a file of a copy that nothing was done to it since.
func (d *difference) untouched(c changed) bool {
	return d.copied != nil && c.was != nil && c.now.Mode == c.was.Mode &&
		(c.now.Ctim.Sec < d.copied.Sec || c.now.Ctim.Sec == d.copied.Sec && c.now.Ctim.Nsec < d.copied.Nsec)
}

func (d *difference) compare(name string, merged bool) (changed, error) {
	c := changed{name: name}
	file := filepath.Join(d.upper, name)
	if err := unix.Lstat(file, &c.now); err != nil {
		return c, &os.PathError{Op: "lstat", Path: file, Err: err}
	}
	if !merged {
		return c, nil
	}
	var was unix.Stat_t
	file = filepath.Join(d.view, name)
	switch err := unix.Lstat(file, &was); err {
	case nil:
		c.was = &was
	case unix.ENOENT:
	default:
		return c, &os.PathError{Op: "lstat", Path: file, Err: err}
	}
	return c, nil
}

func (d *difference) entry(c changed) error {
	kind := c.now.Mode & unix.S_IFMT
	switch {
	case kind == unix.S_IFSOCK, kind == unix.S_IFCHR && c.now.Rdev == 0:
		if c.was == nil {
			return nil
		}
		return d.mark(path.Join(path.Dir(c.name), ".wh."+path.Base(c.name)))
	case strings.HasPrefix(path.Base(c.name), ".wh."):
		return fmt.Errorf("a layer cannot have the name %q", c.name)
	case kind == unix.S_IFDIR:
		return d.directory(c)
	}
	if d.untouched(c) {
		return nil
	}
	// Of several names one is new at least, and to have it needs the others.
	if c.now.Nlink > 1 {
		if _, ok := d.first[c.now.Ino]; ok {
			return d.emit(c, tar.TypeLink, c.name)
		}
		d.first[c.now.Ino] = c.name
	} else if same, err := d.same(c); err != nil || same {
		return err
	}
	switch kind {
	case unix.S_IFREG:
		return d.emit(c, tar.TypeReg, c.name)
	case unix.S_IFLNK:
		return d.emit(c, tar.TypeSymlink, c.name)
	case unix.S_IFIFO:
		return d.emit(c, tar.TypeFifo, c.name)
	}
	return fmt.Errorf("%q is a device", c.name)
}

func (d *difference) directory(c changed) error {
	was := c.was != nil && c.was.Mode&unix.S_IFMT == unix.S_IFDIR
	anew := isOpaque(filepath.Join(d.upper, c.name))
	if !was || anew || d.differs(c) {
		if err := d.emit(c, tar.TypeDir, c.name+"/"); err != nil {
			return err
		}
	}
	if was && anew {
		if err := d.mark(c.name + "/.wh..wh..opq"); err != nil {
			return err
		}
	}
	return d.inside(c.name, was && !anew)
}

// differs compares kind, mode and owner.
func (d *difference) differs(c changed) bool {
	return c.now.Mode != c.was.Mode || c.now.Uid != d.base+c.was.Uid || c.now.Gid != d.base+c.was.Gid
}

// same says whether what is no directory is as the image has it.
func (d *difference) same(c changed) (bool, error) {
	if c.was == nil || d.differs(c) || c.now.Mtim != c.was.Mtim || c.now.Size != c.was.Size {
		return false, nil
	}
	now, was := filepath.Join(d.upper, c.name), filepath.Join(d.view, c.name)
	switch c.now.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		to, err := os.Readlink(now)
		if err != nil {
			return false, err
		}
		before, err := os.Readlink(was)
		return to == before, err
	case unix.S_IFREG:
		caps, err := d.capability(now)
		if err != nil {
			return false, err
		}
		before, err := xattr(was, capabilityAttr)
		if err != nil || !bytes.Equal(caps, before) {
			return false, err
		}
		return sameContent(now, was)
	}
	return true, nil
}

// sameContent compares two files of one size.
func sameContent(a, b string) (same bool, err error) {
	left, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer left.Close()
	right, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer right.Close()
	bufs := [2][]byte{make([]byte, 64<<10), make([]byte, 64<<10)}
	for {
		n, err := io.ReadFull(left, bufs[0])
		m, err2 := io.ReadFull(right, bufs[1])
		if !bytes.Equal(bufs[0][:n], bufs[1][:m]) {
			return false, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return true, nil
		}
		if err := errors.Join(err, err2); err != nil {
			return false, err
		}
	}
}

// mark emits an empty file that says something of others.
func (d *difference) mark(name string) error {
	return d.fn(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, ModTime: time.Unix(0, 0)}, strings.NewReader(""))
}

// emit tells of one name.
func (d *difference) emit(c changed, kind byte, name string) error {
	h := &tar.Header{Typeflag: kind, Name: name, Mode: int64(c.now.Mode & 0o7777), ModTime: time.Unix(c.now.Mtim.Sec, 0)}
	for _, id := range []struct {
		host uint32
		to   *int
	}{{c.now.Uid, &h.Uid}, {c.now.Gid, &h.Gid}} {
		if id.host < d.base || id.host-d.base >= d.ids {
			return fmt.Errorf("%q belongs to %d, which is no id of a container", c.name, id.host)
		}
		*id.to = int(id.host - d.base)
	}
	file := filepath.Join(d.upper, c.name)
	switch kind {
	case tar.TypeReg:
		return d.regular(h, file, c.now.Size)
	case tar.TypeLink:
		h.Linkname = d.first[c.now.Ino]
	case tar.TypeSymlink:
		var err error
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
	}
	return d.fn(h, strings.NewReader(""))
}

func (d *difference) regular(h *tar.Header, file string, size int64) error {
	h.Size = size
	caps, err := d.capability(file)
	if err != nil {
		return err
	}
	if caps != nil {
		h.PAXRecords = map[string]string{"SCHILY.xattr." + capabilityAttr: string(caps)}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.fn(h, io.LimitReader(f, size))
}

// capabilityAttr is the only extended attribute that layers have.
const capabilityAttr = "security.capability"

// The two forms of it: the second is for the root of one user namespace, whose id
// follows.
const (
	capabilityAny   = 2 << 24
	capabilityOfOne = 3 << 24
)

// capability is a file's attribute as the image says it: what is for the container's
// root is for any.
func (d *difference) capability(file string) ([]byte, error) {
	value, err := xattr(file, capabilityAttr)
	if err != nil || len(value) != 24 {
		return value, err
	}
	magic, root := binary.LittleEndian.Uint32(value), binary.LittleEndian.Uint32(value[20:])
	if magic&0xff000000 == capabilityOfOne && root == d.base {
		binary.LittleEndian.PutUint32(value, magic&0x00ffffff|capabilityAny)
		value = value[:20]
	}
	return value, nil
}

// xattr answers nil for an attribute that is not there.
func xattr(file, name string) ([]byte, error) {
	value := make([]byte, 256)
	n, err := unix.Lgetxattr(file, name, value)
	if err == unix.ENODATA || err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "getxattr", Path: file, Err: err}
	}
	return value[:n], nil
}
