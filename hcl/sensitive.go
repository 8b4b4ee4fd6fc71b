package hcl

import (
	"bytes"
	"fmt"
	"slices"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// The value of a sensitive param comes from outside: what stands in the pipeline's files
// is kept with each run, and shown by diff, and so is what expressions read. Wherever it
// is given it must not come out again in what is said about it, neither in the text of an
// error nor in the lines that are shown with one.

// sensitive marks values that come from a sensitive param; cty carries the mark
// to everything computed from them.
type sensitive struct{ param string }

// sensitiveIn lists the sensitive params that a value comes from, sorted.
func sensitiveIn(v cty.Value) []string {
	_, marks := v.UnmarkDeep()
	var names []string
	for m := range marks {
		if s, ok := m.(sensitive); ok {
			names = append(names, s.param)
		}
	}
	slices.Sort(names)
	return names
}

// hiddenDetail stands for what a library says about a value, which may quote it.
const hiddenDetail = "What is wrong is not said here, since it may tell the value of a sensitive param."

// refersToSensitive reports whether what an expression refers to comes from a sensitive
// param.
func (s *scope) refersToSensitive(e hashi.Expression) bool {
	return slices.ContainsFunc(e.Variables(), func(t hashi.Traversal) bool {
		v, _ := t[:min(len(t), 2)].TraverseAbs(s.ctx) // a variable of a for expression is not there
		return v != cty.NilVal && v.ContainsMarked()
	})
}

func (ev *evaluation) anySensitive() bool {
	for _, p := range ev.params {
		if p.sensitive {
			return true
		}
	}
	return false
}

// withheld reports whether a param has a value that is not known any more.
func (ev *evaluation) withheld(p *paramBlock) bool {
	return p.sensitive && slices.Contains(ev.opts.Withheld, p.name)
}

// isEmpty reports whether an expression is null, or an empty text, list or map, as it is
// written: one that is computed could turn out to be another, and reads files.
func isEmpty(e hclsyntax.Expression) bool {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return e.Val.IsNull()
	case *hclsyntax.TemplateExpr:
		text, ok := literal(e)
		return ok && text == ""
	case *hclsyntax.TupleConsExpr:
		return len(e.Exprs) == 0
	case *hclsyntax.ObjectConsExpr:
		return len(e.Items) == 0
	}
	return false
}

// sensitiveInFile refuses a value in the files of the pipeline.
func (ev *evaluation) sensitiveInFile(p *paramBlock, what string, at hashi.Range) {
	ev.hide(at)
	ev.report(at, "Sensitive value in the pipeline",
		fmt.Sprintf("Param %s is sensitive, and its %s would be kept with each run and shown by diff, as all that stands in the pipeline's files is.", quoted(p.name), what),
		fmt.Sprintf("leave it out, and set %s%s or give --params FILE; or declare a secret instead", envPrefix, p.name))
}

// keepSensitiveOut refuses values for sensitive params in a profile.
func (ev *evaluation) keepSensitiveOut(profile *profileBlock) {
	for name, g := range profile.params {
		if p := ev.params[name]; p != nil && p.sensitive {
			ev.sensitiveInFile(p, "value in profile "+profile.name, g.span)
			profile.params[name] = given{value: cty.DynamicVal, origin: g.origin, at: g.at}
		}
	}
}

// hide blots out part of a file in the lines that are shown of it.
func (ev *evaluation) hide(r hashi.Range) {
	text := bytes.Clone(ev.sources[r.Filename])
	for i := r.Start.Byte; i < min(r.End.Byte, len(text)); i++ {
		if text[i] != '\n' {
			text[i] = '*'
		}
	}
	ev.sources[r.Filename] = text
}
