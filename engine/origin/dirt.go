package origin

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"plumb/store"
)

// What differs from the commit has a digest: of each path that git names, what the commit
// has there and what lies there, by content, whether it is tracked or not. So two states
// are the same for whoever reads the files, or have different digests; what is staged
// makes no difference.
//
// It is not made of git's patch: for a tracked file of 150 MB that took 10 s and 900 MB,
// to compress and encode what is hashed here in half a second.
//
// A run does not wait long for it. Where more differs than is looked at, there is no
// digest, and the record says so: one of a part would be the same for different states.

// bounds are how much of a work tree is looked at.
type bounds struct {
	files int
	bytes int64
}

var usual = bounds{files: 20_000, bytes: 256 << 20}

// errCut is why not all of what differs was looked at.
type errCut string

func (e errCut) Error() string { return string(e) }

// Contents gives the digest of a file's content by what is remembered of it, and an error
// where nothing is. The path is absolute, without symlinks.
type Contents func(ctx context.Context, path string) (store.Digest, error)

// diffOf is the digest of what differs below the directory that l is of, which git's status
// names in lines; or why there is none.
func (b bounds) diffOf(ctx context.Context, l look, lines []string) (d store.Digest, cut string) {
	if real, err := filepath.EvalSymlinks(l.dir); err == nil { // as git names what is in it
		l.dir = real
	}
	l.ctx, l.top, l.bounds, l.left, l.sum = ctx, topOf(l.dir), b, b.bytes, sha256.New()
	committed, err := l.changed(lines)
	if err == nil {
		err = l.all(committed)
	}
	var known errCut
	switch {
	case err == nil:
		return store.Digest(l.sum.Sum(nil)), ""
	case ctx.Err() != nil:
		return d, fmt.Sprintf("not all of it was looked at in %v", gitTime)
	case errors.As(err, &known):
		return d, known.Error()
	}
	return d, "not all of it could be read: " + err.Error()
}

// look goes through what differs.
type look struct {
	ctx    context.Context
	top    string // of the work tree, by which paths are named
	dir    string
	known  Contents
	bounds bounds
	left   int64 // bytes
	sum    hash.Hash
}

// changed gives the paths that differ, with what the commit has there, "" for nothing.
func (l *look) changed(lines []string) (committed map[string]string, err error) {
	committed = map[string]string{}
	folders := false
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "1": // XY sub mH mI mW hH hI path
			if f := strings.SplitN(rest, " ", 8); len(f) == 8 {
				committed[f[7]] = inCommit(f[2], f[5])
			}
		case "u": // XY sub m1 m2 m3 mW h1 h2 h3 path; the second is ours
			if f := strings.SplitN(rest, " ", 10); len(f) == 10 {
				committed[f[9]] = inCommit(f[3], f[7])
			}
		case "?":
			if folders = folders || strings.HasSuffix(rest, "/"); !strings.HasSuffix(rest, "/") {
				committed[rest] = ""
			}
		default:
			return nil, errCut("git tells of it in a form that is not known here")
		}
	}
	if folders {
		err = l.untracked(committed)
	}
	if err == nil && len(committed) > l.bounds.files {
		err = l.tooMany()
	}
	return committed, err
}

// inCommit is what the commit has at a path, "" for nothing.
func inCommit(mode, id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return mode + " " + id
}

func (l *look) tooMany() error {
	return errCut(fmt.Sprintf("more than %d files differ", l.bounds.files))
}

func (l *look) tooMuch() error {
	return errCut(fmt.Sprintf("more than %d MiB differ", l.bounds.bytes>>20))
}

// untracked adds what lies in directories of which git tracks nothing and ignores not all.
func (l *look) untracked(committed map[string]string) (err error) {
	below, err := filepath.Rel(l.top, l.dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	cmd := command(ctx, l.dir, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	in := bufio.NewReader(out)
	for {
		name, err := in.ReadString(0)
		if err != nil {
			break // Wait says whether that was all
		}
		if committed[filepath.Join(below, strings.TrimSuffix(name, "\x00"))] = ""; len(committed) > l.bounds.files {
			cancel()
			cmd.Wait() //nolint:errcheck // it was ended
			return l.tooMany()
		}
	}
	return cmd.Wait()
}

// all hashes what lies at the paths.
func (l *look) all(committed map[string]string) error {
	for _, path := range slices.Sorted(maps.Keys(committed)) {
		there, err := l.lies(filepath.Join(l.top, path))
		if err != nil {
			return err
		}
		fmt.Fprintf(l.sum, "%q %q %q\n", path, committed[path], there)
	}
	return nil
}

// lies says what is at a place of the work tree.
func (l *look) lies(name string) (string, error) {
	fi, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return "nothing", nil
	case err != nil:
		return "", err
	case fi.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(name)
		return "link " + to, err
	case fi.IsDir(): // a submodule, or another repository
		return l.repository(name)
	case !fi.Mode().IsRegular():
		return fi.Mode().String(), nil
	case fi.Size() > l.left:
		return "", l.tooMuch()
	}
	content, err := l.content(name, fi.Size())
	return fmt.Sprintf("file %t %s", fi.Mode()&0o100 != 0, content), err
}

func (l *look) repository(name string) (string, error) {
	g := Git(l.ctx, name, l.known)
	switch {
	case g == nil || !g.Checked:
		return "", errCut("it has a repository in it of which git tells nothing")
	case g.Cut != "":
		return "", errCut(g.Cut)
	}
	return fmt.Sprintf("repository %s %s", g.Commit, g.Diff), nil
}

func (l *look) content(name string, size int64) (store.Digest, error) {
	if l.known != nil {
		if d, err := l.known(l.ctx, name); err == nil {
			l.left -= size
			return d, nil
		}
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return store.Digest{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(&reading{l.ctx, f}, l.left+1)) // it may grow
	if l.left -= n; l.left < 0 {
		return store.Digest{}, l.tooMuch()
	}
	return store.Digest(sum.Sum(nil)), err
}

// reading ends when its context does.
type reading struct {
	ctx context.Context
	r   io.Reader
}

func (r *reading) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
