package toolbox

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func (a *archiver) read() error {
	in, err := a.c.open(a.o.value("f", "-"))
	if err != nil {
		return err
	}
	defer in.Close() // was only read
	for _, d := range a.o.values("C") {
		a.dir = a.within(d)
	}
	b := bufio.NewReaderSize(in, bufferSize)
	var src io.Reader = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		src = z
	} else if a.o.has("z") {
		return errors.New("the archive is not gzip's")
	}
	a.names = a.o.values("")
	if a.o.has("x") && !a.o.has("O") {
		dir := a.c.path(a.within("."))
		if a.root, err = os.OpenRoot(dir); err != nil {
			return err
		}
		defer a.root.Close() // was only a way to files
	}
	r := tar.NewReader(src)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		if err := a.one(r, h); err != nil {
			return err
		}
	}
	if err := a.finish(); err != nil {
		return err
	}
	for _, n := range a.names {
		if !a.found[n] {
			a.c.say(fmt.Errorf("%s: not found in archive", n))
			a.c.status = 2
		}
	}
	return nil
}

func (a *archiver) one(r io.Reader, h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader || a.excluded(strings.TrimSuffix(h.Name, "/")) || !a.asked(h.Name) {
		return nil
	}
	shown := h.Name
	if a.o.has("v") && a.o.has("t") {
		shown = a.longLine(h)
	}
	switch {
	case a.o.has("t"):
		_, err := fmt.Fprintln(a.c.out(), shown)
		return err
	case a.o.has("v"):
		fmt.Fprintln(a.listing, shown)
	}
	if a.o.has("O") {
		if h.Typeflag == tar.TypeReg {
			_, err := io.Copy(a.c.out(), r)
			return err
		}
		return nil
	}
	if err := a.extract(r, h); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		return a.c.warn(fmt.Errorf("%s: %w", h.Name, plainest(err)))
	}
	return nil
}

// plainest is the reason of a file's error.
func plainest(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// asked says whether a member is one of the operands or below one.
func (a *archiver) asked(name string) bool {
	if len(a.names) == 0 {
		return true
	}
	name = strings.TrimSuffix(name, "/")
	ok := false
	for _, n := range a.names {
		t := strings.TrimSuffix(n, "/")
		if name == t || strings.HasPrefix(name, t+"/") {
			a.found[n], ok = true, true
		}
	}
	return ok
}

func (a *archiver) longLine(h *tar.Header) string {
	kind := map[byte]string{tar.TypeDir: "d", tar.TypeSymlink: "l", tar.TypeLink: "h", tar.TypeFifo: "p", tar.TypeChar: "c", tar.TypeBlock: "b"}[h.Typeflag]
	if kind == "" {
		kind = "-"
	}
	owner, group := h.Uname, h.Gname
	if owner == "" || a.o.has("numeric-owner") {
		owner = strconv.Itoa(h.Uid)
	}
	if group == "" || a.o.has("numeric-owner") {
		group = strconv.Itoa(h.Gid)
	}
	name := h.Name
	switch h.Typeflag {
	case tar.TypeSymlink:
		name += " -> " + h.Linkname
	case tar.TypeLink:
		name += " link to " + h.Linkname
	}
	length := strconv.FormatInt(h.Size, 10)
	who := owner + "/" + group
	return fmt.Sprintf("%s%s %s %*s %s %s", kind, modeText(uint32(h.Mode & 0o7777))[1:], who, max(18-len(who), len(length)), length, h.ModTime.In(a.c.zone()).Format("2006-01-02 15:04"), name)
}

// extract makes a member. The root keeps it in the directory.
func (a *archiver) extract(r io.Reader, h *tar.Header) error {
	name := path.Clean(memberName(h.Name))
	if a.strip > 0 {
		parts := strings.Split(name, "/")
		if len(parts) <= a.strip {
			return nil
		}
		name = strings.Join(parts[a.strip:], "/")
	}
	name = strings.TrimLeft(name, "/")
	if name == "." || name == "" {
		name = "."
	}
	if dir := path.Dir(name); dir != "." {
		if err := a.root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		if err := a.root.Mkdir(name, 0o777); err != nil && !(errors.Is(err, fs.ErrExist) && a.isDir(name)) {
			return err
		}
		later := *h
		later.Name = name
		a.dirs = append(a.dirs, &later)
		return nil
	}
	if there, err := a.root.Lstat(name); err == nil {
		if a.o.has("k") {
			return fs.ErrExist
		}
		if there.IsDir() {
			return syscall.EISDIR
		}
		if err := a.root.Remove(name); err != nil {
			return err
		}
	}
	if err := a.make(r, h, name); err != nil {
		return err
	}
	return a.dress(name, h)
}

func (a *archiver) isDir(name string) bool {
	info, err := a.root.Stat(name)
	return err == nil && info.IsDir()
}

func (a *archiver) make(r io.Reader, h *tar.Header, name string) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		f, err := a.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode&0o777))
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink:
		return a.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target := path.Clean(memberName(h.Linkname))
		if a.strip > 0 {
			parts := strings.Split(target, "/")
			target = strings.Join(parts[min(a.strip, len(parts)-1):], "/")
		}
		return a.root.Link(target, name)
	case tar.TypeFifo:
		parent, err := a.root.OpenRoot(path.Dir(name))
		if err != nil {
			return err
		}
		defer parent.Close() // was only a way to the file
		dir, err := parent.Open(".")
		if err != nil {
			return err
		}
		defer dir.Close() // as above
		return unix.Mkfifoat(int(dir.Fd()), path.Base(name), uint32(h.Mode&0o777))
	}
	return fmt.Errorf("members of type %q are not supported", string(h.Typeflag))
}

// dress gives a member its mode, owner and time.
func (a *archiver) dress(name string, h *tar.Header) error {
	if h.Typeflag == tar.TypeLink {
		return nil
	}
	root := os.Geteuid() == 0
	if (root || a.o.has("same-owner")) && !a.o.has("o") {
		if err := a.root.Lchown(name, h.Uid, h.Gid); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) {
			return err
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	mode := h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if !a.o.has("p") && (!root || a.o.has("no-same-permissions")) {
		mode = mode.Perm() &^ fs.FileMode(umask())
	}
	if err := a.root.Chmod(name, mode); err != nil {
		return err
	}
	if a.o.has("m") {
		return nil
	}
	return a.root.Chtimes(name, h.ModTime, h.ModTime)
}

// finish dresses directories, the inner ones first: a time that was set before
// would be lost again, and a mode may forbid writing.
func (a *archiver) finish() error {
	for _, h := range slices.Backward(a.dirs) {
		if err := a.dress(h.Name, h); err != nil {
			if err := a.c.warn(fmt.Errorf("%s: %w", h.Name, plainest(err))); err != nil {
				return err
			}
		}
	}
	return nil
}
