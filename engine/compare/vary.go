package compare

import (
	"maps"
	"math"

	"plumb/engine/plan"
	"plumb/store"
)

// another is what is said of a stage that gave something else for the same key.
const another = "the same action gave another result"

// varied tells what a stage gave differently in two runs although its key is the same,
// and whether it did. A result that one run has not cannot be compared.
func (c *comparison) varied(a, b *Stage) bool {
	if outcome(a) != "ran" || outcome(b) != "ran" {
		return false
	}
	old := map[string]store.Output{}
	for _, o := range a.Outputs {
		old[o.Name] = o
	}
	for _, o := range b.Outputs {
		if was, ok := old[o.Name]; ok && shownOutput(&o) && artifact(was) != artifact(o) {
			c.vary[b.Name] = true
			c.cause(variedOutput(plan.Whence{Stage: b.Name, Output: o.Name}, plan.Reason{Name: o.Path, Old: artifact(was), New: artifact(o)}))
		}
	}
	if !c.vary[b.Name] && !maps.EqualFunc(a.Metrics, b.Metrics, sameNumber) {
		c.vary[b.Name] = true
		c.cause(Change{Reason: plan.Reason{Kind: Varied, Name: "stage." + b.Name, Detail: another}, Stages: []string{b.Name}})
	}
	return c.vary[b.Name]
}

// gave tells that the stage which made an input gave something else for the same key.
// That is told of the stage already, unless the runs do not say what it gave.
func (c *comparison) gave(b *Stage, r *plan.Reason) {
	w := c.whence(1, b, r.Name, r.New)
	was, is := c.at[0][w.Stage], c.at[1][w.Stage]
	if was == nil || is == nil || was.Key != is.Key || was.Outputs != nil && is.Outputs != nil {
		return
	}
	if !c.vary[w.Stage] {
		c.vary[w.Stage] = true
		c.result.Equal--
	}
	c.cause(variedOutput(w, *r))
}

// variedOutput is the cause that a stage gave another output. The reason has the output's
// path and contents.
func variedOutput(w plan.Whence, r plan.Reason) Change {
	return Change{Reason: plan.Reason{Kind: Varied, Name: w.String(), Old: r.Old, New: r.New, Detail: another}, Stages: []string{w.Stage}, Path: r.Name}
}

// sameNumber also holds for two that are none.
func sameNumber(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
