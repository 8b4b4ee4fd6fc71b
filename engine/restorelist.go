package engine

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"plumb/engine/plan"
	"plumb/store"
)

// list says what the project consists of, and how the run is made again in it.
func (r *restoring) list() error {
	for i := range r.run.Places {
		p := &r.run.Places[i]
		f := Restored{Path: p.Path, Role: string(p.Role), Artifact: p.Artifact}
		switch {
		case p.Role == store.PlaceOutside:
			if r.e.store.Check(p.Artifact) != nil {
				r.note("source %s is not kept; a stage that runs has it brought from %s again, as it is pinned", p.Source, p.From)
			}
		case p.Dropped && r.e.store.Check(p.Artifact) != nil: // it may be there all the same
			r.doc.Lacking = append(r.doc.Lacking, f)
			r.noteLacking(p)
		default:
			r.doc.Files = append(r.doc.Files, f)
		}
	}
	if err := r.listFiles(); err != nil {
		return err
	}
	if err := r.inside(); err != nil {
		return err
	}
	r.doc.Files = ordered(r.doc.Files)
	if err := r.throughLinks(); err != nil {
		return err
	}
	return r.command()
}

// inside refuses a record that names what is not in the project: no run writes one.
func (r *restoring) inside() error {
	for _, f := range slices.Concat(r.doc.Files, r.doc.Lacking) {
		if !store.InProject(f.Path, f.Kind) {
			return &Error{Kind: Machine, Message: fmt.Sprintf("run %s is damaged, and nothing was written: %s %q is no path of a project", r.run.ID, f.Role, f.Path), Hint: "plumb fsck tells more"}
		}
	}
	return nil
}

func (r *restoring) note(format string, args ...any) {
	r.doc.Notes = append(r.doc.Notes, fmt.Sprintf(format, args...))
}

func (r *restoring) noteLacking(p *store.Place) {
	if p.Role == store.PlaceExport {
		r.note("%s was exported, and its bytes are not kept (retain = \"none\"); the run makes it again", p.Path)
		return
	}
	if p.Role == store.PlaceImage {
		r.note("%s, which image %s is made of, was not kept by a run that only looked (--expect-cached); its digest is %s; put it there yourself", p.Path, p.Source, p.Digest)
		return
	}
	r.note("%s is not kept (keep = false): only its digest was recorded, %s; put it there yourself", p.Path, p.Digest)
}

// listFiles adds what the pipeline was read from.
func (r *restoring) listFiles() error {
	names := 0
	for i := range r.run.Files {
		f := &r.run.Files[i]
		at := f.Path
		if f.Role == store.RoleParams {
			at = path.Clean(at) // the user wrote it
		}
		switch {
		case f.Role == store.RoleListed:
			if !r.covered(f.Path) {
				names++
				r.doc.Files = append(r.doc.Files, Restored{Path: f.Path, Role: string(f.Role), Artifact: store.Artifact{Kind: store.KindFile}, empty: true})
			}
		case f.Role == store.RoleParams && (!store.InProject(at, store.KindFile) || !f.Kept()):
			// What it gave is among the params.
		case !f.Kept():
			return &Error{Kind: Machine, Message: fmt.Sprintf("run %s cannot be restored, and nothing was written: %q of its pipeline was not kept", r.run.ID, f.Path)}
		default:
			r.doc.Files = append(r.doc.Files, Restored{Path: at, Role: string(f.Role), Artifact: f.Artifact()})
		}
	}
	if names > 0 {
		r.note("expressions listed files that nothing read (%d); they are restored by name, and empty", names)
	}
	return nil
}

// covered reports whether a path is, or lies in, what a stage read.
func (r *restoring) covered(path string) bool {
	return slices.ContainsFunc(r.run.Places, func(p store.Place) bool {
		return p.Role != store.PlaceOutside && (p.Path == path || p.Path == "." || p.Kind == store.KindTree && strings.HasPrefix(path, p.Path+"/"))
	})
}

// ordered puts directories before what lies in them, and leaves out what is said twice.
// That something was exported says most about it; a place knows the executable bit, which
// a file of the pipeline does not.
func ordered(files []Restored) []Restored {
	rank := map[string]int{string(store.PlaceExport): 0, string(store.PlaceInput): 1, string(store.PlaceImage): 2}
	rankOf := func(f Restored) int {
		if n, ok := rank[f.Role]; ok {
			return n
		}
		return len(rank)
	}
	slices.SortStableFunc(files, func(a, b Restored) int {
		if a.Path == "." || b.Path == "." {
			return cmp.Compare(len(a.Path), len(b.Path))
		}
		return cmp.Or(slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/")), cmp.Compare(rankOf(a), rankOf(b)))
	})
	var out []Restored
	for _, f := range files {
		n := len(out)
		switch {
		case n == 0 || out[n-1].Path != f.Path:
			out = append(out, f)
		case out[n-1].Role == string(store.PlaceExport) && f.Role != out[n-1].Role && out[n-1].Digest != f.Digest:
			out[n-1] = f // a run that reads what it writes: it has to find what it read
		}
	}
	return out
}

// command is how the run is made again: its params come from a file, whatever way they
// came then.
func (r *restoring) command() error {
	c := []string{"plumb"}
	if r.run.Isolation != "" && r.run.Isolation != (Place{}).isolation() && r.run.Containerd == "" {
		c = append(c, "--isolation", r.run.Isolation)
	}
	if r.run.Containerd != "" {
		c = append(c, "--runtime", "containerd="+r.run.Containerd)
	}
	c = append(c, "run")
	given, secret, err := r.params()
	if err != nil {
		return err
	}
	if given != nil {
		c = append(c, "--params", r.giveParams(given))
	}
	for _, name := range secret {
		c = append(c, "--param", name+"=…")
		r.note("the value of param %s is sensitive, and not recorded; give it again with --param %s=…", name, name)
	}
	if r.run.Profile != "" {
		c = append(c, "--profile", r.run.Profile)
	}
	platform, err := r.platform()
	if err != nil {
		return err
	}
	if platform != "" {
		c = append(c, "--platform", platform)
	}
	r.doc.Command = append(c, r.run.Targets...)
	return nil
}

// platform is the one that stages ran on when it is not the machine's, and no image block
// would say so.
func (r *restoring) platform() (string, error) {
	other := ""
	for i := range r.run.Stages {
		rec, err := r.e.store.Record(r.run.Stages[i].Key)
		if err != nil {
			return "", err
		}
		if rec == nil {
			continue
		}
		fields, err := plan.Decode(rec.Action)
		if err != nil {
			continue
		}
		for _, f := range fields {
			if f.Kind != plan.FieldPlatform {
				continue
			}
			if f.Value == machinePlatform() {
				return "", nil
			}
			other = f.Value
		}
	}
	return other, nil
}
