package engine

import (
	"slices"
	"strings"

	"plumb/engine/plan"
	"plumb/store"
)

// told leaves out what another cause tells already: a file that some stages read by
// itself and others as part of a directory changed once. The directory's cause gets the
// stages of both.
func told(all []Difference) []Difference {
	gone := make([]bool, len(all))
	for i := range all {
		dir := &all[i]
		if dir.Kind != plan.ReasonInput || len(dir.Entries) == 0 || gone[i] {
			continue
		}
		for j := range all {
			if i == j || gone[j] || all[j].Kind != plan.ReasonInput || !within(dir, &all[j]) {
				continue
			}
			gone[j] = true
			dir.Stages = slices.Concat(dir.Stages, all[j].Stages)
			slices.Sort(dir.Stages)
			dir.Stages = slices.Compact(dir.Stages)
			dir.Stage = ""
			if len(dir.Stages) == 1 {
				dir.Stage = dir.Stages[0]
			}
		}
	}
	out := make([]Difference, 0, len(all))
	for i := range all {
		if !gone[i] {
			out = append(out, all[i])
		}
	}
	return out
}

// within says that all that d tells is told by the entries of a directory.
func within(dir, d *Difference) bool {
	rel, ok := strings.CutPrefix(d.Name, dir.Name+"/")
	if !ok {
		return false
	}
	if len(d.Entries) > 0 {
		for i := range d.Entries {
			e := &d.Entries[i]
			if !slices.ContainsFunc(dir.Entries, func(o Entry) bool {
				return o.Path == rel+"/"+e.Path && o.Change == e.Change && o.old == e.old && o.new == e.new
			}) {
				return false
			}
		}
		return true
	}
	old, new := contentOf(d.Old), contentOf(d.New)
	return slices.ContainsFunc(dir.Entries, func(o Entry) bool { return o.Path == rel && o.old == old && o.new == new })
}

// contentOf is the zero digest where there is none.
func contentOf(value string) store.Digest {
	_, d, ok := plan.InputDigest(value)
	if !ok {
		return store.Digest{}
	}
	return d
}
