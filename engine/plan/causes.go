package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Renamed is the detail of an input or output that stands elsewhere and is otherwise
// what it was. Old and New are then its paths, or an output's names.
const Renamed = "renamed"

// Causes leaves out differences that follow from another one in the list, so that a
// person reads what was changed and nothing else:
//
//   - a command or environment entry whose source text is the same on both sides
//     changed because something that stands in it did: a param, a seed, a metric, the
//     path of an input or output. When what file() gave to it differs, nothing else in
//     the list is that, and it stays; each.value that was written anew is told itself;
//   - a param that a stage began or ceased to refer to did so because a text changed;
//   - a seed whose source text is the same and names a param, and a path that has a
//     param's value in it, follow that param; so do they each.value;
//   - what went at one path and came at another with the same content is one rename.
//
// It never leaves nothing.
func Causes(reasons []Reason, old, new Note) []Reason {
	c := causes{all: renames(reasons), old: old, new: new}
	c.each()
	reasons = c.all
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
		return !Written(r, c.old, c.new) && c.explained()
	case ReasonParam:
		return r.Detail != "" && slices.ContainsFunc(c.all, func(o Reason) bool {
			return o.Kind != ReasonParam && o.Kind != ReasonValue && Written(&o, c.old, c.new)
		})
	case ReasonSeed:
		return r.Detail == "" && slices.ContainsFunc(c.all, func(o Reason) bool { return c.seeds(r, &o) })
	case ReasonInput, ReasonOutput:
		return slices.ContainsFunc(c.all, func(o Reason) bool {
			switch o.Kind {
			case ReasonParam:
				return r.Detail != "" && c.inPath(r, [2]string{plainText(o.Old), plainText(o.New)})
			case ReasonValue:
				return slices.ContainsFunc(parts(o.Old, o.New), func(p [2]string) bool { return c.inPath(r, p) })
			}
			return false
		})
	}
	return false
}

// seeds says that a seed is made of what another reason is about: its source text refers
// to that, and is what it was, or says now what it said before. Records of before source
// texts of seeds were noted have the values alone.
func (c *causes) seeds(r, o *Reason) bool {
	source, equal := c.new.Seed, o.Old == r.Old && o.New == r.New
	switch {
	case o.Kind != ReasonParam && o.Kind != ReasonValue:
		return false
	case source == "" || c.old.Seed == "":
		return equal
	case source != c.old.Seed && !equal:
		return false
	case o.Kind == ReasonValue:
		return hasEach(source)
	}
	return names(source, "param."+o.Name) || strings.Contains(source, "param["+strconv.Quote(o.Name)+"]")
}

// names says that a source text has a reference in it, and not one of which it is the
// beginning or the end.
func names(source, reference string) bool {
	for rest := source; ; {
		before, after, ok := strings.Cut(rest, reference)
		if !ok {
			return false
		}
		rest = after
		inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-' }
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		if !inWord(last) && !inWord(next) {
			return true
		}
	}
}

// hasEach says that a source text refers to each.value.
func hasEach(source string) bool { return names(strings.ReplaceAll(source, "each.key", ""), "each") }

// each adds that each.value was written anew, where a text or the seed has it. One that is
// written as it was follows from a param, or from a file.
func (c *causes) each() {
	if !eachDiffers(c.old, c.new) || c.old.Each.Source == c.new.Each.Source {
		return
	}
	within := func(r Reason) bool {
		source, now := source(&r, c.old), source(&r, c.new)
		return source == now && hasEach(source)
	}
	if slices.ContainsFunc(c.all, within) {
		c.all = slices.Insert(slices.Clone(c.all), 0, Reason{Kind: ReasonValue, Name: "each.value", Old: c.old.Each.Value, New: c.new.Each.Value})
	}
}

func eachDiffers(old, new Note) bool {
	return old.Each != nil && new.Each != nil && old.Each.Value != new.Each.Value
}

// source is the source text of what a reason is about, "" when it has none.
func source(r *Reason, n Note) string {
	switch r.Kind {
	case ReasonCommand:
		return n.Command
	case ReasonEnv:
		return n.Env[r.Name]
	case ReasonSeed:
		return n.Seed
	}
	return ""
}

// Written says that a person wrote something else: the text, or a file that it reads; or
// that nobody knows.
func Written(r *Reason, old, new Note) bool {
	switch r.Kind {
	case ReasonCommand, ReasonEnv:
		was := source(r, old)
		return r.Kind == ReasonEnv && r.Detail != "" || was == "" || was != source(r, new) || len(ReadAnew(r, old, new)) > 0
	}
	return true
}

// ReadAnew lists the files, and the patterns, that gave something else to a text that is
// written as it was. It knows nothing of records of before that was noted.
func ReadAnew(r *Reason, old, new Note) []string {
	text := textCommand
	if r.Kind == ReasonEnv {
		text = textEnv + r.Name
	}
	places := differ(old.Reads[text], new.Reads[text])
	if eachDiffers(old, new) && old.Each.Source == new.Each.Source && hasEach(source(r, new)) {
		places = append(places, differ(old.Reads[textEach], new.Reads[textEach])...)
	}
	slices.Sort(places)
	return slices.Compact(places)
}

func differ(old, new Reads) []string {
	if len(old) == 0 || len(new) == 0 { // a text that began to read was written; or it is not known
		return nil
	}
	var out []string
	for place, digest := range new {
		if old[place] != digest {
			out = append(out, place)
		}
	}
	for place := range old {
		if new[place] == "" {
			out = append(out, place)
		}
	}
	return out
}

// explained says that there is something a text may stand for and that differs.
func (c *causes) explained() bool {
	return MetricsDiffer(c.old, c.new) || slices.ContainsFunc(c.all, func(r Reason) bool {
		switch r.Kind {
		case ReasonParam, ReasonValue, ReasonSeed, ReasonOutput:
			return true
		case ReasonInput:
			return r.Detail != ""
		}
		return false
	})
}

// inPath says that a path is what it was with an old value replaced by the new one: both
// sides of it are in the list.
func (c *causes) inPath(r *Reason, value [2]string) bool {
	from, to := value[0], value[1]
	if from == "" || to == "" || r.Kind == ReasonInput && r.Detail == "" {
		return false
	}
	moved := func(a, b string) bool { return a != b && strings.ReplaceAll(a, from, to) == b }
	if r.Detail == Renamed || r.Detail == "" {
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

// parts pairs the values in two JSON values that differ at the same place, as they stand in
// a text.
func parts(old, new string) (pairs [][2]string) {
	var a, b any
	if json.Unmarshal([]byte(old), &a) != nil || json.Unmarshal([]byte(new), &b) != nil { // abridged
		return nil
	}
	var pair func(a, b any)
	pair = func(a, b any) {
		switch a := a.(type) {
		case map[string]any:
			if b, ok := b.(map[string]any); ok {
				for name := range a {
					pair(a[name], b[name])
				}
			}
		case []any:
			if b, ok := b.([]any); ok {
				for i := range min(len(a), len(b)) {
					pair(a[i], b[i])
				}
			}
		default:
			if p := [2]string{fmt.Sprint(a), fmt.Sprint(b)}; b != nil && p[0] != p[1] {
				pairs = append(pairs, p)
			}
		}
	}
	pair(a, b)
	return pairs
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
