package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// exchange moves paths of a directory away and others into their places, which a restore
// made in a directory of its own, tmp, in that one. What it did it can undo: each path has
// its turn once, and the steps are gone back over from the last to the first. All of it
// is done below one open directory, so that nothing outside is touched, also when somebody
// puts a link on the way meanwhile.
type exchange struct {
	dir   below
	tmp   string
	steps []moved
	had   map[string]bool // paths that had their turn, by what was done
}

// below does what an exchange needs in a directory, and nowhere else: an os.Root.
type below interface {
	Lstat(name string) (fs.FileInfo, error)
	Mkdir(name string, mode fs.FileMode) error
	Remove(name string) error
	Rename(from, to string) error
}

// moved is a path that was moved or, from nowhere, a directory that was made.
type moved struct{ from, to string }

// exchanging does an exchange in a directory as a whole or not at all. When it can neither
// be ended nor undone, what was set aside is kept.
func exchanging(dir, tmp string, do func(*exchange) error) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := newExchange(root, filepath.Base(tmp))
	if err = do(x); err == nil {
		return nil
	}
	undone := x.undo()
	if undone == nil {
		return err
	}
	kept := strings.Replace(x.tmp, restoreTemp, restoreKept, 1) // no later restore removes that
	if kerr := root.Rename(x.tmp, kept); kerr != nil {
		return errors.Join(err, undone, kerr)
	}
	return fmt.Errorf("%w; putting back what was there: %w; what is not back is in %q", err, undone, filepath.Join(dir, kept, "old"))
}

func newExchange(dir below, tmp string) *exchange {
	return &exchange{dir: dir, tmp: tmp, had: map[string]bool{}}
}

// put moves a path to where it belongs, in place of what is there.
func (x *exchange) put(name string) error {
	if err := x.away(name); err != nil {
		return err
	}
	return x.add(name)
}

// add moves a path to where nothing is.
func (x *exchange) add(name string) error {
	if err := x.once("add " + name); err != nil {
		return err
	}
	ok, err := x.there(name)
	if err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("%q: %w", name, fs.ErrExist)
	}
	return x.move(path.Join(x.tmp, "new", name), name, 0o777)
}

// away sets aside what is at a path, if anything is. A link is set aside, and not what it
// leads to.
func (x *exchange) away(name string) error {
	if err := x.once("away " + name); err != nil {
		return err
	}
	if ok, err := x.there(name); !ok || err != nil {
		return err
	}
	return x.move(name, path.Join(x.tmp, "old", name), 0o700)
}

// once refuses a second turn: it would set aside what the first one put there, over what
// was there before.
func (x *exchange) once(turn string) error {
	if x.had[turn] {
		return fmt.Errorf("%s: it had its turn", turn)
	}
	x.had[turn] = true
	return nil
}

func (x *exchange) there(name string) (bool, error) {
	_, err := x.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (x *exchange) move(from, to string, mode fs.FileMode) error {
	if err := x.parents(to, mode); err != nil {
		return err
	}
	if err := x.dir.Rename(from, to); err != nil {
		return err
	}
	x.steps = append(x.steps, moved{from, to})
	return nil
}

// parents makes the directories that a path lies in.
func (x *exchange) parents(name string, mode fs.FileMode) error {
	for _, dir := range above(name) {
		info, err := x.dir.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := x.dir.Mkdir(dir, mode); err != nil {
				return err
			}
			x.steps = append(x.steps, moved{to: dir})
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%q is no directory, and %q lies in it", dir, name)
		}
	}
	return nil
}

// undo brings everything back that was moved, and removes the directories that were made.
// What came to be there meanwhile stays, and what belongs there is not put over it.
func (x *exchange) undo() error {
	var errs []error
	for i := len(x.steps) - 1; i >= 0; i-- {
		st := x.steps[i]
		if st.from == "" {
			if err := x.dir.Remove(st.to); !errors.Is(err, fs.ErrExist) { // as it is of one that is not empty
				errs = append(errs, err)
			}
			continue
		}
		ok, err := x.there(st.from)
		switch {
		case err != nil:
		case ok:
			err = fmt.Errorf("%q: %w", st.from, fs.ErrExist)
		default:
			err = x.dir.Rename(st.to, st.from)
		}
		errs = append(errs, err)
	}
	x.steps = nil
	return errors.Join(errs...)
}

// above lists the directories that a path lies in, the outermost first.
func above(name string) []string {
	var dirs []string
	for i := range len(name) {
		if name[i] == '/' {
			dirs = append(dirs, name[:i])
		}
	}
	return dirs
}

// restoreKept is how a directory is called that holds what could not be put back.
const restoreKept = ".plumb-kept-"

// obstructed refuses a project in which something else is where the run had a directory:
// what is written or removed there would be written or removed where a link leads. A run
// does not record what links led to its files, so no link is taken for one that it had.
// Something that takes the very path that is written is set aside like any other.
func (r *restoring) obstructed() (err error) {
	root, err := os.OpenRoot(r.req.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	known := map[string]bool{}
	for _, name := range append(r.tops(), r.doc.Removed...) {
		for _, dir := range above(name) {
			if known[dir] {
				continue
			}
			info, err := root.Lstat(dir)
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			if known[dir] = info.IsDir(); !known[dir] {
				return r.inTheWay(root, dir, name)
			}
		}
	}
	return nil
}

func (r *restoring) inTheWay(root *os.Root, dir, name string) error {
	const hint = "remove it and commit that, or restore into a new directory: plumb restore RUN DIR"
	if to, err := root.Readlink(dir); err == nil {
		return invalid(hint, "--in-place would follow a link: %q leads to %q, and is to hold %q", dir, to, name)
	}
	return invalid(hint, "--in-place needs a directory where there is none: %q is to hold %q", dir, name)
}
