package hcl

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// ReadLock reads the lock file of a project; without one the lock is empty. The
// lock is nil when a diagnostic is an error. An image or source of which moving
// says that its pin is to be looked up anew may be pinned in two ways, as a merge
// leaves it; nil stands for none.
func ReadLock(dir string, moving func(name string) bool) (*Lock, Diagnostics) {
	lock, _, diags := ReadLockFile(dir, moving)
	return lock, diags
}

// ReadLockFile is ReadLock that also gives the file itself, nil without one.
func ReadLockFile(dir string, moving func(name string) bool) (*Lock, []byte, Diagnostics) {
	data, err := os.ReadFile(filepath.Join(dir, LockFile))
	if os.IsNotExist(err) {
		return &Lock{}, nil, nil
	}
	if err != nil {
		return nil, nil, unreadable(LockFile, err)
	}
	lock, diags := decodeLock(data, moving)
	return lock, data, diags
}

func decodeLock(data []byte, moving func(string) bool) (*Lock, Diagnostics) {
	return decodeLockBy((*evaluation).parseLock, data, moving)
}

// lockParser gives the lines of a lock, those of packages apart where it knows them.
type lockParser func(*evaluation, []byte) (*hclsyntax.Body, []packageLine)

func decodeLockBy(parse lockParser, data []byte, moving func(string) bool) (*Lock, Diagnostics) {
	ev := &evaluation{sources: map[string][]byte{LockFile: data}, base: &hashi.EvalContext{}, reads: newRecorder("")}
	ev.blocks.names = map[string]map[string]hashi.Range{}
	r := &lockReader{ev: ev, lock: &Lock{}, moving: moving, seen: map[string]string{}}
	if ev.conflictFree(data) {
		body, lines := parse(ev, data)
		if !ev.diags.HasErrors() {
			r.packages = lines
			r.read(body)
		}
	}
	if diags := ev.finish(nil); diags.HasErrors() {
		return nil, diags
	}
	r.lock.sort()
	return r.lock, nil
}

// conflictFree reports the markers that a merge left behind.
func (ev *evaluation) conflictFree(data []byte) bool {
	for i, line := range bytes.Split(data, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("<<<<<<< ")) || bytes.HasPrefix(line, []byte(">>>>>>> ")) {
			at := bytes.Index(data, line)
			ev.reportRange(Range{
				File:  LockFile,
				Start: Pos{i + 1, 1, at}, End: Pos{i + 1, len(line) + 1, at + len(line)},
			}, "Merge conflict", "The lock file has the marks of a merge that was not finished.",
				"keep the lines of both sides, without the marks: each line is a pin of its own")
			return false
		}
	}
	return true
}

// lockReader turns the lines of a lock into pins.
type lockReader struct {
	ev     *evaluation
	lock   *Lock
	moving func(string) bool
	seen   map[string]string // pin → what it says
	files  []lockedLine

	packages []packageLine
	debian   []debianLine
}

type lockedLine struct {
	source string
	file   LockedFile
	at     hashi.Range
}

// pinKinds are the blocks of a lock, with how many labels each has and the ways in
// which it is pinned.
var pinKinds = map[string]struct {
	labels int
	ways   map[string][]string // attribute → its fields
}{
	"image": {2, map[string][]string{
		"registry": {"ref", "index", "manifest"}, "archive": {"path", "manifest"},
		"debian": {"suite", "variant", "packages", "recommends", "date", "recipe", "layers", "manifest"},
	}},
	"package": {3, map[string][]string{"deb": {"version", "architecture", "suite", "path", "size", "sha256", "layer"}}},
	"source":  {1, map[string][]string{"url": {"url", "size", "sha256"}, "oci": {"ref", "manifest"}}},
	"file":    {2, map[string][]string{"blob": {"size", "sha256"}}},
}

// optionalFields are those that a pin may lack: they are left out when empty.
var optionalFields = []string{"index", "packages", "recommends"}

const lockHint = "take the line from git, or delete it and run `plumb lock`"

func (r *lockReader) read(body *hclsyntax.Body) {
	s := r.ev.newScope()
	version, ok := s.wholeAttr(body, "version", 0, 1)
	switch {
	case body.Attributes["version"] == nil:
		r.ev.reportRange(Range{File: LockFile}, "Missing version", "The lock file does not say which format it has.", "take it from git, or delete it and run `plumb lock`")
	case ok && version > lockVersion:
		r.ev.report(body.Attributes["version"].Expr.Range(), "Newer lock file",
			fmt.Sprintf("The lock file has format %d; this plumb knows %d.", version, lockVersion), "use the plumb that wrote it, or a newer one")
		return
	case ok && version < lockVersion:
		r.ev.report(body.Attributes["version"].Expr.Range(), "Older lock file",
			fmt.Sprintf("The lock file has format %d; this plumb knows %d.", version, lockVersion), "delete it and run `plumb lock`")
		return
	}
	r.ev.conform(body, "lock file", shape{attributes: []string{"version"}, blocks: []string{"image", "package", "source", "file"}})
	for _, b := range body.Blocks {
		if kind, ok := pinKinds[b.Type]; ok {
			if len(b.Labels) != kind.labels {
				r.ev.report(b.DefRange(), "Bad pin", fmt.Sprintf("A line that begins with %s has %d names behind it.", b.Type, kind.labels), lockHint)
				continue
			}
			r.pin(b, kind.ways)
		}
	}
	r.attach()
	r.attachPackages()
}

// pin reads one line.
func (r *lockReader) pin(b *hclsyntax.Block, ways map[string][]string) {
	var names []string
	for way := range ways {
		names = append(names, way)
	}
	before := len(r.ev.diags)
	r.ev.conform(b.Body, b.Type+" of a lock file", shape{attributes: names})
	if len(b.Body.Attributes) != 1 {
		if len(r.ev.diags) == before {
			r.ev.report(b.DefRange(), "Bad pin", "A line says in exactly one way what is pinned.", lockHint)
		}
		return
	}
	for way, attr := range b.Body.Attributes {
		fields, ok := r.fields(attr, ways[way])
		switch {
		case !ok:
		case b.Type == "package":
			r.addPackage(b, attr, fields)
		case r.once(b, way, fields):
			r.add(b, way, fields)
		}
	}
}

// pinFields are the attributes of a pin.
type pinFields struct {
	text map[string]string
	size int64
}

func (r *lockReader) fields(attr *hclsyntax.Attribute, known []string) (pinFields, bool) {
	f := pinFields{text: map[string]string{}}
	v, diags := attr.Expr.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsWhollyKnown() || !v.Type().IsObjectType() {
		r.ev.report(attr.Expr.Range(), "Bad pin", "A pin is a list of names and values.", lockHint)
		return f, false
	}
	good := true
	for name, value := range v.AsValueMap() {
		ok := false
		switch {
		case value.IsNull():
		case name == "size" && value.Type() == cty.Number:
			var accuracy any
			f.size, accuracy = value.AsBigFloat().Int64()
			ok = fmt.Sprint(accuracy) == "Exact" && f.size >= 0
		case name != "size" && value.Type() == cty.String:
			f.text[name] = value.AsString()
			ok = wellFormed(name, f.text[name])
		}
		if !ok || !contains(known, name) {
			good = false
			summary := "Bad pin"
			if name == "manifest" || name == "index" || name == "sha256" {
				summary = "Bad digest"
			}
			r.ev.report(attr.Expr.Range(), summary, fmt.Sprintf("The %s of this pin is not one.", name), lockHint)
		}
	}
	for _, name := range known {
		if _, ok := v.AsValueMap()[name]; !ok && !contains(optionalFields, name) {
			good = false
			r.ev.report(attr.Expr.Range(), "Bad pin", fmt.Sprintf("This pin has no %s.", name), lockHint)
		}
	}
	return f, good
}

func contains(all []string, name string) bool {
	for _, a := range all {
		if a == name {
			return true
		}
	}
	return false
}

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

func wellFormed(name, value string) bool {
	switch name {
	case "manifest", "index", "sha256":
		return isDigest(value)
	case "suite":
		return isSuite(value)
	case "variant":
		return contains(variants, value)
	case "version":
		return isDebianVersion(value)
	case "architecture":
		return madeOf(value, "-")
	case "recommends":
		return value == recommended
	case "date":
		return isMoment(value)
	case "packages":
		_, ok := wordsOf(value, func(w string) bool { _, ok := packageName(w); return ok })
		return ok
	case "layers":
		_, ok := wordsOf(value, isWord)
		return ok
	case "layer":
		return isWord(value)
	}
	return value != ""
}

// isWord tells what can stand in a list of words.
func isWord(s string) bool { return s != "" && !strings.Contains(s, " ") }

// once tells lines that repeat each other, as merges may leave them, from those
// that contradict each other.
func (r *lockReader) once(b *hclsyntax.Block, way string, f pinFields) bool {
	key := strings.Join(append([]string{b.Type}, b.Labels...), "\x00")
	says := fmt.Sprint(way, f.text, f.size)
	earlier, ok := r.seen[key]
	r.seen[key] = says
	name := b.Labels[0]
	switch {
	case !ok:
		return true
	case earlier == says:
		return false
	case r.moving != nil && r.moving(name):
		return true
	}
	what := b.Type
	if what == "file" {
		what = "source"
	}
	r.ev.report(b.DefRange(), "Pinned twice",
		fmt.Sprintf("The lock has two different pins of %s %s; a merge of two branches that both moved it leaves it so.", what, quoted(name)),
		"delete the line that is not wanted, or run `plumb lock --update "+name+"`")
	return false
}

func (r *lockReader) add(b *hclsyntax.Block, way string, f pinFields) {
	name := b.Labels[0]
	switch b.Type {
	case "image":
		if !platformForm.MatchString(b.Labels[1]) {
			r.ev.report(b.LabelRanges[1], "Bad platform", "An image is pinned for an operating system and an architecture.", lockHint)
			return
		}
		image := LockedImage{
			Name: name, Platform: b.Labels[1], Manifest: f.text["manifest"], Ref: f.text["ref"], Index: f.text["index"], Archive: f.text["path"],
		}
		if way == "debian" {
			image.Debian = debianOf(f)
			r.debian = append(r.debian, debianLine{name, b.Labels[1], b.DefRange()})
		}
		r.lock.SetImage(image)
	case "source":
		source := LockedSource{Name: name, URL: f.text["url"], OCI: f.text["ref"], Manifest: f.text["manifest"]}
		if way == "url" {
			source.Files = []LockedFile{{Size: f.size, Digest: f.text["sha256"]}}
		}
		r.lock.SetSource(source)
	case "file":
		p := b.Labels[1]
		if p != "" && !isBelow(p) {
			r.ev.report(b.LabelRanges[1], "Bad path", "The path of a file leads out of its source.", lockHint)
			return
		}
		r.files = append(r.files, lockedLine{name, LockedFile{p, f.size, f.text["sha256"]}, b.DefRange()})
	}
}

// attach gives the files to their sources: their lines may stand anywhere.
func (r *lockReader) attach() {
	for _, line := range r.files {
		source := r.lock.Source(line.source)
		if source == nil || source.OCI == "" {
			r.ev.report(line.at, "File without its source", fmt.Sprintf("The lock has a file of source %s, and no pin of the source.", quoted(line.source)), lockHint)
			continue
		}
		source.Files = append(source.Files, line.file)
	}
}
