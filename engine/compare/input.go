package compare

import (
	"slices"

	"plumb/engine/plan"
)

// follows says that an input differs because a stage did that made it, and which.
func (c *comparison) follows(a, b *Stage, r *plan.Reason) (makers []string, upstream bool) {
	if r.Kind != plan.ReasonInput {
		return nil, false
	}
	old, new := sides(r)
	if old == "" || new == "" { // it came or went
		run, s, at := 1, b, new
		if new == "" {
			run, s, at = 0, a, old
		}
		w := c.whence(run, s, at, value(r, run))
		// The stage itself came or went, and that is the cause.
		return []string{w.Stage}, w.Produced() && c.at[1-run][w.Stage] == nil
	}
	from, to := c.whence(0, a, old, value(r, 0)), c.whence(1, b, new, value(r, 1))
	if !from.Produced() || !to.Produced() {
		return nil, false
	}
	was, is := c.at[0][from.Stage], c.at[1][to.Stage]
	if from != to {
		// Reading from another stage is a change, unless the stage or its output has
		// another name.
		return []string{to.Stage}, c.at[1][from.Stage] == nil && c.at[0][to.Stage] == nil || from.Stage == to.Stage && c.renamedOutput(was, is, from.Output, to.Output)
	}
	// The stage has another key, or gave something else for the same.
	return []string{to.Stage}, was == nil || is == nil || was.Key != is.Key || r.Detail == ""
}

// renamedOutput says that a stage calls an output otherwise.
func (c *comparison) renamedOutput(a, b *Stage, old, new string) bool {
	return a != nil && b != nil && a.Key != b.Key && !hasOutput(b, old) && !hasOutput(a, new)
}

func hasOutput(s *Stage, name string) bool {
	return slices.ContainsFunc(s.Fields, func(f plan.Field) bool { return f.Kind == plan.FieldOutput && f.Name == name })
}

// sides are the paths at which an input stood, "" where it did not.
func sides(r *plan.Reason) (old, new string) {
	switch r.Detail {
	case plan.Renamed:
		return r.Old, r.New
	case "added":
		return "", r.Name
	case "removed":
		return r.Name, ""
	}
	return r.Name, r.Name
}

// value is an input's value on one side as a reason has it, "" when a reason has paths.
func value(r *plan.Reason, run int) string {
	if r.Detail == plan.Renamed {
		return ""
	}
	return [2]string{r.Old, r.New}[run]
}

// whence says where an input of a stage came from in that run. A note may be of an
// earlier run with the same key, when the stage that made it had another name; and
// older ones say nothing. Then the content tells.
func (c *comparison) whence(run int, s *Stage, at, value string) plan.Whence {
	w := s.Note.Whence(at)
	noted := s.Note.Image != "" // by a plumb that notes inputs
	if noted && (!w.Produced() || c.at[run][w.Stage] != nil) {
		return w
	}
	if c.runs[run].Maker == nil {
		return w
	}
	if value == "" {
		for _, f := range s.Fields {
			if f.Kind == plan.FieldInput && f.Name == at {
				value = f.Value
			}
		}
	}
	if _, d, ok := plan.InputDigest(value); ok {
		if stage, output, ok := c.runs[run].Maker(d); ok && stage != s.Name {
			return plan.Whence{Stage: stage, Output: output}
		}
	}
	return w
}

// ownInput names a file as the project does, so that it is one cause for stages that
// see it at different paths; and says when a stage reads it from elsewhere.
func (c *comparison) ownInput(a, b *Stage, n *Change) {
	old, new := sides(&n.Reason)
	var from, to plan.Whence
	if old != "" {
		from = c.whence(0, a, old, value(&n.Reason, 0))
	}
	if new != "" {
		to = c.whence(1, b, new, value(&n.Reason, 1))
	}
	switch {
	case old != "" && new != "" && from != to && (from.Produced() || to.Produced()):
		n.Detail = "from " + from.String() + " to " + to.String()
	case n.Detail == plan.Renamed:
		if from.Project != to.Project {
			n.Name, n.Old, n.New = to.Project, from.Project, to.Project
		}
	case to.Project != "":
		n.Name = to.Project
	case from.Project != "":
		n.Name = from.Project
	}
}
