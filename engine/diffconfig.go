package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/hcl"
	"plumb/store"
)

// The files that runs were read from say what was written. They are evaluated again, so
// that what is in no key is compared as it counts, block by block and attribute by
// attribute. What follows from a param is no cause of its own: therefore the new files
// are evaluated with the old values, and what differs then was written.

// config adds what differs in the pipelines' files, and is not told by a key already.
func (x *explainer) config(doc *DiffDoc, a, b *store.Run) error {
	for _, r := range []*store.Run{a, b} {
		if len(r.Files) == 0 {
			doc.Notes = append(doc.Notes, fmt.Sprintf("the files of run %s were not kept: what is in no key, like resources, is not compared", r.ID))
		}
	}
	if len(a.Files) == 0 || len(b.Files) == 0 {
		return nil
	}
	doc.Files = x.filesDiff(a.Files, b.Files)
	if len(doc.Files) == 0 {
		return nil
	}
	x.readFiles(doc, a, b)
	if !slices.ContainsFunc(doc.Files, func(f FileChange) bool { return f.role == store.RolePipeline }) {
		return nil // params and the lock are told by what they changed
	}
	old, new, err := x.pipelines(a, b)
	if err != nil {
		return x.linesOnly(doc, err)
	}
	settings := compare.Settings(old, new)
	for i := range settings {
		if d := difference(&settings[i]); !located(doc, &d, new) {
			doc.Causes = append(doc.Causes, d)
		}
	}
	x.textAlone(doc)
	return nil
}

// pipelines evaluates both sides. A thousand stages that are written out take a tenth of
// a second, so they are evaluated at once, and kept for the next question.
func (x *explainer) pipelines(a, b *store.Run) (old, new *hcl.Pipeline, err error) {
	var g errgroup.Group
	g.Go(func() (err error) {
		old, err = x.evaluated(a, a.Params)
		return err
	})
	g.Go(func() (err error) {
		if new, err = x.evaluated(b, under(a, b)); err != nil {
			new, err = x.evaluated(b, b.Params)
		}
		return err
	})
	return old, new, g.Wait()
}

// linesOnly says that what is in no key is not compared, when that is because of what is
// kept: a file that is gone, the language of another plumb.
func (x *explainer) linesOnly(doc *DiffDoc, err error) error {
	var diags hcl.Diagnostics
	if !errors.As(err, &diags) && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDamaged) {
		return err
	}
	doc.Notes = append(doc.Notes, "the pipelines are compared line by line only: "+firstLine(err))
	return nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// under gives run b's params with the values that run a had.
func under(a, b *store.Run) []store.RunParam {
	out := slices.Clone(b.Params)
	for i := range out {
		if j := slices.IndexFunc(a.Params, func(p store.RunParam) bool { return p.Name == out[i].Name }); j >= 0 {
			out[i] = a.Params[j]
		}
	}
	return out
}

// evaluated is a run's pipeline, from the files that are kept of it and these values.
func (x *explainer) evaluated(r *store.Run, params []store.RunParam) (*hcl.Pipeline, error) {
	var files []hcl.File
	var others []store.RunFile // that expressions read
	for _, f := range r.Files {
		switch f.Role {
		case store.RolePipeline:
			data, err := x.e.store.ReadBlob(f.Digest, maxPipelineFile)
			if err != nil {
				return nil, fmt.Errorf("%q of run %s: %w", f.Path, r.ID, err)
			}
			files = append(files, hcl.File{Name: f.Path, Data: data})
		case store.RoleRead, store.RoleListed:
			others = append(others, f)
		}
	}
	opts, err := recordedOptions(r.Profile, params)
	if err != nil {
		return nil, err
	}
	print := hcl.Fingerprint(files, opts)
	if p := x.e.knownPipeline(print); p != nil && len(others) == 0 {
		return p, nil
	}
	dir, err := x.readAgain(others)
	if err != nil {
		return nil, fmt.Errorf("evaluating the pipeline of run %s: %w", r.ID, err)
	}
	p, diags := hcl.Evaluate(dir, files, opts)
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("evaluating the pipeline of run %s: %w", r.ID, err)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	if len(others) == 0 {
		x.e.pipelines.put(print, p)
	}
	return p, nil
}

// knownPipeline is one that was evaluated before, for a run or for another question.
func (e *Engine) knownPipeline(print [32]byte) *hcl.Pipeline {
	if l := e.pipelines.get(print); l != nil {
		return l.pipeline
	}
	b, ok := e.store.GetCache(cacheName(print))
	if !ok {
		return nil
	}
	p, err := hcl.Decode(b)
	if err != nil { // of another version
		return nil
	}
	return e.pipelines.put(print, p).pipeline
}

// recordedOptions evaluates under values of params as they are recorded; those of sensitive
// ones are not. The name of the file is none that a person can give: what is kept under it
// says otherwise where values came from.
func recordedOptions(profile string, params []store.RunParam) (hcl.Options, error) {
	values := map[string]json.RawMessage{}
	var withheld []string
	for _, p := range params {
		if p.Value == "" {
			withheld = append(withheld, p.Name)
			continue
		}
		values[p.Name] = json.RawMessage(p.Value)
	}
	given, err := json.Marshal(values)
	if err != nil {
		return hcl.Options{}, fmt.Errorf("params as they are recorded: %w", err)
	}
	return hcl.Options{ParamFiles: []hcl.File{{Name: "\x00recorded.json", Data: given}}, Profile: profile, Withheld: withheld}, nil
}

// readAgain makes a directory with what expressions read of a project. Of a file that was
// only listed the name is all that counts.
func (x *explainer) readAgain(files []store.RunFile) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "plumb-diff-"); err != nil {
		return "", err
	}
	for _, f := range files {
		var data []byte
		if f.Role == store.RoleRead {
			data, err = x.e.store.ReadBlob(f.Digest, maxPipelineFile)
		}
		if err == nil {
			err = writeBelow(dir, f.Path, data)
		}
		if err != nil {
			return "", errors.Join(fmt.Errorf("%q: %w", f.Path, err), os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// maxPipelineFile bounds what of a pipeline is read.
const maxPipelineFile = 64 << 20

func writeBelow(dir, path string, data []byte) error {
	if !filepath.IsLocal(path) {
		return fmt.Errorf("the path %q leaves the project", path)
	}
	at := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return os.WriteFile(at, data, 0o600)
}

// located moves a change of where an image or a source comes from to the cause that it
// gave, if it gave one.
func located(doc *DiffDoc, d *Difference, p *hcl.Pipeline) bool {
	kind, rest, _ := strings.Cut(d.Name, ".")
	for i := range doc.Causes {
		c := &doc.Causes[i]
		switch {
		case kind == "image" && c.Kind == plan.ReasonImage && strings.HasPrefix(rest, c.Name+"."):
		case kind == "image" && c.Kind == plan.ReasonImage && c.Name == "platform" && strings.HasSuffix(rest, ".platform"):
		case kind == "source" && c.Kind == plan.ReasonInput && slices.ContainsFunc(p.Sources, func(s hcl.Source) bool {
			return s.Path == c.Name && (rest == s.Name+".url" || rest == s.Name+".oci")
		}):
		default:
			continue
		}
		c.OldFrom, c.NewFrom = d.Old, d.New
		return true
	}
	return false
}

// readFiles tells files that expressions read as causes. A text that is written as it
// was and has such files in it follows from them. Where it is not known which those are,
// the last one stands for all.
func (x *explainer) readFiles(doc *DiffDoc, a, b *store.Run) {
	var files []Difference
	at := map[string]int{}
	for _, f := range doc.Files {
		if f.role != store.RoleRead {
			continue
		}
		d := Difference{Change: Change{Reason: plan.Reason{Kind: compare.Config, Name: f.Path, Detail: "read by file()"}, Diff: f.Diff, Note: f.Note}, Stages: []string{}}
		if f.Change != "changed" {
			d.Detail += ", " + f.Change
		}
		at[f.Path] = len(files)
		files = append(files, d)
	}
	if len(files) == 0 {
		return
	}
	doc.Causes = slices.DeleteFunc(doc.Causes, func(c Difference) bool {
		if !c.unwritten || c.Kind != plan.ReasonCommand && c.Kind != plan.ReasonEnv {
			return false
		}
		known := true // that nothing but these files is in the text
		reads := slices.DeleteFunc(slices.Clone(c.reads), func(place string) bool {
			_, ok := at[place]
			known = known && (ok || place == hcl.ManyRead)
			return !ok
		})
		if len(reads) == 0 && known {
			reads = []string{files[len(files)-1].Name}
		}
		for _, place := range reads {
			d := &files[at[place]]
			d.Stages = append(d.Stages, c.Stages...)
		}
		return known
	})
	for i := range files {
		slices.Sort(files[i].Stages)
		files[i].Stages = slices.Compact(files[i].Stages)
	}
	doc.Causes = append(doc.Causes, files...)
}

// textAlone tells a file whose text differs, when nothing is told that comes from text:
// comments, layout, a default that another value hides.
func (x *explainer) textAlone(doc *DiffDoc) {
	for i := range doc.Causes {
		switch c := &doc.Causes[i]; c.Kind {
		case plan.ReasonInput, plan.ReasonParam:
			if c.Detail != "" || fromText(c.OldFrom) || fromText(c.NewFrom) {
				return
			}
		case compare.Profile, compare.Targets, compare.Varied:
		case plan.ReasonImage:
			if c.Detail != "" || c.OldFrom != "" || c.NewFrom != "" {
				return
			}
		default:
			return
		}
	}
	for _, f := range doc.Files {
		if f.role == store.RolePipeline {
			d := Difference{Change: Change{Reason: plan.Reason{Kind: compare.Config, Name: f.Path, Detail: "its text alone"}, Diff: f.Diff, Note: f.Note}, Stages: []string{}}
			doc.Causes = append(doc.Causes, d)
		}
	}
}

// fromText says that a value stands in the pipeline's files.
func fromText(origin string) bool {
	return origin == "default" || strings.HasPrefix(origin, "profile ")
}

// filesDiff compares the lists, each file line by line.
func (x *explainer) filesDiff(a, b []store.RunFile) []FileChange {
	out := []FileChange{}
	id := func(f *store.RunFile) string { return string(f.Role) + "\x00" + f.Path }
	old := map[string]*store.RunFile{}
	for i := range a {
		old[id(&a[i])] = &a[i]
	}
	for i := range b {
		f := &b[i]
		was := old[id(f)]
		delete(old, id(f))
		if f.Role == store.RoleListed || was != nil && was.Digest == f.Digest {
			continue
		}
		out = append(out, x.runFileDiff(was, f))
	}
	for i := range a {
		if f := &a[i]; old[id(f)] != nil && f.Role != store.RoleListed {
			out = append(out, x.runFileDiff(f, nil))
		}
	}
	return out
}

func (x *explainer) runFileDiff(a, b *store.RunFile) FileChange {
	c := FileChange{Change: "changed", Diff: []string{}}
	f := b
	switch {
	case a == nil:
		c.Change = "added"
	case b == nil:
		c.Change, f = "removed", a
	}
	c.Path, c.role = f.Path, f.Role
	var text [2][]byte
	for i, side := range []*store.RunFile{a, b} {
		if side == nil {
			continue
		}
		if side.Withheld {
			c.Note = "it gave the value of a sensitive param, and is not kept"
			return c
		}
		data, err := x.e.store.ReadBlob(side.Digest, maxText)
		switch {
		case errors.Is(err, store.ErrTooLarge):
			c.Note = "too large to compare line by line"
			return c
		case err != nil:
			c.Note = errNotKept.Error()
			return c
		case !isText(data):
			c.Note = "not text"
			return c
		}
		text[i] = data
	}
	if c.Diff, c.Note = x.textDiff(text[0], text[1]); c.Diff == nil {
		c.Diff = []string{}
	}
	return c
}
