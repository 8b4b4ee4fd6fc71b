package compare

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"plumb/engine/plan"
	"plumb/store"
)

// stage compares a stage that both runs have.
func (c *comparison) stage(a, b *Stage) {
	if outcome(a) != outcome(b) {
		c.consequence(Status, b.Name, plan.Reason{Old: a.Status, New: b.Status, Detail: reasonOf(a, b)})
	}
	defer c.metrics(a, b)
	switch {
	case a.Key == b.Key:
		if !c.varied(a, b) {
			c.result.Equal++
			return
		}
	case a.Key.IsZero() || b.Key.IsZero(): // skipped, or it never came to it
		return
	case a.Fields == nil || b.Fields == nil:
		c.unknown(a, b)
	default:
		c.keys(a, b)
	}
	c.outputs(a, b)
	if a.Seconds > 0 && b.Seconds > 0 {
		d := c.consequence(Duration, b.Name, plan.Reason{Old: number(a.Seconds), New: number(b.Seconds)})
		d.Relative = relative(a.Seconds, b.Seconds)
	}
}

// outcome tells a stage that has its result from others; how it got it is no matter.
func outcome(s *Stage) string {
	if s.Status == "cached" {
		return "ran"
	}
	return s.Status
}

// HasResult says of a status that the stage had its result. The detail of a change of
// status is about the new one, unless that has a result: then it is about the old one.
func HasResult(status string) bool { return status == "ran" || status == "cached" }

func reasonOf(a, b *Stage) string {
	for _, s := range []*Stage{b, a} {
		if !HasResult(s.Status) {
			if s.Error != "" {
				return s.Error
			}
			return s.Reason
		}
	}
	return ""
}

func (c *comparison) unknown(a, b *Stage) {
	r := plan.Reason{Kind: Unknown, Old: a.Key.String(), New: b.Key.String()}
	for i, s := range []*Stage{a, b} {
		switch {
		case s.Fields != nil:
		case s.Status == "canceled":
			r.Detail = "it did not come to its end in run " + string(c.runs[i].ID) + ", which does not say what it was"
		default:
			r.Detail = "what it was in run " + string(c.runs[i].ID) + " is not kept any more"
		}
	}
	if a.Fields == nil && b.Fields == nil {
		r.Detail = "what it was is not kept any more of either run"
	}
	c.result.Unknown = append(c.result.Unknown, Change{Reason: r, Stages: []string{b.Name}})
}

// keys sorts what differs between two actions into causes and what follows.
func (c *comparison) keys(a, b *Stage) {
	reasons := plan.Causes(plan.Diff(a.Fields, b.Fields), a.Note, b.Note)
	own := false
	var from []string
	for _, r := range reasons {
		makers, upstream := c.follows(a, b, &r)
		if upstream {
			c.gave(b, &r)
			for _, m := range makers {
				if !slices.Contains(from, m) {
					from = append(from, m)
				}
			}
			continue
		}
		if c.textFollows(a, b, &r, reasons) {
			for _, m := range reporters(b.Note) {
				if !slices.Contains(from, m) {
					from = append(from, m)
				}
			}
			continue
		}
		own = true
		c.own(a, b, r)
	}
	if len(from) > 0 {
		c.result.Follows[b.Name] = from
	}
	if !own {
		c.consequence(plan.ReasonUpstream, b.Name, plan.Reason{Name: strings.Join(from, " "), Old: a.Key.String(), New: b.Key.String(), Detail: "it reads from " + strings.Join(from, ", ")})
	}
}

// textFollows says that a text is what it was but for the metrics in it.
func (c *comparison) textFollows(a, b *Stage, r *plan.Reason, all []plan.Reason) bool {
	if r.Kind != plan.ReasonCommand && r.Kind != plan.ReasonEnv || plan.Written(r, a.Note, b.Note) {
		return false
	}
	return plan.MetricsDiffer(a.Note, b.Note) || slices.ContainsFunc(all, func(o plan.Reason) bool {
		_, up := c.follows(a, b, &o)
		return up && o.Detail != "" // the path of what it reads stands in it
	})
}

// reporters are the stages whose metrics a stage's texts refer to.
func reporters(n plan.Note) []string {
	var out []string
	for name := range n.Metrics {
		end := strings.LastIndexByte(name, ']') + 1
		if dot := strings.IndexByte(name[end:], '.'); dot >= 0 {
			out = append(out, name[:end+dot])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// own adds a cause.
func (c *comparison) own(a, b *Stage, r plan.Reason) {
	n := Change{Reason: r, Stages: []string{b.Name}}
	switch r.Kind {
	case plan.ReasonParam:
		if !c.ownParam(&n) {
			return
		}
	case plan.ReasonInput:
		c.ownInput(a, b, &n)
	case plan.ReasonImage:
		if n.Name == "" {
			n.Name = b.Note.Image
		}
		if was := a.Note.Image; was != "" && was != b.Note.Image && n.Detail == "" {
			n.Detail = "from image " + was + " to image " + b.Note.Image
		}
	case plan.ReasonCommand:
		if a.Note.Command != "" && a.Note.Command != b.Note.Command {
			n.written = block(b.Name) + "\x00" + a.Note.Command + "\x00" + b.Note.Command
		}
		n.Reads = plan.ReadAnew(&r, a.Note, b.Note)
	case plan.ReasonEnv:
		if was, is := a.Note.Env[r.Name], b.Note.Env[r.Name]; was != is {
			n.written = was + "\x00" + is
		}
		n.Reads = plan.ReadAnew(&r, a.Note, b.Note)
	}
	c.cause(n)
}

// ownParam joins a stage to what the runs say of the param. A stage that began to name
// a param that both runs have with the same value says so only when nothing else does,
// which plan.Causes has seen to.
func (c *comparison) ownParam(n *Change) bool {
	old, inOld := c.runs[0].declared(n.Name)
	new, inNew := c.runs[1].declared(n.Name)
	if !inOld && !inNew {
		return true
	}
	if inOld && inNew && old.Value == new.Value && old.Value != "" {
		if n.Detail == "" { // the record was made by a run in which the param had another name or value
			return true
		}
		n.Detail = map[string]string{"added": "the stage refers to it now", "removed": "the stage does not refer to it any more"}[n.Detail]
		return true
	}
	r := plan.Reason{Kind: plan.ReasonParam, Name: n.Name}
	if inOld {
		r.Old, n.OldFrom = shownValue(old), old.Origin
	}
	if inNew {
		r.New, n.NewFrom = shownValue(new), new.Origin
	}
	switch {
	case !inOld:
		r.Detail = "added"
	case !inNew:
		r.Detail = "removed"
	}
	n.Reason = r
	return true
}

func block(stage string) string {
	name, _, _ := strings.Cut(stage, "[")
	return name
}

// outputs says which are what they were although the stage is not.
func (c *comparison) outputs(a, b *Stage) {
	if a.Outputs == nil || b.Outputs == nil {
		return
	}
	old, path := map[string]store.Output{}, map[string]store.Output{}
	for _, o := range a.Outputs {
		old[o.Name] = o
		if !slices.ContainsFunc(b.Outputs, func(n store.Output) bool { return n.Name == o.Name }) {
			path[o.Path] = o
		}
	}
	for _, o := range b.Outputs {
		if !shownOutput(&o) {
			continue
		}
		was, ok := old[o.Name]
		if !ok {
			was, ok = path[o.Path] // it has another name
		}
		if !ok {
			continue // its being new is a cause
		}
		r := plan.Reason{Name: o.Name, Old: artifact(was), New: artifact(o), Detail: "changed"}
		equal := r.Old == r.New
		if equal {
			r.Detail = "equal"
		}
		n := c.consequence(Output, b.Name, r)
		n.Equal = equal
		if was.Name != o.Name {
			n.OldName = was.Name
		}
	}
}

// shownOutput leaves out what stages give that nobody declared.
func shownOutput(o *store.Output) bool { return !strings.HasPrefix(o.Name, ".") }

func artifact(o store.Output) string {
	kind := string(o.Kind)
	if o.Exec {
		kind += " executable"
	}
	return kind + " " + o.Digest.String()
}

// metrics compares what a stage reported.
func (c *comparison) metrics(a, b *Stage) {
	names := make([]string, 0, len(a.Metrics)+len(b.Metrics))
	for n := range a.Metrics {
		names = append(names, n)
	}
	for n := range b.Metrics {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		was, inA := a.Metrics[n]
		is, inB := b.Metrics[n]
		r := plan.Reason{Name: n}
		var by *float64
		switch {
		case !inA:
			r.New, r.Detail = number(is), "run "+string(c.runs[0].ID)+" has none"
		case !inB:
			r.Old, r.Detail = number(was), "run "+string(c.runs[1].ID)+" has none"
		case sameNumber(was, is):
			continue
		default:
			r.Old, r.New, by = number(was), number(is), relative(was, is)
		}
		c.consequence(Metric, b.Name, r).Relative = by
	}
}

// relative is nil where there is nothing to relate to.
func relative(old, new float64) *float64 {
	v := (new - old) / math.Abs(old)
	if old == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
