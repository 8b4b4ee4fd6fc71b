package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/store"
	"plumb/store/tree"
)

// Bounds of what an explanation lays open.
const (
	maxText     = 1 << 20 // bytes of a file that is compared line by line
	maxEntries  = 100     // of a directory
	openEntries = 10      // of which the content is compared
)

// change lays one reason open.
func (x *explainer) change(r plan.Reason) Change { return x.changeAt(r, "") }

// changeAt lays one reason open, whose content lay at a path when its name is none.
func (x *explainer) changeAt(r plan.Reason, path string) Change {
	c := Change{Reason: r}
	switch r.Kind {
	case plan.ReasonCommand:
		c.Diff = x.lineDiff(commandText(r.Old), commandText(r.New))
	case plan.ReasonInput, compare.Varied:
		if path != "" {
			c.Name = path
		}
		x.inputChange(&c)
		c.Name = r.Name
	case plan.ReasonImage:
		x.imageChange(&c)
	}
	return c
}

// commandText is the script of a string command, else one argument a line.
func commandText(v string) []byte {
	var args []string
	if json.Unmarshal([]byte(v), &args) != nil {
		return []byte(v + "\n")
	}
	if len(args) == 4 && args[0] == "/bin/sh" && args[2] == "-c" {
		return []byte(args[3] + "\n")
	}
	return []byte(strings.Join(args, "\n") + "\n")
}

func (x *explainer) inputChange(c *Change) {
	oldKind, oldDigest, ok1 := plan.InputDigest(c.Old)
	newKind, newDigest, ok2 := plan.InputDigest(c.New)
	bit := execChange(strings.Contains(c.Old, " executable "), strings.Contains(c.New, " executable "))
	switch {
	case !ok1 || !ok2:
	case oldKind != newKind:
		c.Note = fmt.Sprintf("it was a %s and is a %s", oldKind, newKind)
	case oldDigest == newDigest:
		c.Note = bit + ", and nothing else"
	case oldKind == store.KindFile:
		x.fileChange(c, oldDigest, newDigest)
		c.Note = notes(c.Note, bit)
	default:
		c.Entries, c.Note = x.treeDiff(c.Name, oldDigest, newDigest)
	}
}

// execChange says whether a file's executable bit was set or removed, "" for neither.
func execChange(was, is bool) string {
	switch {
	case is && !was:
		return "its executable bit was set"
	case was && !is:
		return "its executable bit was removed"
	}
	return ""
}

func notes(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(n string) bool { return n == "" }), "; ")
}

// errNotKept says that content is neither in the store nor in the project any more.
var errNotKept = errors.New("the earlier content is not kept")

// content reads a file of a stage's inputs: from the store, or from the project
// when it is still as it was hashed.
func (x *explainer) content(name string, d store.Digest) ([]byte, error) {
	if b, err := x.e.store.ReadBlob(d, maxText); err == nil {
		return b, nil
	} else if errors.Is(err, store.ErrTooLarge) {
		return nil, err
	}
	for _, in := range x.inputs {
		rel := strings.TrimPrefix(name, in.Path)
		if in.Project == "" || rel != "" && (rel == name || rel[0] != '/') {
			continue
		}
		b, err := readSmall(filepath.Join(x.dir, filepath.FromSlash(in.Project+rel)))
		if err != nil {
			return nil, err
		}
		if store.Sum(b) == d {
			return b, nil
		}
	}
	return nil, errNotKept
}

func (x *explainer) fileDiff(name string, old, new store.Digest) (lines []string, note string) {
	a, err := x.content(name, old)
	if err == nil {
		var b []byte
		if b, err = x.content(name, new); err == nil {
			if !isText(a) || !isText(b) {
				return nil, fmt.Sprintf("not text: %d bytes before, %d now", len(a), len(b))
			}
			lines, note = x.textDiff(a, b)
			return lines, note
		}
	}
	if errors.Is(err, store.ErrTooLarge) {
		return nil, "too large to compare line by line"
	}
	return nil, err.Error()
}

func (x *explainer) entries(name string, d store.Digest) ([]tree.Entry, error) {
	if b, err := x.e.store.ReadBlob(d, 1<<30); err == nil {
		return tree.Decode(b)
	}
	for _, in := range x.inputs {
		if in.Path == name && in.Project != "" && in.Digest == d {
			return x.scan.Entries(x.ctx, in.Project)
		}
	}
	return nil, errNotKept
}

func (x *explainer) treeDiff(name string, old, new store.Digest) ([]Entry, string) {
	a, err := x.entries(name, old)
	if err != nil {
		return nil, err.Error()
	}
	b, err := x.entries(name, new)
	if err != nil {
		return nil, err.Error()
	}
	out := entryChanges(a, b)
	note := ""
	if len(out) > maxEntries {
		out, note = out[:maxEntries], fmt.Sprintf("and %d more", len(out)-maxEntries)
	}
	opened := 0
	for i := range out {
		if en := &out[i]; en.Change == "changed" && en.kind == tree.KindFile && opened < openEntries {
			opened++
			one := Change{Reason: plan.Reason{Name: name + "/" + en.Path}}
			x.fileChange(&one, en.old, en.new)
			en.Diff, en.Table, en.Note = one.Diff, one.Table, notes(one.Note, en.Note)
		}
	}
	return out, note
}

// entryChanges goes over two listings side by side. A file that went at one path and
// came at another is told as both: directories are compared by path.
func entryChanges(a, b []tree.Entry) []Entry {
	var out []Entry
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case j == len(b) || i < len(a) && a[i].Path < b[j].Path:
			out = append(out, Entry{Path: a[i].Path, Change: "removed", old: a[i].Digest})
			i++
		case i == len(a) || b[j].Path < a[i].Path:
			out = append(out, Entry{Path: b[j].Path, Change: "added", new: b[j].Digest})
			j++
		default:
			if a[i] != b[j] {
				out = append(out, entryChange(a[i], b[j]))
			}
			i++
			j++
		}
	}
	return withoutParents(out)
}

// withoutParents leaves out directories that came or went with what is in them.
func withoutParents(all []Entry) []Entry {
	parents := map[string]bool{}
	for i := range all {
		if all[i].Change == "added" || all[i].Change == "removed" {
			parents[all[i].Change+path.Dir(all[i].Path)] = true
		}
	}
	return slices.DeleteFunc(all, func(e Entry) bool { return parents[e.Change+e.Path] })
}

// entryKinds are what people call the kinds of entry.
var entryKinds = map[store.EntryKind]string{store.EntryFile: "file", store.EntryDir: "directory", store.EntryLink: "link"}

func entryChange(a, b tree.Entry) Entry {
	en := Entry{Path: b.Path, Change: "changed", old: a.Digest, new: b.Digest}
	switch {
	case a.Kind == b.Kind && a.Digest == b.Digest && a.Link == b.Link && a.Exec != b.Exec:
		en.Change, en.Note = "mode", execChange(a.Exec, b.Exec)
	case a.Kind != b.Kind:
		en.Note = fmt.Sprintf("it was a %s and is a %s", entryKinds[a.Kind], entryKinds[b.Kind])
	case a.Kind == tree.KindFile:
		en.kind, en.Note = tree.KindFile, execChange(a.Exec, b.Exec)
	case a.Link != b.Link:
		en.Note = fmt.Sprintf("it pointed to %s and points to %s", a.Link, b.Link)
	}
	return en
}

func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsRune(b, 0)
}
