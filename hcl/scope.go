package hcl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// allowance says what an expression may refer to, and whether what it refers to
// enters the stage key.
type allowance uint

const (
	allowParam   allowance = 1 << iota
	allowSource            // source.x.path; with allowRefs source.x too
	allowImage             // image.x
	allowStage             // stage.x and stage.x.out
	allowMetrics           // stage.x.metrics.m
	allowEach              // each.* or matrix.*, where the stage has them
	allowNames             // input.x and output.x
	allowRefs              // references may stand as values of their own
	keyed                  // the params it refers to belong to the key
)

// What the attributes of the language may refer to.
const (
	allowPlain  = allowParam | allowEach
	allowShape  = allowParam | allowSource | allowEach | keyed
	allowText   = allowParam | allowSource | allowStage | allowMetrics | allowEach | allowNames | keyed
	allowInputs = allowParam | allowSource | allowStage | allowEach | allowRefs | keyed
	allowAfter  = allowParam | allowStage | allowEach | allowRefs
	allowWhen   = allowParam | allowStage | allowMetrics | allowEach
)

// scope is what the expressions of one block can see. Params that keyed
// expressions refer to are gathered in uses.
type scope struct {
	ev      *evaluation
	ctx     *hashi.EvalContext
	owner   *stageBlock       // nil outside of stages
	inputs  []string          // the names of the object form
	targets map[string]string // name → place in the workspace
	outputs []string
	uses    map[string]bool
	perKey  bool // each or matrix was used in a keyed expression
}

// newScope is the scope of a block that is no stage.
func (ev *evaluation) newScope() *scope {
	return &scope{ev: ev, ctx: ev.base, uses: map[string]bool{}}
}

// eval checks what an expression refers to and evaluates it. The result may be
// unknown: because of metrics, or because what it refers to is broken, which was
// reported then.
func (s *scope) eval(e hclsyntax.Expression, a allowance) (cty.Value, bool) {
	if text, ok := literal(e); ok {
		return cty.StringVal(text), true
	}
	if _, ok := s.check(e, a); !ok {
		return cty.DynamicVal, false
	}
	return s.value(e)
}

// value evaluates what was checked already.
func (s *scope) value(e hclsyntax.Expression) (cty.Value, bool) {
	v, diags := e.Value(s.ctx)
	hide := diags.HasErrors() && s.refersToSensitive(e)
	for _, d := range diags {
		if hide {
			d.Detail = hiddenDetail
		}
		s.ev.reportEval(d)
	}
	return v, !diags.HasErrors()
}

// literal returns the text of a quoted string without interpolation, which most
// expressions are.
func literal(e hclsyntax.Expression) (string, bool) {
	t, ok := e.(*hclsyntax.TemplateExpr)
	if !ok || !t.IsStringLiteral() {
		return "", false
	}
	v := t.Parts[0].(*hclsyntax.LiteralValueExpr).Val
	return v.AsString(), true
}

// check verifies every reference of an expression against what is declared, so
// that a misspelt one gets a proposal, and returns the metrics it refers to.
func (s *scope) check(e hclsyntax.Expression, a allowance) ([]MetricRef, bool) {
	ok := true
	var metrics []MetricRef
	for _, t := range e.Variables() {
		switch t.RootName() {
		case "param":
			ok = s.checkParam(t, a) && ok
		case "source":
			ok = s.checkSource(t, a) && ok
		case "image":
			ok = s.checkImage(t, a) && ok
		case "stage":
			metric, fine := s.checkStage(e, t, a)
			metrics, ok = append(metrics, metric...), fine && ok
		case "each", "matrix":
			ok = s.checkEach(t, a) && ok
		case "input", "output":
			ok = s.checkNamed(t, a) && ok
		case "secret":
			s.secretInText(t)
			ok = false
		default:
			s.unknownRoot(t)
			ok = false
		}
	}
	return metrics, ok
}

// stepName returns the name that step i of a reference gives, by dot or by
// quoted index.
func stepName(t hashi.Traversal, i int) (string, bool) {
	if i >= len(t) {
		return "", false
	}
	switch step := t[i].(type) {
	case hashi.TraverseAttr:
		return step.Name, true
	case hashi.TraverseIndex:
		if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}

// named checks the first two steps of a reference: that its kind may be used
// here, and that the name is declared.
func (s *scope) named(t hashi.Traversal, permitted bool) (string, bool) {
	kind := t.RootName()
	if !permitted {
		s.ev.report(t.SourceRange(), "Reference not allowed here",
			fmt.Sprintf("What stands here cannot depend on %s.", describe(kind)), "")
		return "", false
	}
	name, ok := stepName(t, 1)
	if !ok {
		s.ev.report(t.SourceRange(), "Incomplete reference",
			fmt.Sprintf("A name must follow %s, spelt out: %s.name.", kind, kind), "")
		return "", false
	}
	if !s.ev.isDeclared(kind, name) {
		s.ev.report(t.SourceRange(), "Unknown "+kind,
			fmt.Sprintf("There is no %s %s. Declared: %s.", kind, quoted(name), listed(s.ev.declared(kind))),
			cmpOr(s.ev.propose(kind, name, kind+".%s"), fmt.Sprintf("declare it with a block: %s %s { … }", kind, quoted(name))))
		return "", false
	}
	return name, true
}

// describe says in words what a reference of some kind stands for.
func describe(kind string) string {
	switch kind {
	case "param":
		return "params"
	case "source":
		return "sources"
	case "image":
		return "images"
	case "stage":
		return "other stages"
	case "input", "output":
		return "the names of inputs and outputs"
	}
	return kind
}

func (s *scope) checkParam(t hashi.Traversal, a allowance) bool {
	name, ok := s.named(t, a&allowParam != 0)
	if ok && a&keyed != 0 {
		s.uses[name] = true
	}
	return ok
}

func (s *scope) checkSource(t hashi.Traversal, a allowance) bool {
	name, ok := s.named(t, a&allowSource != 0)
	if !ok {
		return false
	}
	if len(t) == 2 {
		if a&allowRefs == 0 {
			s.inText(t, "source."+name)
		}
		return a&allowRefs != 0
	}
	if step, ok := stepName(t, 2); !ok || step != "path" {
		s.ev.report(t.SourceRange(), "Unknown attribute",
			fmt.Sprintf("source.%s has only the attribute path.", name), didYouMean(step, []string{"path"}, "%s"))
		return false
	}
	return true
}

func (s *scope) checkImage(t hashi.Traversal, a allowance) bool {
	name, ok := s.named(t, a&allowImage != 0)
	if ok && len(t) > 2 {
		s.ev.report(t.SourceRange(), "Unknown attribute",
			fmt.Sprintf("image.%s has no attributes.", name), fmt.Sprintf("write image.%s", name))
		return false
	}
	return ok
}

// checkEach checks each.key, each.value and matrix.axis.
func (s *scope) checkEach(t hashi.Traversal, a allowance) bool {
	root := t.RootName()
	attribute := map[string]string{"each": "for_each", "matrix": "matrix"}[root]
	if s.owner == nil || s.owner.src.Body.Attributes[attribute] == nil || a&allowEach == 0 {
		s.ev.report(t.SourceRange(), "Reference not allowed here",
			fmt.Sprintf("%s exists only inside of a stage that has %s.", root, attribute), "")
		return false
	}
	known := s.owner.axes
	name, ok := stepName(t, 1)
	if s.owner.broken && len(known) == 0 {
		return true
	}
	if len(t) > 1 && (!ok || !slices.Contains(known, name)) {
		s.ev.report(t.SourceRange(), "Unknown reference",
			fmt.Sprintf("%s has no %s. It has %s.", root, quoted(name), listed(known)), didYouMean(name, known, root+".%s"))
		return false
	}
	s.perKey = s.perKey || a&keyed != 0
	return true
}

// checkNamed checks input.NAME and output.NAME.
func (s *scope) checkNamed(t hashi.Traversal, a allowance) bool {
	root := t.RootName()
	if a&allowNames == 0 {
		s.ev.report(t.SourceRange(), "Reference not allowed here",
			fmt.Sprintf("%s is known only in command and env.", root), "")
		return false
	}
	known := s.inputs
	if root == "output" {
		known = s.outputs
	}
	name, ok := stepName(t, 1)
	if !ok || !slices.Contains(known, name) {
		hint := didYouMean(name, known, root+".%s")
		if root == "input" && len(known) == 0 {
			hint = fmt.Sprintf("name it: inputs = { %s = … }", cmpOr(name, "data"))
		}
		s.ev.report(t.SourceRange(), "Unknown "+root,
			fmt.Sprintf("This stage has no %s named %s. Named: %s.", root, quoted(name), listed(known)), hint)
		return false
	}
	if len(t) > 2 {
		s.ev.report(t.SourceRange(), "Unknown attribute", fmt.Sprintf("%s.%s is a path and has no attributes.", root, name), "")
		return false
	}
	return true
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (s *scope) inText(t hashi.Traversal, ref string) {
	summary, detail, hint := referenceInText(ref)
	s.ev.report(t.SourceRange(), summary, detail, hint)
}

// unknownRoot explains a name that nothing stands behind: a declared name without
// its kind, a misspelt kind, or a variable of the shell.
func (s *scope) unknownRoot(t hashi.Traversal) {
	name, r := t.RootName(), t.SourceRange()
	src := s.ev.sources[r.Filename]
	shell := len(t) == 1 && r.Start.Byte >= 2 && string(src[r.Start.Byte-2:r.Start.Byte]) == "${"
	for _, kind := range []string{"param", "secret", "source", "image", "stage"} {
		if s.ev.isDeclared(kind, name) {
			s.ev.report(r, "Unknown reference",
				fmt.Sprintf("Nothing is called %s by itself; there is a %s of that name.", quoted(name), kind),
				fmt.Sprintf("did you mean %s.%s?", kind, name))
			return
		}
	}
	if shell {
		s.ev.report(r, "Shell variable in braces",
			fmt.Sprintf("${%s} is replaced by plumb, before the shell sees it, and plumb has nothing called %s.", name, quoted(name)),
			fmt.Sprintf("for a variable of the shell write $%s or $${%s}", name, name))
		return
	}
	roots := []string{"param", "source", "image", "stage", "each", "matrix", "input", "output"}
	s.ev.report(r, "Unknown reference",
		fmt.Sprintf("Nothing is called %s. References start with %s.", quoted(name), strings.Join(roots, ", ")),
		didYouMean(name, roots, "%s"))
}

// used lists the params that keyed expressions of this scope refer to, sorted.
func (s *scope) used() []string {
	if s.perKey && s.owner != nil {
		maps.Copy(s.uses, s.owner.uses)
	}
	if len(s.uses) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(s.uses))
}
