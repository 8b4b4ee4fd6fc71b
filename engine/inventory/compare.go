package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CompareFiles lists the paths that differ from tree a to tree b, sorted. Both are
// walked side by side; contents are read only where sizes are equal. Times are no
// difference, links are not followed.
func CompareFiles(ctx context.Context, a, b string) ([]FileChange, error) {
	c := &comparison{ctx: ctx, a: a, b: b, bufA: make([]byte, 256<<10), bufB: make([]byte, 256<<10), changes: []FileChange{}}
	if err := c.dir("."); err != nil {
		return nil, err
	}
	slices.SortFunc(c.changes, func(x, y FileChange) int { return strings.Compare(x.Path, y.Path) })
	return c.changes, nil
}

type comparison struct {
	ctx        context.Context
	a, b       string
	bufA, bufB []byte
	changes    []FileChange
}

func (c *comparison) add(change, path, detail string) {
	c.changes = append(c.changes, FileChange{change, path, detail})
}

func (c *comparison) dir(dir string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	inA, err := names(filepath.Join(c.a, dir))
	if err != nil {
		return err
	}
	inB, err := names(filepath.Join(c.b, dir))
	if err != nil {
		return err
	}
	for len(inA) > 0 || len(inB) > 0 {
		switch {
		case len(inB) == 0 || len(inA) > 0 && inA[0] < inB[0]:
			c.add("removed", filepath.Join(dir, inA[0]), "")
			inA = inA[1:]
		case len(inA) == 0 || inB[0] < inA[0]:
			c.add("added", filepath.Join(dir, inB[0]), "")
			inB = inB[1:]
		default:
			if err := c.entry(filepath.Join(dir, inA[0])); err != nil {
				return err
			}
			inA, inB = inA[1:], inB[1:]
		}
	}
	return nil
}

func names(dir string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	all, err := f.Readdirnames(-1)
	slices.Sort(all)
	return all, errors.Join(err, f.Close())
}

func (c *comparison) entry(name string) error {
	var a, b unix.Stat_t
	full := [2]string{filepath.Join(c.a, name), filepath.Join(c.b, name)}
	for i, st := range []*unix.Stat_t{&a, &b} {
		if err := unix.Lstat(full[i], st); err != nil {
			return &os.PathError{Op: "lstat", Path: full[i], Err: err}
		}
	}
	kind := a.Mode & unix.S_IFMT
	if kind != b.Mode&unix.S_IFMT {
		c.add("changed", name, kindOf(a.Mode)+" → "+kindOf(b.Mode))
		return nil
	}
	var details []string
	if a.Mode != b.Mode && kind != unix.S_IFLNK {
		details = append(details, fmt.Sprintf("mode %04o → %04o", a.Mode&0o7777, b.Mode&0o7777))
	}
	if a.Uid != b.Uid || a.Gid != b.Gid {
		details = append(details, fmt.Sprintf("owner %d:%d → %d:%d", a.Uid, a.Gid, b.Uid, b.Gid))
	}
	what, err := c.content(full, kind, &a, &b)
	if err != nil {
		return err
	}
	if what != "" {
		details = append(details, what)
	}
	if what := xattrs(full); what != "" {
		details = append(details, what)
	}
	if len(details) > 0 {
		c.add("changed", name, strings.Join(details, ", "))
	}
	if kind == unix.S_IFDIR {
		return c.dir(name)
	}
	return nil
}

func (c *comparison) content(full [2]string, kind uint32, a, b *unix.Stat_t) (string, error) {
	switch {
	case kind == unix.S_IFLNK:
		x, err := os.Readlink(full[0])
		y, err2 := os.Readlink(full[1])
		if x != y {
			return fmt.Sprintf("link to %s → %s", x, y), errors.Join(err, err2)
		}
		return "", errors.Join(err, err2)
	case (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && a.Rdev != b.Rdev:
		return "device", nil
	case kind != unix.S_IFREG || a.Dev == b.Dev && a.Ino == b.Ino:
		return "", nil
	case a.Size != b.Size:
		return fmt.Sprintf("%d → %d bytes", a.Size, b.Size), nil
	}
	same, err := c.same(full)
	if same || err != nil {
		return "", err
	}
	return "content", nil
}

func (c *comparison) same(full [2]string) (_ bool, err error) {
	var f [2]*os.File
	for i := range f {
		if f[i], err = os.OpenFile(full[i], os.O_RDONLY|unix.O_NOFOLLOW, 0); err != nil {
			return false, err
		}
		defer f[i].Close()
	}
	for {
		n, errA := io.ReadFull(f[0], c.bufA)
		m, errB := io.ReadFull(f[1], c.bufB)
		if !bytes.Equal(c.bufA[:n], c.bufB[:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return true, errors.Join(notEnd(errA), notEnd(errB))
		}
	}
}

func notEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// xattrs says which extended attributes differ. The overlay's own are not the image's.
func xattrs(full [2]string) string {
	var all [2]map[string]string
	for i := range all {
		all[i] = attributesOf(full[i])
	}
	var differ []string
	for name, value := range all[0] {
		if other, ok := all[1][name]; !ok || other != value {
			differ = append(differ, name)
		}
	}
	for name := range all[1] {
		if _, ok := all[0][name]; !ok {
			differ = append(differ, name)
		}
	}
	if len(differ) == 0 {
		return ""
	}
	slices.Sort(differ)
	return "attribute " + strings.Join(differ, ", ")
}

func attributesOf(name string) map[string]string {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(name, buf)
	if err != nil || n == 0 {
		return nil // a file system without them
	}
	out := map[string]string{}
	for _, key := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		if n, err := unix.Lgetxattr(name, key, value); err == nil && !strings.HasPrefix(key, "trusted.overlay.") {
			out[key] = string(value[:n])
		}
	}
	return out
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "link"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}
