package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"plumb/store"
	"plumb/store/tree"
)

// A directory comes back with the links in it. What the run read by a path through such a
// link is not in that directory but where the link leads, and is restored there.

// throughLinks gives what lies behind links of the run's directories the paths that it has.
// Files are ordered: what lies in a directory comes after it.
func (r *restoring) throughLinks() error {
	links := map[string]string{}
	for i := range r.doc.Files {
		f := &r.doc.Files[i]
		if f.Kind != store.KindTree || i+1 == len(r.doc.Files) || !strings.HasPrefix(r.doc.Files[i+1].Path, f.Path+"/") {
			continue
		}
		entries, err := tree.ReadManifest(r.e.store, f.Artifact)
		if err != nil {
			continue // it is not there, which complete tells
		}
		for _, e := range entries {
			if e.Kind == tree.KindLink {
				links[path.Join(f.Path, e.Path)] = e.Link
			}
		}
	}
	if len(links) == 0 {
		return nil
	}
	for i := range r.doc.Files {
		f := &r.doc.Files[i]
		at, err := followed(f.Path, links)
		if err != nil {
			return &Error{Kind: Machine, Message: fmt.Sprintf("run %s is damaged, and nothing was written: %s %q: %v", r.run.ID, f.Role, f.Path, err), Hint: "plumb fsck tells more"}
		}
		f.Path = at
	}
	r.doc.Files = ordered(r.doc.Files)
	return nil
}

// followed is where a path leads that may go through links of a project. None leaves it:
// what does is not taken into the store.
func followed(name string, links map[string]string) (string, error) {
	const often = 40
	for range often {
		dirs := above(name)
		n := slices.IndexFunc(dirs, func(dir string) bool { return links[dir] != "" })
		if n < 0 {
			return name, nil
		}
		dir, to := dirs[n], links[dirs[n]]
		name = path.Join(path.Dir(dir), to, strings.TrimPrefix(name, dir))
		if path.IsAbs(to) || !store.InProject(name, store.KindFile) {
			return "", fmt.Errorf("the link %q leaves the project, to %q", dir, to)
		}
	}
	return "", errors.New("its links lead in a circle")
}

// plain makes sure that no link is on the way to what is made below top; known are the
// directories that are known to be none.
func plain(top, name string, known map[string]bool) error {
	for _, dir := range above(name) {
		if known[dir] {
			continue
		}
		info, err := os.Lstat(filepath.Join(top, filepath.FromSlash(dir)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if known[dir] = info.IsDir(); !known[dir] {
			return fmt.Errorf("%q is no directory, and %q lies in it", dir, name)
		}
	}
	return nil
}
