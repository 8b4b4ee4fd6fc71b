package hcl

import (
	"fmt"
	"reflect"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// reference is what a traversal such as source.x or stage.x.out evaluates to: a
// value of its own that lists, conditions and for expressions carry around
// unchanged.
type reference struct {
	kind   string // "source", "image", "stage" (all outputs), "output"
	name   string // source, image, or stage block
	at     *instance
	output string
}

// referenceType is the cty type of references. It is compared by identity, so
// there is one.
var referenceType = cty.Capsule("reference", reflect.TypeFor[reference]())

// wholeKey is the attribute of a source's or a stage's object that holds the
// reference to all of it; no traversal can spell it.
const wholeKey = "\x1freference"

// String names the reference as it is written.
func (r *reference) String() string {
	switch {
	case r.kind == "output":
		return r.at.ref() + "." + r.output
	case r.at != nil:
		return r.at.ref()
	}
	return r.kind + "." + r.name
}

func capsule(r reference) cty.Value { return cty.CapsuleVal(referenceType, &r) }

// asReference returns the reference that a value is or, for a source or a whole
// stage, contains.
func asReference(v cty.Value) (*reference, bool) {
	v, _ = v.Unmark()
	if v.IsNull() || !v.IsKnown() {
		return nil, false
	}
	if v.Type().IsObjectType() && v.Type().HasAttribute(wholeKey) {
		v = v.GetAttr(wholeKey)
	}
	if v.Type() != referenceType {
		return nil, false
	}
	return v.EncapsulatedValue().(*reference), true
}

// stageObject builds the value of all stages, once they have a shape.
func (ev *evaluation) stageObject() cty.Value {
	attrs := make(map[string]cty.Value, len(ev.order))
	for _, b := range ev.order {
		attrs[b.name] = b.object()
	}
	return cty.ObjectVal(attrs)
}

// object is the value of one stage block: of its outputs and metrics, or of its
// instances by key.
func (b *stageBlock) object() cty.Value {
	if b.broken {
		return cty.DynamicVal
	}
	if b.form == formSingle {
		return b.instances[0].object()
	}
	attrs := map[string]cty.Value{wholeKey: capsule(reference{kind: "stage", name: b.name})}
	for _, in := range b.instances {
		attrs[in.key] = in.object()
	}
	return cty.ObjectVal(attrs)
}

func (in *instance) object() cty.Value {
	attrs := make(map[string]cty.Value, len(in.stage.Outputs)+2)
	attrs[wholeKey] = capsule(reference{kind: "stage", name: in.block.name, at: in})
	for _, out := range in.stage.Outputs {
		attrs[out.Name] = capsule(reference{kind: "output", name: in.block.name, at: in, output: out.Name})
	}
	if in.stage.Metrics != "" {
		attrs["metrics"] = cty.DynamicVal
	}
	return cty.ObjectVal(attrs)
}

// ref is how other stages refer to the instance.
func (in *instance) ref() string {
	if in.block.form == formSingle {
		return "stage." + in.block.name
	}
	return fmt.Sprintf("stage.%s[%s]", in.block.name, quoted(in.key))
}

// checkStage checks a reference to a stage, its outputs or its metrics, and
// returns the metric if it is one.
func (s *scope) checkStage(e hclsyntax.Expression, t hashi.Traversal, a allowance) ([]MetricRef, bool) {
	name, ok := s.named(t, a&allowStage != 0)
	if !ok {
		return nil, false
	}
	b := s.ev.stages[name]
	if b == nil || b.broken {
		return nil, true // reported where it is declared
	}
	rest := 2
	in := b.only()
	if b.form != formSingle {
		key, given := stepName(t, rest)
		if !given {
			return s.checkWhole(e, t, b, a)
		}
		if in, ok = b.byKey[key]; !ok {
			s.ev.report(t.SourceRange(), "Unknown stage instance",
				fmt.Sprintf("stage.%s has no instance %s. It has %s.", name, quoted(key), listed(b.keys())),
				didYouMean(key, b.keys(), fmt.Sprintf("stage.%s[%%q]", name)))
			return nil, false
		}
		rest++
	}
	return s.checkInstance(in, t, rest, a)
}

// checkInstance checks what follows the stage: nothing, an output, or metrics.
func (s *scope) checkInstance(in *instance, t hashi.Traversal, rest int, a allowance) ([]MetricRef, bool) {
	name, given := stepName(t, rest)
	if given && name == "metrics" {
		return s.checkMetric(in, t, rest+1, a)
	}
	if a&allowRefs == 0 {
		s.inText(t, exprText(s.ev.sources, t.SourceRange()))
		return nil, false
	}
	if !given {
		return nil, true
	}
	var known []string
	for _, out := range in.stage.Outputs {
		if out.Name == name {
			if len(t) > rest+1 {
				s.ev.report(t.SourceRange(), "Unknown attribute", fmt.Sprintf("%s.%s is an output and has no attributes.", in.ref(), name), "")
			}
			return nil, len(t) == rest+1
		}
		known = append(known, out.Name)
	}
	s.ev.report(t.SourceRange(), "Unknown output",
		fmt.Sprintf("%s has no output %s. Its outputs: %s.", in.ref(), quoted(name), listed(known)),
		didYouMean(name, known, in.ref()+".%s"))
	return nil, false
}

func (s *scope) checkMetric(in *instance, t hashi.Traversal, rest int, a allowance) ([]MetricRef, bool) {
	if a&allowMetrics == 0 {
		s.ev.report(t.SourceRange(), "Metric not allowed here",
			"A metric is known only when its stage has run. It can be used in command, env and when.", "")
		return nil, false
	}
	if in.stage.Metrics == "" {
		s.ev.report(t.SourceRange(), "Stage without metrics",
			fmt.Sprintf("%s reports no metrics.", in.ref()), fmt.Sprintf("add metrics = \"metrics.json\" to stage %s", quoted(in.block.name)))
		return nil, false
	}
	metric, ok := metricName(t, rest)
	if !ok {
		s.ev.report(t.SourceRange(), "Incomplete reference", "The name of a metric must follow metrics.", "")
		return nil, false
	}
	return []MetricRef{{Stage: in.stage.Name, Metric: metric}}, true
}

// metricName joins the steps of a nested metric with dots.
func metricName(t hashi.Traversal, from int) (string, bool) {
	var parts []string
	for i := from; i < len(t); i++ {
		name, ok := stepName(t, i)
		if !ok {
			return "", false
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, "."), len(parts) > 0
}

// checkWhole checks a reference to all instances of a stage. Where references are
// no values, what stands there is an index that has to be computed, as in
// stage.x[each.key].metrics.m: its metrics are found by evaluating the index.
func (s *scope) checkWhole(e hclsyntax.Expression, t hashi.Traversal, b *stageBlock, a allowance) ([]MetricRef, bool) {
	found := &indexed{at: t.SourceRange()}
	hclsyntax.VisitAll(e, found.visit)
	if found.index == nil || found.steps == nil {
		if a&allowRefs != 0 {
			return nil, true
		}
		s.inText(t, "stage."+b.name)
		return nil, false
	}
	key, diags := found.index.Key.Value(s.ctx)
	if diags.HasErrors() || !key.IsWhollyKnown() || key.IsNull() || key.IsMarked() || key.Type() != cty.String {
		if a&allowRefs != 0 {
			return nil, true // evaluated later, where the parts of a for expression are known
		}
		s.ev.report(found.index.SrcRange, "Metric reference not fixed",
			"Which metric is meant must be clear before anything runs: the index may use params, each and matrix, but no variable of a for expression.", "")
		return nil, false
	}
	in, ok := b.byKey[key.AsString()]
	if !ok {
		s.ev.report(found.index.SrcRange, "Unknown stage instance",
			fmt.Sprintf("stage.%s has no instance %s. It has %s.", b.name, quoted(key.AsString()), listed(b.keys())), "")
		return nil, false
	}
	return s.checkInstance(in, found.steps, 0, a)
}

// indexed finds, by the place of the traversal that is indexed, the index and the
// steps that follow it.
type indexed struct {
	at    hashi.Range
	index *hclsyntax.IndexExpr
	steps hashi.Traversal
}

func (x *indexed) visit(n hclsyntax.Node) hashi.Diagnostics {
	switch n := n.(type) {
	case *hclsyntax.RelativeTraversalExpr:
		if index, ok := n.Source.(*hclsyntax.IndexExpr); ok && index.Collection.Range() == x.at {
			x.index, x.steps = index, n.Traversal
		}
	}
	return nil
}
