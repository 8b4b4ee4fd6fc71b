package compare

import (
	"fmt"
	"slices"
	"strings"

	"plumb/engine/plan"
	"plumb/store"
)

// setting compares what a run was asked for.
func (c *comparison) setting() {
	a, b := c.runs[0], c.runs[1]
	if a.Profile != b.Profile {
		c.cause(Change{Reason: plan.Reason{Kind: Profile, Old: a.Profile, New: b.Profile}})
	}
}

// params compares the values that the runs had, with where they came from. Which
// stages name them is found with the stages.
func (c *comparison) params() {
	old := map[string]store.RunParam{}
	for _, p := range c.runs[0].Params {
		old[p.Name] = p
	}
	for _, p := range c.runs[1].Params {
		was, ok := old[p.Name]
		delete(old, p.Name)
		switch {
		case !ok:
			c.cause(Change{Reason: plan.Reason{Kind: plan.ReasonParam, Name: p.Name, New: shownValue(p), Detail: "added"}, NewFrom: p.Origin})
		case was.Value != p.Value:
			c.cause(Change{Reason: plan.Reason{Kind: plan.ReasonParam, Name: p.Name, Old: shownValue(was), New: shownValue(p)}, OldFrom: was.Origin, NewFrom: p.Origin})
		}
	}
	for _, p := range c.runs[0].Params {
		if _, ok := old[p.Name]; ok {
			c.cause(Change{Reason: plan.Reason{Kind: plan.ReasonParam, Name: p.Name, Old: shownValue(p), Detail: "removed"}, OldFrom: p.Origin})
		}
	}
}

// shownValue is what a stage's action says of the param, too.
func shownValue(p store.RunParam) string {
	if p.Value == "" {
		return "(sensitive)"
	}
	return p.Value
}

// declared finds a param of a run.
func (r *Run) declared(name string) (store.RunParam, bool) {
	for _, p := range r.Params {
		if p.Name == name {
			return p, true
		}
	}
	return store.RunParam{}, false
}

// presence tells of stages that one run has. When the runs were asked for other stages
// it is that which was changed.
func (c *comparison) presence() {
	a, b := c.runs[0], c.runs[1]
	gone, come := missing(a, c.at[1]), missing(b, c.at[0])
	if !sameTargets(a.Targets, b.Targets) && len(gone)+len(come) > 0 {
		c.cause(Change{Reason: plan.Reason{Kind: Targets, Old: strings.Join(a.Targets, " "), New: strings.Join(b.Targets, " "), Detail: onlyIn(gone, come)}, Stages: append(gone, come...)})
		return
	}
	for i, from := range renamedStages(c, gone, come) {
		if from != "" {
			c.cause(Change{Reason: plan.Reason{Kind: Stages, Name: come[i], Old: from, New: come[i], Detail: plan.Renamed}, Stages: []string{come[i]}})
			gone = slices.DeleteFunc(gone, func(s string) bool { return s == from })
			come[i] = ""
		}
	}
	for _, s := range gone {
		c.cause(Change{Reason: plan.Reason{Kind: Stages, Name: s, Detail: "removed"}, Stages: []string{s}})
	}
	for _, s := range come {
		if s != "" {
			c.cause(Change{Reason: plan.Reason{Kind: Stages, Name: s, Detail: "added"}, Stages: []string{s}})
		}
	}
}

// renamedStages gives for each stage that came the one that went and had the same key.
func renamedStages(c *comparison, gone, come []string) []string {
	byKey := map[store.Key]string{}
	for _, s := range gone {
		byKey[c.at[0][s].Key] = s
	}
	delete(byKey, store.Key{})
	from := make([]string, len(come))
	for i, s := range come {
		k := c.at[1][s].Key
		from[i] = byKey[k]
		delete(byKey, k)
	}
	return from
}

func missing(r *Run, other map[string]*Stage) []string {
	var names []string
	for i := range r.Stages {
		if other[r.Stages[i].Name] == nil {
			names = append(names, r.Stages[i].Name)
		}
	}
	return names
}

func sameTargets(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func onlyIn(gone, come []string) string {
	var parts []string
	if len(gone) > 0 {
		parts = append(parts, stages(len(gone))+" of the old run alone")
	}
	if len(come) > 0 {
		parts = append(parts, stages(len(come))+" of the new run alone")
	}
	return strings.Join(parts, ", ")
}

func stages(n int) string {
	if n == 1 {
		return "1 stage"
	}
	return fmt.Sprintf("%d stages", n)
}
