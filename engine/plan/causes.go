package plan

import (
	"encoding/json"
	"slices"
	"strings"
)

// Renamed is the detail of an input or output that stands elsewhere and is otherwise
// what it was. Old and New are then its paths, or an output's names.
const Renamed = "renamed"

// Causes leaves out differences that follow from another one in the list, so that a
// person reads what was changed and nothing else:
//
//   - a command or environment entry whose source text is the same on both sides
//     changed because something that stands in it did: a param, a seed, a metric, the
//     path of an input or output;
//   - a param that a stage began or ceased to refer to did so because a text changed;
//   - a seed that was and is the value of a param, and a path that has a param's value
//     in it, follow that param;
//   - what went at one path and came at another with the same content is one rename.
//
// It never leaves nothing.
func Causes(reasons []Reason, old, new Note) []Reason {
	reasons = renames(reasons)
	c := causes{all: reasons, old: old, new: new}
	var left []Reason
	for i := range reasons {
		if !c.follows(i) {
			left = append(left, reasons[i])
		}
	}
	if len(left) == 0 {
		return reasons
	}
	return left
}

type causes struct {
	all      []Reason
	old, new Note
}

func (c *causes) follows(i int) bool {
	r := &c.all[i]
	switch r.Kind {
	case ReasonCommand, ReasonEnv:
		return !c.written(r) && c.explained()
	case ReasonParam:
		return r.Detail != "" && slices.ContainsFunc(c.all, func(o Reason) bool { return o.Kind != ReasonParam && c.written(&o) })
	case ReasonSeed:
		return slices.ContainsFunc(c.all, func(o Reason) bool {
			return o.Kind == ReasonParam && o.Old == r.Old && o.New == r.New && r.Detail == ""
		})
	case ReasonInput, ReasonOutput:
		return r.Detail != "" && slices.ContainsFunc(c.all, func(o Reason) bool { return o.Kind == ReasonParam && c.inPath(r, &o) })
	}
	return false
}

// written says that a person wrote something else, or that nobody knows.
func (c *causes) written(r *Reason) bool {
	switch r.Kind {
	case ReasonCommand:
		return c.old.Command == "" || c.old.Command != c.new.Command
	case ReasonEnv:
		return r.Detail != "" || c.old.Env[r.Name] == "" || c.old.Env[r.Name] != c.new.Env[r.Name]
	}
	return true
}

// explained says that there is something a text may stand for and that differs.
func (c *causes) explained() bool {
	return MetricsDiffer(c.old, c.new) || slices.ContainsFunc(c.all, func(r Reason) bool {
		switch r.Kind {
		case ReasonParam, ReasonSeed, ReasonOutput:
			return true
		case ReasonInput:
			return r.Detail != ""
		}
		return false
	})
}

// inPath says that a path is what it was with the old value of a param replaced by the
// new one: both sides of it are in the list.
func (c *causes) inPath(r, param *Reason) bool {
	from, to := plainText(param.Old), plainText(param.New)
	if from == "" || to == "" {
		return false
	}
	moved := func(a, b string) bool { return a != b && strings.ReplaceAll(a, from, to) == b }
	if r.Detail == Renamed {
		return moved(r.Old, r.New)
	}
	return slices.ContainsFunc(c.all, func(o Reason) bool {
		if o.Kind != r.Kind {
			return false
		}
		return r.Detail == "removed" && o.Detail == "added" && moved(r.Name, o.Name) ||
			r.Detail == "added" && o.Detail == "removed" && moved(o.Name, r.Name)
	})
}

// plainText is a param's value as it stands in a text.
func plainText(value string) string {
	var s string
	if json.Unmarshal([]byte(value), &s) == nil {
		return s
	}
	return value
}

// MetricsDiffer says that the numbers of other stages that texts stand for differ.
func MetricsDiffer(old, new Note) bool {
	if len(old.Metrics) != len(new.Metrics) {
		return true
	}
	for name, v := range old.Metrics {
		if w, ok := new.Metrics[name]; !ok || v != w {
			return true
		}
	}
	return false
}

// renames makes one reason of a removal and an addition of the same content, or of the
// same path under another name of output.
func renames(reasons []Reason) []Reason {
	var out []Reason
	gone := make([]bool, len(reasons))
	for i := range reasons {
		r := &reasons[i]
		if (r.Kind != ReasonInput && r.Kind != ReasonOutput) || r.Detail != "removed" {
			continue
		}
		for j := range reasons {
			if n := &reasons[j]; !gone[j] && n.Kind == r.Kind && n.Detail == "added" && n.New == r.Old {
				gone[i], gone[j] = true, true
				out = append(out, Reason{Kind: r.Kind, Name: n.Name, Old: r.Name, New: n.Name, Detail: Renamed})
				break
			}
		}
	}
	if len(out) == 0 {
		return reasons
	}
	var left []Reason
	for i := range reasons {
		if !gone[i] {
			left = append(left, reasons[i])
		}
	}
	at := len(left) // where inputs rank, so that the list stays in order
	for i := range left {
		if left[i].Kind != ReasonParam && left[i].Kind != ReasonInput {
			at = i
			break
		}
	}
	return slices.Insert(left, at, out...)
}
