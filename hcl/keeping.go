package hcl

import (
	"fmt"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What a stage says about what is kept beyond its end: outputs of which only the
// digest stays, a directory that its attempts share, effects that nothing undoes.

// retained reads { path = …, retain = … }, and gives what is left to be read as a path.
func (s *scope) retained(x entry) (path entry, unkept, ok bool) {
	v, fine := s.open(x.value, x.valueRange, "path of an output")
	if !fine || !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return x, false, fine
	}
	if _, ref := asReference(v); ref {
		return x, false, true // reported as no path
	}
	items := v.AsValueMap()
	for name := range items {
		if name != "path" && name != "retain" {
			s.ev.report(x.valueRange, "Unknown attribute", fmt.Sprintf("An output has path and retain, and no %s.", quoted(name)),
				didYouMean(name, []string{"path", "retain"}, "%s"))
			return x, false, false
		}
	}
	at, said := items["path"]
	if !said || at.IsNull() {
		s.ev.report(x.valueRange, "Missing path", "An output written as an object says with path where it is written.", "write { path = \"big.bin\", retain = \"none\" }")
		return x, false, false
	}
	path = entry{key: x.key, value: at, keyRange: x.keyRange, valueRange: s.itemRange(x, "path")}
	if retain, said := items["retain"]; said && !retain.IsNull() {
		unkept, ok = s.unkept(retain, s.itemRange(x, "retain"))
		return path, unkept, ok
	}
	return path, false, true
}

// checkpoint reads the path of the directory that attempts share. It reports false when
// it cannot tell.
func (s *scope) checkpoint(in *instance) bool {
	attr := in.block.src.Body.Attributes["checkpoint"]
	if attr == nil {
		return true
	}
	raw, ok := s.stringAttr(in.block.src.Body, "checkpoint", allowShape)
	if !ok {
		return attrIsNull(s, attr)
	}
	in.stage.CheckpointRange = rangeOf(attr.Expr.Range())
	in.stage.Checkpoint, _, ok = s.writtenPath(raw, attr.Expr.Range())
	return ok
}

// attrIsNull tells an attribute that says nothing from one that was reported.
func attrIsNull(s *scope, attr *hclsyntax.Attribute) bool {
	before := len(s.ev.diags)
	v, ok := s.eval(attr.Expr, allowShape)
	s.ev.diags = s.ev.diags[:before]
	return ok && v.IsNull()
}

// effect reads effect and idempotent, and refuses what does not go with them.
func (s *scope) effect(in *instance) {
	st, body := &in.stage, in.block.src.Body
	st.Effect, _ = s.boolAttr(body, "effect", allowPlain)
	st.Idempotent, _ = s.boolAttr(body, "idempotent", allowPlain)
	if st.Idempotent && !st.Effect {
		s.ev.report(body.Attributes["idempotent"].Expr.Range(), "Idempotent without effect",
			"That repeating a stage does no harm is said of one that writes outside; all others can be repeated anyway.", "add effect = true, or leave idempotent out")
	}
	if st.Effect && st.Cache != nil && !*st.Cache {
		s.ev.report(body.Attributes["cache"].Expr.Range(), "Effect that is not remembered",
			"A stage with effect = true succeeds at most once for a key, so that it did is always remembered; cache = false would have it run every time.",
			"leave cache out; a param with the date in it makes a new key each day")
	}
	if !st.Effect || st.Idempotent {
		return
	}
	for _, o := range st.Outputs {
		if o.Unkept {
			s.ev.reportRange(o.Range, "Output of an effect not kept",
				fmt.Sprintf("The output %s would have to be made again when it is needed, and the effect with it.", quoted(o.Name)),
				"keep it, or say idempotent = true where repeating the effect does no harm")
		}
	}
}

// checkKeeping reports checkpoints that overlap what their stage reads or writes, and
// metrics in outputs that are not kept.
func (ev *evaluation) checkKeeping() {
	for i := range ev.pipeline.Stages {
		st := &ev.pipeline.Stages[i]
		if st.Checkpoint != "" {
			ev.checkCheckpoint(st)
		}
		for _, o := range st.Outputs {
			if o.Unkept && st.Metrics != "" && within(st.Metrics, o.Path) {
				ev.reportRange(o.Range, "Metrics not kept", fmt.Sprintf("The metrics %s of stage %s lie in its output %s, of which the bytes are not kept.", quoted(st.Metrics), quoted(st.Name), quoted(o.Name)),
					"write the metrics to a path of their own, or keep the output")
			}
		}
	}
}

func (ev *evaluation) checkCheckpoint(st *Stage) {
	clash := func(what, path string) {
		ev.reportRange(st.CheckpointRange, "Checkpoint overlaps "+what,
			fmt.Sprintf("The checkpoint %s of stage %s overlaps its %s at %s. It is a directory of its own, which is neither read from elsewhere nor kept as a result.",
				quoted(st.Checkpoint), quoted(st.Name), what, quoted(path)),
			"give the checkpoint a path of its own, and copy from it what is to be an output")
	}
	for _, o := range st.Outputs {
		if overlaps(st.Checkpoint, o.Path) {
			clash("output", o.Path)
			return
		}
	}
	if st.Metrics != "" && overlaps(st.Checkpoint, st.Metrics) {
		clash("metrics", st.Metrics)
		return
	}
	for _, in := range st.Inputs {
		if inputOverlaps(in, st.Checkpoint) {
			clash("input", in.Target)
			return
		}
	}
}

// unkept reads the value of retain.
func (s *scope) unkept(v cty.Value, r hashi.Range) (unkept, ok bool) {
	word, ok := s.str(v, r, "retain")
	if !ok {
		return false, false
	}
	if word != "none" && word != "always" {
		s.ev.report(r, "Bad retain", fmt.Sprintf("The bytes of an output are retained \"always\" or \"none\", not %s.", quoted(word)), didYouMean(word, []string{"none", "always"}, "%q"))
		return false, false
	}
	return word == "none", true
}
