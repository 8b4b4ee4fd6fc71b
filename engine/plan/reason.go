package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"plumb/store"
)

// ReasonKind says why a stage is not a hit.
type ReasonKind string

// The kinds of reason. The first six groups are ingredients that differ from what the
// stage did before; the others say what is with this very action.
const (
	ReasonCommand   ReasonKind = "command"
	ReasonImage     ReasonKind = "image"
	ReasonParam     ReasonKind = "param"
	ReasonEnv       ReasonKind = "env"
	ReasonSeed      ReasonKind = "seed"
	ReasonInput     ReasonKind = "input"
	ReasonOutput    ReasonKind = "output"
	ReasonNetwork   ReasonKind = "network"
	ReasonSecret    ReasonKind = "secret"
	ReasonIsolation ReasonKind = "isolation"
	ReasonVersion   ReasonKind = "version"

	ReasonCheckpoint ReasonKind = "checkpoint"

	ReasonValue ReasonKind = "value" // each.value, which texts have in them

	ReasonNone     ReasonKind = "none"           // nothing: the stage is a hit
	ReasonNew      ReasonKind = "new"            // never run in this project
	ReasonForced   ReasonKind = "forced"         // --force
	ReasonUpstream ReasonKind = "upstream"       // a stage that it reads from will run
	ReasonEvicted  ReasonKind = "evicted"        // the result was removed by gc
	ReasonDamaged  ReasonKind = "missing_output" // the result is recorded, but bytes of it are lost or damaged
	ReasonFailed   ReasonKind = "failed"         // this very action failed before
	ReasonWhen     ReasonKind = "when"           // its condition is false: it is skipped
	ReasonNotKept  ReasonKind = "not_kept"       // it is a hit, but a stage behind it needs bytes that are not kept
	ReasonEffect   ReasonKind = "effect"         // it is refused: its effect may have happened already, or did
)

// Reason is one cause, in words and for machines. Old and New are readable
// values; "" on one side means that the ingredient was not or is no more there.
type Reason struct {
	Kind   ReasonKind `json:"kind"`
	Name   string     `json:"name"`
	Old    string     `json:"old"`
	New    string     `json:"new"`
	Detail string     `json:"detail"`
}

// fieldReasons maps ingredients to kinds of reason, and their rank: what a user
// most likely changed on purpose comes first.
var fieldReasons = map[FieldKind]struct {
	kind ReasonKind
	rank int
}{
	FieldParam:    {ReasonParam, 0},
	FieldInput:    {ReasonInput, 1},
	FieldImage:    {ReasonImage, 2},
	FieldPlatform: {ReasonImage, 3},
	FieldSeed:     {ReasonSeed, 4},
	FieldCommand:  {ReasonCommand, 5},
	FieldEnv:      {ReasonEnv, 6},
	FieldSecret:   {ReasonSecret, 7},
	FieldOutput:   {ReasonOutput, 8},
	FieldMetrics:  {ReasonOutput, 9},

	FieldCheckpoint: {ReasonCheckpoint, 9},

	FieldNetwork:   {ReasonNetwork, 10},
	FieldIsolation: {ReasonIsolation, 11},
	FieldSandbox:   {ReasonVersion, 12},
}

// Diff says in which ingredients two actions differ, from old to new. It is
// empty exactly when the fields are equal, hence when the keys are.
func Diff(old, new []Field) []Reason {
	type change struct {
		rank int
		Reason
	}
	var out []change
	report := func(f Field, o, n string, inOld, inNew bool) {
		fr, ok := fieldReasons[f.Kind]
		if !ok { // written by a later plumb under the same magic: still named
			fr.kind, fr.rank = ReasonVersion, len(fieldReasons)
		}
		r := Reason{Kind: fr.kind, Name: fieldName(f), Old: Readable(f.Kind, o), New: Readable(f.Kind, n)}
		switch {
		case !inOld:
			r.Detail = "added"
		case !inNew:
			r.Detail = "removed"
		}
		out = append(out, change{fr.rank, r})
	}
	for i, j := 0, 0; i < len(old) || j < len(new); {
		switch {
		case j == len(new) || i < len(old) && old[i].id() < new[j].id():
			report(old[i], old[i].Value, "", true, false)
			i++
		case i == len(old) || new[j].id() < old[i].id():
			report(new[j], "", new[j].Value, false, true)
			j++
		default:
			if old[i].Value != new[j].Value {
				report(new[j], old[i].Value, new[j].Value, true, true)
			}
			i++
			j++
		}
	}
	slices.SortStableFunc(out, func(a, b change) int { return cmp.Compare(a.rank, b.rank) })
	reasons := make([]Reason, len(out))
	for i, c := range out {
		reasons[i] = c.Reason
	}
	return reasons
}

// id orders fields as their encoding does. Kinds hold no NUL.
func (f Field) id() string { return string(f.Kind) + "\x00" + f.Name }

func fieldName(f Field) string {
	switch f.Kind {
	case FieldPlatform, FieldMetrics:
		return string(f.Kind)
	}
	return f.Name
}

// Readable turns a stored value into what people read.
func Readable(k FieldKind, v string) string {
	switch k {
	case FieldEnv, FieldParam:
		if strings.HasPrefix(v, "sensitive:") {
			return "(sensitive)"
		}
		return strings.TrimPrefix(v, "=")
	}
	return v
}

// String says the reason in one line.
func (r Reason) String() string {
	switch r.Kind {
	case ReasonNone:
		return "unchanged"
	case ReasonNew:
		return "never run before"
	case ReasonForced, ReasonEvicted, ReasonDamaged, ReasonFailed, ReasonWhen, ReasonUpstream, ReasonNotKept, ReasonEffect:
		return r.Detail
	case ReasonNetwork, ReasonImage:
		if r.Old == "" && r.New == "" {
			return r.Detail
		}
	case ReasonVersion:
		return "another version of plumb's sandbox"
	case ReasonCommand:
		return "command changed"
	}
	what := strings.TrimSpace(string(r.Kind) + " " + r.Name)
	switch {
	case r.Detail == Renamed:
		return fmt.Sprintf("%s %s renamed to %s", r.Kind, r.Old, r.New)
	case r.Detail == "added" || r.Detail == "removed":
		return what + " " + r.Detail
	case r.Kind == ReasonInput || r.Kind == ReasonImage:
		return what + " changed"
	}
	return fmt.Sprintf("%s changed: %s → %s", what, shorten(r.Old), shorten(r.New))
}

// shorten keeps a value on one line of a terminal.
func shorten(s string) string {
	s = strings.ReplaceAll(s, "\n", "⏎")
	if r := []rune(s); len(r) > 40 {
		return string(r[:39]) + "…"
	}
	return s
}

// InputDigest reads the digest out of an input's value as Diff reports it.
func InputDigest(value string) (kind store.Kind, d store.Digest, ok bool) {
	k, rest, found := strings.Cut(value, " ")
	if !found {
		return "", store.Digest{}, false
	}
	d, err := store.ParseDigest(strings.TrimPrefix(rest, "executable "))
	return store.Kind(k), d, err == nil
}
