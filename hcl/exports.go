package hcl

import (
	"fmt"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// evalExports evaluates the export blocks.
func (ev *evaluation) evalExports() {
	for _, b := range ev.blocks.exports {
		ev.conform(b.Body, "export", shape{attributes: []string{"from"}})
		clean, _, problem := cleanPath(b.Labels[0])
		if problem == nil && isGlob(clean) {
			problem = &pathProblem{"Bad path", "An export is written to one path, not to a pattern.", ""}
		}
		if problem != nil {
			ev.reportPath(b.LabelRanges[0], problem)
		}
		if ref := ev.exported(b); ref != nil && problem == nil {
			ev.pipeline.Exports = append(ev.pipeline.Exports, Export{
				Path: clean, Stage: ref.at.stage.Name, Output: ref.output, Range: rangeOf(b.DefRange()),
			})
		}
	}
}

// exported reads from = stage.x.out.
func (ev *evaluation) exported(b *hclsyntax.Block) *reference {
	attr := b.Body.Attributes["from"]
	if attr == nil {
		ev.report(b.DefRange(), "Export of nothing", fmt.Sprintf("The export %s does not say which output it writes.", quoted(b.Labels[0])),
			"add from = stage.⟨name⟩.⟨output⟩")
		return nil
	}
	s := ev.newScope()
	v, ok := s.eval(attr.Expr, allowParam|allowStage|allowRefs)
	if !ok || !v.IsKnown() {
		return nil
	}
	ref, ok := asReference(v)
	if ok && ref.kind == "output" {
		return ref
	}
	if ok && ref.kind == "stage" {
		ev.notOneOutput(ref, attr.Expr.Range())
		return nil
	}
	ev.report(attr.Expr.Range(), "Wrong type", "An export comes from an output of a stage.", "write from = stage.⟨name⟩.⟨output⟩")
	return nil
}

func (ev *evaluation) notOneOutput(ref *reference, r hashi.Range) {
	var known []string
	for _, in := range ev.members(ref) {
		for _, out := range in.stage.Outputs {
			known = append(known, in.ref()+"."+out.Name)
		}
	}
	hint := ""
	if len(known) > 0 {
		hint = "write from = " + known[0]
	}
	ev.report(r, "Export of a whole stage", fmt.Sprintf("An export is one output. Those of this stage: %s.", listed(known)), hint)
}
