package containerd

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// gate looks at each entry of a layer before it is written. Everything is written
// below the layer's directory in any case; the gate refuses what could only be an
// attempt to get out of it, so that an image that lies is not run:
//
//   - a name, or the target of a hard link, that climbs out with ".."
//   - a parent that is a symlink which climbs out, or leads to nothing in the image
//   - a device other than those that every /dev has, and the overlay's own whiteout
//   - more entries than any real layer has
//
// A parent that is a symlink to a directory of the image, as /bin is of /usr/bin in
// a merged Debian, is followed, also when it is in a layer below: the entry belongs
// to where the link leads, or the layer would put a directory in the link's place.
type gate struct {
	root    string
	lower   []string          // topmost first
	layers  []string          // root, then lower
	parents map[string]string // directory as named → where it is
	written map[string]bool   // directories that entries were written into
	own     map[string]bool   // directories with an entry of their own
	entries int
	size    int64       // of all that is written
	limit   *limiter    // nil for none
	top     *tar.Header // the root's own entry
	ids     uint32      // that there are for owners, 0 for all
}

func newGate(root string, lower []string, limit *limiter) *gate {
	return &gate{
		root: root, lower: lower, layers: append([]string{root}, lower...), limit: limit,
		parents: map[string]string{}, written: map[string]bool{}, own: map[string]bool{},
	}
}

// maxLinks is how many symlinks a path may lead through, as in the kernel.
const maxLinks = 40

func (g *gate) check(h *tar.Header) (bool, error) {
	if g.entries++; g.entries > maxEntries {
		return false, refuse("it has more than %d entries", maxEntries)
	}
	g.permit(h)
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	if name == ".." || strings.HasPrefix(name, "../") || strings.Contains(h.Name, "\x00") {
		return false, refuse("its entry %q climbs out of the image", h.Name)
	}
	if name == "." {
		if h.Typeflag == tar.TypeDir {
			g.top = h
		}
		return false, nil
	}
	dir, err := g.parent(path.Dir(name), h.Name)
	if err != nil {
		return false, err
	}
	h.Name = path.Join(dir, path.Base(name))
	g.written[dir] = true
	g.replaced(h)
	if g.size += h.Size; h.Size < 0 || g.size < 0 {
		return false, refuse("its entry %q has the size %d", h.Name, h.Size)
	}
	// Holes are not in the tar, but in what it unpacks to.
	if err := g.limit.allows(g.size); err != nil {
		return false, err
	}
	if h.Typeflag == tar.TypeGNUSparse || h.Typeflag == tar.TypeCont {
		h.Typeflag = tar.TypeReg // its content is read in full, holes too
	}
	switch h.Typeflag {
	case tar.TypeDir:
		g.own[h.Name] = true
	case tar.TypeChar, tar.TypeBlock:
		return true, device(h)
	case tar.TypeLink:
		return true, g.hardLink(h)
	case tar.TypeReg:
		return g.whiteout(h)
	}
	return true, nil
}

// replaced forgets where directories are when one of them may be something else now:
// a link, a file, nothing, or a directory where a link was.
func (g *gate) replaced(h *tar.Header) {
	if h.Typeflag == tar.TypeDir {
		if info, _ := g.find(h.Name); info != nil && !info.IsDir() {
			clear(g.parents)
		}
		return
	}
	if h.Typeflag == tar.TypeReg && !g.written[h.Name] && !g.own[h.Name] && !strings.HasPrefix(path.Base(h.Name), ".wh.") {
		if _, ok := g.parents[h.Name]; !ok {
			return // the usual case: a file where no directory is known
		}
	}
	clear(g.parents)
}

// whiteout leaves one out that names what the same layer has: it would have to be
// an entry of a layer below.
func (g *gate) whiteout(h *tar.Header) (bool, error) {
	hidden, ok := strings.CutPrefix(path.Base(h.Name), ".wh.")
	if !ok || len(g.lower) == 0 || strings.HasPrefix(hidden, ".wh.") {
		return true, nil
	}
	_, err := os.Lstat(filepath.Join(g.root, path.Dir(h.Name), hidden))
	return errors.Is(err, os.ErrNotExist), nil
}

// ordinary are the devices that root file systems made by tools have in /dev. They
// are not usable in a container: its /dev is another, and all else is nodev.
var ordinary = map[string]bool{
	"c1:3": true, "c1:5": true, "c1:7": true, "c1:8": true, "c1:9": true, // null zero full random urandom
	"c5:0": true, "c5:1": true, "c5:2": true, // tty console ptmx
}

func device(h *tar.Header) error {
	kind := "c"
	if h.Typeflag == tar.TypeBlock {
		kind = "b"
	}
	if ordinary[fmt.Sprintf("%s%d:%d", kind, h.Devmajor, h.Devminor)] && strings.HasPrefix(h.Name, "dev/") {
		return nil
	}
	return refuse("its entry %q is a device (%s %d:%d)", h.Name, kind, h.Devmajor, h.Devminor)
}

// parent finds the directory that a name stands for, in the layers as they are so
// far. What is nowhere yet is made by the entry that needs it.
func (g *gate) parent(dir, entry string) (string, error) {
	if dir == "." {
		return dir, nil
	}
	if at, ok := g.parents[dir]; ok {
		return at, nil
	}
	at, err := g.walk(dir, entry)
	if err == nil {
		g.parents[dir] = at
	}
	return at, err
}

func (g *gate) walk(dir, entry string) (string, error) {
	rest := strings.Split(dir, "/")
	at := "."
	through := false // a link
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return "", refuse("its entry %q leads out of the image through a symlink", entry)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, step)
		info, where := g.find(next)
		switch {
		case info == nil && through:
			return "", refuse("its entry %q leads through a symlink to %q, which the image does not have", entry, "/"+next)
		case info == nil || info.IsDir():
			at = next
		case info.Mode()&os.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", refuse("its entry %q leads through more than %d symlinks", entry, maxLinks)
			}
			target, err := os.Readlink(where)
			if err != nil {
				return "", err
			}
			if path.IsAbs(target) {
				at = "."
			}
			through = true
			rest = append(strings.Split(target, "/"), rest...)
		default: // a file stands where a directory has to be: it is replaced, as tar does
			at = next
		}
	}
	return at, nil
}

// find looks a path up in this layer and then in those below.
func (g *gate) find(name string) (os.FileInfo, string) { return findIn(g.layers, name) }

// inside says whether a directory of this layer is one, and all above it are: only
// then does its path lead to nowhere else.
func (g *gate) inside(dir string) bool {
	if dir == "." {
		return true
	}
	info, _ := lookUp(g.root, dir)
	return info != nil && info.IsDir()
}

// hardLink makes sure that a link's target is a file of the image, and in this
// layer: one that is in a layer below is copied up, as the overlay would.
func (g *gate) hardLink(h *tar.Header) error {
	target := path.Clean(strings.TrimLeft(h.Linkname, "/"))
	if target == ".." || strings.HasPrefix(target, "../") || target == "." {
		return refuse("its entry %q is a hard link to %q, outside of the image", h.Name, h.Linkname)
	}
	dir, err := g.parent(path.Dir(target), h.Name)
	if err != nil {
		return err
	}
	target = path.Join(dir, path.Base(target))
	h.Linkname = target
	info, where := g.find(target)
	switch {
	case info == nil:
		return refuse("its entry %q is a hard link to %q, which the image does not have", h.Name, "/"+target)
	case info.IsDir():
		return refuse("its entry %q is a hard link to the directory %q", h.Name, "/"+target)
	case where != filepath.Join(g.root, target):
		if err := g.copyUp(where, target); err != nil {
			return err
		}
	}
	return asTarget(h, filepath.Join(g.root, target))
}

// asTarget takes from a hard link's entry what it says of the file: that has been
// said by the file's own.
func asTarget(h *tar.Header, target string) error {
	var st unix.Stat_t
	if err := unix.Lstat(target, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: target, Err: err}
	}
	h.Mode, h.Uid, h.Gid = int64(st.Mode&0o7777), int(st.Uid), int(st.Gid)
	h.ModTime, h.AccessTime = time.Unix(st.Mtim.Unix()), time.Time{}
	h.PAXRecords = nil
	return nil
}

// copyUp brings a file of a lower layer into this one.
func (g *gate) copyUp(from, name string) (err error) {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	to := filepath.Join(g.root, name)
	if err := g.makeParents(path.Dir(name)); err != nil {
		return err
	}
	if g.size += st.Size; !g.inside(path.Dir(name)) {
		return refuse("there is a hard link to %q, whose directory is none", "/"+name)
	}
	if err := g.limit.allows(g.size); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return refuse("there is a hard link to %q of a layer below, which is no file", "/"+name)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close(), copyXattrs(from, to)); err != nil {
		return err
	}
	return attributes(to, &st)
}

// settle gives a directory of this layer the time that it has in those below.
func (g *gate) settle(dir string) error {
	if !g.inside(dir) {
		return nil // a later entry put something else in its place, or in the way to it
	}
	var at unix.Timespec
	for _, layer := range g.lower {
		info, hides := lookUp(layer, dir)
		if info != nil && info.IsDir() {
			at = unix.NsecToTimespec(info.ModTime().UnixNano())
		}
		if info != nil || hides {
			break
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(g.root, dir), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// makeParents makes directories as they are in the layers below.
func (g *gate) makeParents(dir string) error {
	if dir == "." {
		return nil
	}
	if err := g.makeParents(path.Dir(dir)); err != nil {
		return err
	}
	to := filepath.Join(g.root, dir)
	if !g.inside(path.Dir(dir)) {
		return refuse("the directory %q is none", "/"+path.Dir(dir))
	}
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	info, from := g.find(dir)
	if info == nil || !info.IsDir() {
		return refuse("the directory %q is none", "/"+dir)
	}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	return errors.Join(copyXattrs(from, to), attributes(to, &st))
}

// attributes gives owner, mode and modification time.
func attributes(name string, st *unix.Stat_t) error {
	if err := os.Lchown(name, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(name, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{st.Mtim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyXattrs(from, to string) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, buf)
	if err != nil || n == 0 {
		return ignoreUnsupported(err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, overlayAttrs()) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err := ignoreUnsupported(err); err != nil {
			return err
		}
	}
	return nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// finish gives the root directory what its own entry says, and takes today's time
// from directories that were only written into: they have it from the layers below,
// or none.
func (g *gate) finish() error {
	for dir := range g.written {
		for ; dir != "." && !g.own[dir]; dir = path.Dir(dir) {
			if err := g.settle(dir); err != nil {
				return err
			}
			g.own[dir] = true
		}
	}
	if g.top == nil {
		return nil
	}
	mtime := unix.NsecToTimespec(g.top.ModTime.UnixNano())
	return attributes(g.root, &unix.Stat_t{Uid: uint32(g.top.Uid), Gid: uint32(g.top.Gid), Mode: uint32(g.top.Mode), Mtim: mtime})
}
