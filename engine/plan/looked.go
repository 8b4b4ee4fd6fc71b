package plan

import (
	"plumb/hcl"
	"plumb/store"
)

// Looked is what was seen at a path of the project, or of a source from elsewhere at its
// place among the inputs.
type Looked struct {
	Path    string
	Target  string // where the stage has it
	Source  string // of a source block
	Discard bool   // its bytes are not kept
	store.Artifact
}

// Looked lists what stage i reads that no stage made, as it was when it was looked at. A
// stage that was not considered, because one before it failed or its condition is false,
// may not have been.
func (p *Planner) Looked(i int) []Looked {
	var out []Looked
	s := p.Stage(i)
	for n := range s.Inputs {
		in := &s.Inputs[n]
		if in.Kind == hcl.InputOutput {
			continue
		}
		names := []string{in.Path}
		if in.Glob {
			names = nil
			if v, ok := p.globs.Load(in.Path); ok {
				names = v.([]string)
			}
		}
		for _, name := range names {
			v, ok := p.scans.Load(name)
			if !ok || v.(scanned).err != nil {
				continue
			}
			out = append(out, Looked{Path: name, Target: targetOf(in, name), Source: in.Source, Discard: in.Kind == hcl.InputSource && p.discard[in.Source], Artifact: v.(scanned).Artifact})
		}
	}
	return out
}
