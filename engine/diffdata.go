package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/table"
	"plumb/store"
)

// fileChange says what differs between two contents of a file: as tables, when its name
// is that of one and the content agrees, else line by line.
func (x *explainer) fileChange(c *Change, old, new store.Digest) {
	if table.Form(c.Name) != "" && !x.noData {
		done, why := x.tableChange(c, old, new)
		if done {
			c.Note = why
			return
		}
		c.Diff, c.Note = x.fileDiff(c.Name, old, new)
		if c.Note == "" {
			c.Note = why
		} else if why != "" && c.Note != errNotKept.Error() {
			c.Note = why + "; " + c.Note
		}
		return
	}
	c.Diff, c.Note = x.fileDiff(c.Name, old, new)
}

// tableChange compares two contents as tables. What is not one, or is not there, is left
// to others, with the reason.
func (x *explainer) tableChange(c *Change, old, new store.Digest) (done bool, why string) {
	defer x.e.store.LeaseBlobs(store.Artifact{Digest: old}, store.Artifact{Digest: new})()
	a, err := x.tableFile(c.Name, old)
	if err != nil {
		return false, ""
	}
	b, err := x.tableFile(c.Name, new)
	if err != nil {
		return false, ""
	}
	temp, clear, err := x.e.scratch()
	if err != nil {
		return false, "not compared as tables: " + err.Error()
	}
	d, err := table.Compare(x.ctx, a, b, table.Options{First: firstRows, Temp: temp})
	err = errors.Join(err, clear())
	var form *table.FormError
	switch {
	case errors.As(err, &form):
		x.malformed = append(x.malformed, c.Name)
		return false, x.notOfItsForm(form, a, b)
	case err != nil:
		return false, "not compared as tables: " + err.Error()
	case d.Same: // quotes, line ends: only lines tell
		return false, "as tables they are the same"
	}
	c.Table = d
	return true, d.Note
}

// scratch is a directory for what of large tables does not fit into memory: on the
// store's disk, and where that must not be written the system's.
func (e *Engine) scratch() (dir string, clear func() error, err error) {
	if e.cfg.ReadOnly {
		return "", func() error { return nil }, nil
	}
	if dir, err = e.store.TempDir("table-"); err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// firstRows is how many rows of each kind are shown.
const firstRows = 5

// notOfItsForm says which of two files is not what its name says. It is the one that was
// found first: the other one may lie as well, and is looked at by itself.
func (x *explainer) notOfItsForm(e *table.FormError, a, b table.File) string {
	other := b
	if e.Second {
		other = a
	}
	all := []*table.FormError{e}
	var also *table.FormError
	if _, err := table.Compare(x.ctx, other, other, table.Options{}); errors.As(err, &also) {
		also.Second = !e.Second
		all = append(all, also)
	}
	if len(all) == 2 && e.Second {
		slices.Reverse(all)
	}
	var texts []string
	for _, e := range all {
		text := fmt.Sprintf("%q %s is not %s as its name says: ", e.Name, x.side(e.Second), e.Form)
		if e.Line > 0 {
			text += fmt.Sprintf("line %d: ", e.Line)
		}
		texts = append(texts, text+e.Reason)
	}
	return notes(texts...)
}

// side names the run that content is of.
func (x *explainer) side(second bool) string {
	i := 0
	if second {
		i = 1
	}
	if x.runs[i] != "" {
		return "of run " + string(x.runs[i])
	}
	return [2]string{"as it was", "as it is now"}[i]
}

// tableFile finds a content: in the store, or in the project where it is still as it
// was hashed.
func (x *explainer) tableFile(name string, d store.Digest) (table.File, error) {
	if size, ok := x.e.store.Stat(d); ok && size <= store.SmallBlob {
		b, err := x.e.store.ReadBlob(d, store.SmallBlob)
		if err == nil {
			return table.File{Name: name, Data: b}, nil
		}
	}
	for _, exec := range []bool{false, true} {
		if path, ok := x.e.store.BlobFile(store.Artifact{Kind: store.KindFile, Digest: d, Size: sizeOf(x.e.store, d), Exec: exec}); ok {
			return table.File{Name: name, Path: path}, nil
		}
	}
	for _, in := range x.inputs {
		rel := strings.TrimPrefix(name, in.Path)
		if in.Project == "" || rel != "" && (rel == name || rel[0] != '/') {
			continue
		}
		at := in.Project + rel
		if now, err := x.scan.Scan(x.ctx, at); err == nil && now.Digest == d {
			return table.File{Name: name, Path: filepath.Join(x.dir, filepath.FromSlash(at))}, nil
		}
	}
	return table.File{}, errNotKept
}

func sizeOf(st *store.Store, d store.Digest) int64 {
	size, _ := st.Stat(d) // 0 where there is none, which BlobFile finds then
	return size
}
