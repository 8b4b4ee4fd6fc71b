package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/origin"
	"plumb/hcl"
)

// Restoring in place is for a work tree in which everything is committed: then git has
// what is replaced. What git ignores it has not, and what it is told not to look at it may
// not have as it is; that is replaced only when the store has it. Everything is made
// beside, in the project, and then changes places path by path; when one cannot, those
// that did change back.

// cleanTree refuses a project in which something would be lost.
func (r *restoring) cleanTree() error {
	changes, err := origin.Changes(r.ctx, r.req.Dir)
	if err != nil {
		return invalid("restore into a new directory: plumb restore RUN DIR", "--in-place needs a git work tree that is clean: %v", err)
	}
	if len(changes) == 0 {
		return nil
	}
	const most = 20
	list := changes
	if len(list) > most {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(changes)-most))
	}
	return invalid("commit or stash them, or restore into a new directory", "--in-place would lose what git does not have:\n  %s", strings.Join(list, "\n  "))
}

// inPlace replaces what of the project the run knew.
func (r *restoring) inPlace() error {
	dir := r.req.Dir
	if err := r.obstructed(); err != nil {
		return err
	}
	if err := r.unseen(); err != nil {
		return err
	}
	return r.exchanged(dir, func(_ string, x *exchange) error {
		for _, f := range r.tops() {
			if err := x.put(f); err != nil {
				return err
			}
		}
		for _, name := range r.doc.Removed {
			if err := x.away(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// exchanged makes everything in a directory of its own in dir, which fn is told, and then has
// fn exchange it for what is there.
func (r *restoring) exchanged(dir string, fn func(made string, x *exchange) error) (err error) {
	tmp, done, err := beginRestore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	made := filepath.Join(tmp, "new")
	if err := r.write(made); err != nil {
		return err
	}
	return exchanging(dir, tmp, func(x *exchange) error { return fn(made, x) })
}

// into fills a directory that is there, and empty. It may be where a shell stands, where a
// file system is mounted, or have a mode that somebody chose, so it is not replaced. All is
// made in it first, below a name that a later restore takes for nothing; then it changes
// places, the pipeline last: what is left of a restore that is killed in that moment is no
// project.
func (r *restoring) into() error {
	return r.exchanged(r.req.To, func(made string, x *exchange) error {
		entries, err := os.ReadDir(made)
		if err != nil {
			return err
		}
		slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
			return cmp.Compare(strings.Count(a.Name(), hcl.MainFile), strings.Count(b.Name(), hcl.MainFile))
		})
		for _, e := range entries {
			if err := x.add(e.Name()); err != nil {
				return err
			}
		}
		return nil
	})
}

// tops lists the paths that are not in another one.
func (r *restoring) tops() []string {
	var out []string
	for _, f := range r.doc.Files {
		if n := len(out); n == 0 || !strings.HasPrefix(f.Path, out[n-1]+"/") {
			out = append(out, f.Path)
		}
	}
	if r.args != nil {
		out = append(out, r.at)
	}
	return out
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// unseen refuses to replace what git status says nothing of and the store does not have.
func (r *restoring) unseen() error {
	paths := append(r.tops(), r.doc.Removed...)
	for _, kind := range []struct {
		list func(context.Context, string, []string) ([]string, error)
		are  string
	}{
		{origin.Ignored, "files that git ignores"},
		{origin.Hidden, "files that git is told not to look at (skip-worktree, assume-unchanged)"},
		{origin.Repositories, "repositories that git knows one commit of"},
	} {
		files, err := kind.list(r.ctx, r.req.Dir, paths)
		if err != nil {
			return err
		}
		only, err := r.notKept(files)
		if err != nil {
			return err
		}
		if len(only) > 0 {
			return invalid("move them away, or restore into a new directory", "--in-place would replace %s and the store does not have:\n  %s", kind.are, strings.Join(only, "\n  "))
		}
	}
	return nil
}

// notKept lists those of files of the project that the store does not have, or some.
func (r *restoring) notKept(files []string) ([]string, error) {
	sc, err := r.e.scanners.of(r.e.store, r.req.Dir)
	if err != nil {
		return nil, err
	}
	var only []string
	for _, f := range files {
		if !there(filepath.Join(r.req.Dir, filepath.FromSlash(f))) {
			continue
		}
		a, err := sc.Scan(r.ctx, f)
		if err != nil || r.e.store.Check(a) != nil {
			only = append(only, f)
		}
	}
	const most = 20
	if n := len(only); n > most {
		only = append(only[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return only, nil
}

// danglingAt refuses a path that cannot be made, as it leads through a link to nowhere.
func danglingAt(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		if !there(at) && at != filepath.Dir(at) {
			continue
		}
		to, err := os.Readlink(at)
		if _, serr := os.Stat(at); err == nil && errors.Is(serr, fs.ErrNotExist) {
			return invalid("name a directory, or what the link should lead to", "%q cannot be restored into: %q is a link to %q, and that is not there", path, at, to)
		}
		return nil
	}
}
