package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"plumb/hcl"
	"plumb/store"
)

// A project that is restored in place has to be the run's, not the run's and what came
// since. Three things find files by looking: plumb its pipeline, stages and sources the
// files that match a pattern, expressions the names of a fileset. What each would find now
// and the run did not have is removed.

// superfluous lists what the run would read of the project as it is, and did not have.
func (r *restoring) superfluous() error {
	for i := range r.doc.Files {
		if r.doc.Files[i].Path == "." {
			return invalid("restore into a new directory", "the run read the whole project, which cannot be replaced in place")
		}
	}
	files, diags := hcl.ReadFiles(r.req.Dir)
	if diags.HasErrors() && len(files) == 0 {
		files = nil // a project without a pipeline has none to remove
	}
	var names []string
	for _, f := range append(files, hcl.File{Name: hcl.LockFile}) {
		names = append(names, f.Name)
	}
	had := map[string]bool{}
	for i := range r.run.Places {
		had[r.run.Places[i].Path] = true // also what is not kept
	}
	for i := range r.doc.Files {
		had[r.doc.Files[i].Path] = true
	}
	if r.args != nil {
		had[r.at] = true // it is replaced
	}
	found, err := r.found()
	if err != nil {
		return err
	}
	tops := r.tops()
	for _, name := range append(names, found...) {
		replaced := slices.ContainsFunc(tops, func(top string) bool { return strings.HasPrefix(name, top+"/") })
		if !had[name] && !replaced && there(filepath.Join(r.req.Dir, filepath.FromSlash(name))) {
			r.doc.Removed = append(r.doc.Removed, name)
		}
	}
	slices.Sort(r.doc.Removed)
	r.doc.Removed = slices.Compact(r.doc.Removed)
	return nil
}

// found lists what the patterns of the run match in the project now.
func (r *restoring) found() ([]string, error) {
	p, err := (&explainer{e: r.e, ctx: r.ctx, dir: r.req.Dir}).evaluated(r.run, r.run.Params)
	var diags hcl.Diagnostics
	if errors.As(err, &diags) { // another plumb's language, or a sensitive param
		r.note("what the patterns of run %s match is not known, so files that it did not have may be left: %s", r.run.ID, firstLine(err))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, pattern := range r.patterns(p) {
		names, err := hcl.Glob(r.req.Dir, pattern)
		if err != nil {
			return nil, fmt.Errorf("looking for %q: %w", pattern, err)
		}
		found = append(found, names...)
	}
	for _, read := range p.Reads {
		names, err := r.listed(read)
		if err != nil {
			return nil, fmt.Errorf("listing %q: %w", read.Path, err)
		}
		found = append(found, names...)
	}
	return found, nil
}

// listed lists what a fileset of the run has in the project now. A directory that is
// reached through a link is not the project's to clear.
func (r *restoring) listed(read hcl.Read) ([]string, error) {
	if read.Pattern == "" {
		return nil, nil
	}
	project, err := filepath.EvalSymlinks(r.req.Dir)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(project, filepath.FromSlash(read.Path))
	if real, err := filepath.EvalSymlinks(dir); err != nil || real != dir {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	names, err := hcl.Glob(dir, read.Pattern)
	for i := range names {
		names[i] = path.Join(read.Path, names[i])
	}
	return names, err
}

// patterns lists those that the run looked for. One of a stage that it did not come to, or
// was not about, says nothing of what the project had.
func (r *restoring) patterns(p *hcl.Pipeline) []string {
	came := map[string]bool{}
	for i := range r.run.Stages {
		came[r.run.Stages[i].Name] = !r.run.Stages[i].Key.IsZero()
	}
	var out []string
	for i := range p.Stages {
		st := &p.Stages[i]
		for n := range st.Inputs {
			in := &st.Inputs[n]
			if came[st.Name] && in.Glob && in.Kind != hcl.InputOutput && !slices.Contains(out, in.Path) && r.matched(in.Path) {
				out = append(out, in.Path)
			}
		}
	}
	return out
}

// matched reports whether the run read anything that matches: a pattern without a match is
// an error, so one that nothing matches was not looked for.
func (r *restoring) matched(pattern string) bool {
	return slices.ContainsFunc(r.run.Places, func(p store.Place) bool { return p.Role == store.PlaceInput && hcl.Match(pattern, p.Path) })
}
