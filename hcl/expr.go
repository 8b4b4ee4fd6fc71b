package hcl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"plumb/hcl/funcs"
)

// expression keeps an expression that cannot be evaluated yet: its text, and the
// values of what it refers to besides metrics.
func (s *scope) expression(e hclsyntax.Expression, metrics []MetricRef) (*Expr, bool) {
	x := &Expr{
		Source: exprText(s.ev.sources, e.Range()), Range: rangeOf(e.Range()), Metrics: metrics, Vars: map[string]string{},
	}
	slices.SortFunc(x.Metrics, compareMetrics)
	x.Metrics = slices.Compact(x.Metrics)
	if len(metrics) > 0 && s.readsFiles(e) {
		return nil, false
	}
	needed := map[string]map[string]bool{}
	for _, t := range e.Variables() {
		root := t.RootName()
		if root == "stage" {
			continue
		}
		if needed[root] == nil {
			needed[root] = map[string]bool{}
		}
		if name, ok := stepName(t, 1); ok {
			needed[root][name] = true
		}
	}
	for root, names := range needed {
		encoded, hidden, ok := s.capture(root, names)
		if !ok {
			return nil, false
		}
		x.Vars[root] = encoded
		x.Sensitive = x.Sensitive || hidden
	}
	return x, true
}

func compareMetrics(a, b MetricRef) int {
	return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Metric, b.Metric))
}

// readsFiles reports functions that look at the project: when the expression is
// evaluated the project may have changed.
func (s *scope) readsFiles(e hclsyntax.Expression) bool {
	found := false
	hclsyntax.VisitAll(e, func(n hclsyntax.Node) hashi.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok && funcs.ReadsFiles(call.Name) {
			s.ev.report(call.Range(), "File and metric together",
				fmt.Sprintf("%s() is evaluated when the pipeline is read, a metric after its stage has run; one expression cannot use both.", call.Name),
				"put the text of the file into a param or an env entry of its own")
			found = true
		}
		return nil
	})
	return found
}

// capture writes the values of a root variable's names as JSON with types, and tells
// whether any is sensitive.
func (s *scope) capture(root string, names map[string]bool) (encoded string, hidden, ok bool) {
	v := cty.NilVal
	for ctx := s.ctx; ctx != nil && v == cty.NilVal; ctx = ctx.Parent() {
		if found, ok := ctx.Variables[root]; ok {
			v = found
		}
	}
	kept := map[string]cty.Value{}
	for name := range names {
		x := v.GetAttr(name)
		if root == "source" && x.IsKnown() {
			x = cty.ObjectVal(map[string]cty.Value{"path": x.GetAttr("path")})
		}
		hidden = hidden || x.ContainsMarked()
		x, _ = x.UnmarkDeep()
		if !x.IsWhollyKnown() {
			return "", hidden, false // broken, and reported
		}
		kept[name] = x
	}
	if len(names) == 0 {
		hidden = v.ContainsMarked()
		kept, _ = unmarkedMap(v)
	}
	out, err := ctyjson.Marshal(cty.ObjectVal(kept), cty.DynamicPseudoType)
	return string(out), hidden, err == nil
}

func unmarkedMap(v cty.Value) (map[string]cty.Value, cty.ValueMarks) {
	v, marks := v.UnmarkDeep()
	return v.AsValueMap(), marks
}

// EvalString evaluates the expression to a string, now that the metrics it waits
// for are known.
func (e *Expr) EvalString(metrics map[MetricRef]float64) (string, Diagnostics) {
	v, diags := e.eval(metrics, cty.String)
	if diags.HasErrors() {
		return "", diags
	}
	return v.AsString(), nil
}

// EvalBool evaluates the expression to a condition.
func (e *Expr) EvalBool(metrics map[MetricRef]float64) (bool, Diagnostics) {
	v, diags := e.eval(metrics, cty.Bool)
	if diags.HasErrors() {
		return false, diags
	}
	return v.True(), nil
}

func (e *Expr) eval(metrics map[MetricRef]float64, want cty.Type) (cty.Value, Diagnostics) {
	start := hashi.Pos(e.Range.Start)
	// In parentheses, as line breaks inside of brackets are kept in Source.
	parsed, diags := hclsyntax.ParseExpression([]byte("("+e.Source+"\n)"), e.Range.File,
		hashi.Pos{Line: start.Line, Column: start.Column - 1, Byte: start.Byte - 1})
	if diags.HasErrors() {
		return cty.NilVal, e.explain(diags)
	}
	ctx := &hashi.EvalContext{Functions: funcs.Table(funcs.Pure()), Variables: map[string]cty.Value{}}
	for root, encoded := range e.Vars {
		object, err := ctyjson.Unmarshal([]byte(encoded), cty.DynamicPseudoType)
		if err != nil {
			return cty.NilVal, e.wrong("Broken expression", fmt.Sprintf("What %s stood for cannot be read: %s.", root, err))
		}
		ctx.Variables[root] = object
	}
	stages, missing := e.stages(metrics)
	if missing != nil {
		return cty.NilVal, missing
	}
	ctx.Variables["stage"] = stages
	v, diags := parsed.Value(ctx)
	if diags.HasErrors() {
		return cty.NilVal, e.explain(diags)
	}
	out, err := convert.Convert(v, want)
	if err != nil || out.IsNull() || !out.IsKnown() {
		return cty.NilVal, e.wrong("Wrong type", fmt.Sprintf("The result must be %s, not %s.", article(want), v.Type().FriendlyName()))
	}
	return out, nil
}

func (e *Expr) wrong(summary, detail string) Diagnostics {
	return Diagnostics{{Severity: SeverityError, Summary: summary, Detail: detail, Subject: e.Range, Snippet: e.snippet()}}
}

func (e *Expr) snippet() string {
	lines := strings.Split(e.Source, "\n")
	lines = lines[:min(len(lines), snippetLines)]
	lines[0] = strings.Repeat(" ", max(e.Range.Start.Column-1, 0)) + lines[0]
	return strings.Join(lines, "\n")
}

func (e *Expr) explain(diags hashi.Diagnostics) Diagnostics {
	var found Diagnostics
	for _, d := range diags {
		if e.Sensitive {
			d.Detail = hiddenDetail
		}
		found = append(found, e.wrong(d.Summary, d.Detail)...)
	}
	return found
}

// tree is nested metrics on their way to an object.
type tree map[string]any

// stages builds the value of stage with the metrics that the expression needs.
func (e *Expr) stages(metrics map[MetricRef]float64) (cty.Value, Diagnostics) {
	root := tree{}
	for _, ref := range e.Metrics {
		n, ok := metrics[ref]
		if !ok {
			return cty.NilVal, e.wrong("Metric missing",
				fmt.Sprintf("Stage %s did not report a metric %s.", quoted(ref.Stage), quoted(ref.Metric)))
		}
		path := []string{ref.Stage}
		if block, key, ok := strings.Cut(ref.Stage, "["); ok {
			path = []string{block, strings.TrimSuffix(key, "]")}
		}
		path = append(append(path, "metrics"), strings.Split(ref.Metric, ".")...)
		if !root.put(path, n) {
			return cty.NilVal, e.wrong("Metric in two forms",
				fmt.Sprintf("%s of stage %s is used both as a number and as a group of numbers.", quoted(ref.Metric), quoted(ref.Stage)))
		}
	}
	return root.object(), nil
}

// put enters a number; false when it collides with a group.
func (t tree) put(path []string, n float64) bool {
	if len(path) == 1 {
		_, taken := t[path[0]]
		t[path[0]] = n
		return !taken
	}
	if t[path[0]] == nil {
		t[path[0]] = tree{}
	}
	next, ok := t[path[0]].(tree)
	return ok && next.put(path[1:], n)
}

func (t tree) object() cty.Value {
	attrs := map[string]cty.Value{}
	for name, x := range t {
		switch x := x.(type) {
		case tree:
			attrs[name] = x.object()
		case float64:
			attrs[name] = cty.NumberFloatVal(x)
		}
	}
	return cty.ObjectVal(attrs)
}

// MetricRefs lists the metrics that a stage waits for, in command, env and when.
func (s *Stage) MetricRefs() []MetricRef {
	var refs []MetricRef
	add := func(e *Expr) {
		if e != nil {
			refs = append(refs, e.Metrics...)
		}
	}
	for _, arg := range s.Command.Args {
		add(arg.Expr)
	}
	for _, v := range s.Env {
		add(v.Value.Expr)
	}
	add(s.When)
	slices.SortFunc(refs, compareMetrics)
	return slices.Compact(refs)
}

// Dependencies lists the stages that must be done before this one: those whose
// outputs or metrics it reads, and those it says it comes after. Sorted.
func (s *Stage) Dependencies() []string {
	names := slices.Clone(s.After)
	for _, in := range s.Inputs {
		if in.Kind == InputOutput {
			names = append(names, in.Stage)
		}
	}
	for _, ref := range s.MetricRefs() {
		names = append(names, ref.Stage)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
