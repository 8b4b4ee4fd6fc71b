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
	"path/filepath"
	"strings"
	"time"
)

func (a *archiver) create() error {
	var out io.Writer = a.c.Stdout
	var f *os.File
	name := a.o.value("f", "-")
	if name != "-" {
		var err error
		if f, err = a.c.create(name, os.O_TRUNC); err != nil {
			return err
		}
		out = f
	}
	buffered := bufio.NewWriterSize(out, bufferSize)
	out = buffered
	var z *gzip.Writer
	if a.o.has("z") || a.o.has("a") && (strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".tgz")) {
		z = gzip.NewWriter(buffered)
		out = z
	}
	w := tar.NewWriter(out)
	err := a.members(w)
	errs := []error{err, w.Close()}
	if z != nil {
		errs = append(errs, z.Close())
	}
	errs = append(errs, buffered.Flush())
	if f != nil {
		errs = append(errs, f.Close())
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// append writes over the end marks of an archive.
func (a *archiver) append() error {
	f, err := os.OpenFile(a.c.path(a.o.value("f", "")), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	end := int64(0)
	counter := &counter{r: f}
	r := tar.NewReader(counter)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("reading %q: %w", f.Name(), err), f.Close())
		}
		_ = h
		end = (counter.n + 511) / 512 * 512
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return errors.Join(err, f.Close())
	}
	w := tar.NewWriter(f)
	return errors.Join(a.members(w), w.Close(), f.Close())
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// members writes what the command line names, in its order.
func (a *archiver) members(w *tar.Writer) error {
	some := false
	for _, g := range a.o.given {
		switch g.name {
		case "C":
			a.dir = a.within(g.value)
		case "T":
			some = true
			mark := byte('\n')
			if a.o.has("null") {
				mark = 0
			}
			names, err := a.c.readLines([]string{g.value}, mark)
			if err != nil {
				return err
			}
			for _, n := range names {
				if err := a.add(w, string(n)); err != nil {
					return err
				}
			}
		case "":
			some = true
			if err := a.add(w, g.value); err != nil {
				return err
			}
		}
	}
	if !some {
		return usageError("will not make an empty archive")
	}
	return nil
}

// within is a path below what -C said so far.
func (a *archiver) within(name string) string {
	if filepath.IsAbs(name) || a.dir == "" {
		return name
	}
	return a.dir + "/" + name
}

func (a *archiver) add(w *tar.Writer, name string) error {
	if a.excluded(strings.TrimSuffix(name, "/")) {
		return nil
	}
	at := a.c.path(a.within(name))
	stat := os.Lstat
	if a.o.has("h") {
		stat = os.Stat
	}
	info, err := stat(at)
	if err != nil {
		return a.c.warn(a.c.named(name, err))
	}
	if err := a.member(w, name, at, info); err != nil {
		return err
	}
	if !info.IsDir() || a.o.has("no-recursion") {
		return nil
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return a.c.warn(a.c.named(name, err))
	}
	for _, e := range entries {
		if err := a.add(w, strings.TrimRight(name, "/")+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) member(w *tar.Writer, name, at string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSocket != 0 {
		return a.c.warn(fmt.Errorf("%s: socket ignored", name))
	}
	h, err := a.header(name, at, info)
	if err != nil {
		return a.c.warn(err)
	}
	var f *os.File
	if h.Typeflag == tar.TypeReg {
		if f, err = os.Open(at); err != nil {
			return a.c.warn(a.c.named(name, err))
		}
		defer f.Close() // was only read
	}
	if a.o.has("v") {
		fmt.Fprintln(a.listing, h.Name)
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if f == nil {
		return nil
	}
	n, err := io.CopyN(w, f, h.Size)
	if err == io.EOF { // it shrank; the archive stays readable
		if _, err := io.CopyN(w, zeros{}, h.Size-n); err != nil {
			return err
		}
		return a.c.warn(fmt.Errorf("%s: file shrank while it was read", name))
	}
	return err
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (a *archiver) header(name, at string, info fs.FileInfo) (*tar.Header, error) {
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(at); err != nil {
			return nil, a.c.named(name, err)
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return nil, err
	}
	h.Name = name
	if !a.o.has("P") {
		h.Name = memberName(name)
	}
	if info.IsDir() {
		h.Name = strings.TrimRight(h.Name, "/") + "/"
	}
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.ModTime = h.ModTime.Truncate(time.Second)
	h.Format = tar.FormatGNU
	switch a.o.value("format", "gnu") {
	case "pax", "posix":
		h.Format = tar.FormatPAX
	case "ustar":
		h.Format = tar.FormatUSTAR
	}
	if key, names := identity(info); names > 1 && !info.IsDir() {
		if first, ok := a.seen[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			a.seen[key] = h.Name
		}
	}
	if a.o.has("mtime") && !(a.o.has("clamp-mtime") && h.ModTime.Before(a.mtime)) {
		h.ModTime = a.mtime
	}
	if a.uid >= 0 {
		h.Uid = a.uid
		h.Uname, _ = nameOf("user", a.uid)
	}
	if a.gid >= 0 {
		h.Gid = a.gid
		h.Gname, _ = nameOf("group", a.gid)
	}
	if a.o.has("numeric-owner") || isNumber(h.Uname) {
		h.Uname = ""
	}
	if a.o.has("numeric-owner") || isNumber(h.Gname) {
		h.Gname = ""
	}
	return h, nil
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// memberName is without what would lead out of the directory it is unpacked in.
func memberName(name string) string {
	for strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") {
		name = strings.TrimPrefix(strings.TrimPrefix(name, "/"), "../")
	}
	if i := strings.LastIndex(name, "/../"); i >= 0 {
		name = name[i+4:]
	}
	if name == "" || name == ".." {
		return "./"
	}
	return name
}
