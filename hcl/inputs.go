package hcl

import (
	"fmt"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// readInputs reads the two forms: a list, and an object that names each.
func (s *scope) readInputs(in *instance) {
	attr := in.block.src.Body.Attributes["inputs"]
	if attr == nil {
		return
	}
	if s.isNamedForm(attr.Expr) {
		found, _ := s.entries(attr.Expr, allowInputs, "inputs")
		for _, x := range found {
			s.namedInput(in, x)
		}
	} else {
		found, _ := s.elements(attr.Expr, allowInputs, "inputs")
		for _, x := range found {
			in.stage.Inputs = append(in.stage.Inputs, s.input(x)...)
		}
	}
	in.stage.Inputs = s.settleInputs(in)
}

// isNamedForm tells an object from a list; for a computed value by evaluating it.
// A reference to a whole stage is neither, and is reported as no list.
func (s *scope) isNamedForm(e hclsyntax.Expression) bool {
	switch e.(type) {
	case *hclsyntax.ObjectConsExpr:
		return true
	case *hclsyntax.TupleConsExpr:
		return false
	}
	before := len(s.ev.diags)
	v, ok := s.eval(e, allowInputs)
	s.ev.diags = s.ev.diags[:before] // evaluated again by the reader, which reports
	if !ok || !v.IsKnown() {
		return false
	}
	_, ref := asReference(v)
	return !ref && (v.Type().IsObjectType() || v.Type().IsMapType())
}

// namedInput reads one item of the object form.
func (s *scope) namedInput(in *instance, x entry) {
	if !blockName.MatchString(x.key) {
		s.ev.report(x.keyRange, "Bad name", fmt.Sprintf("%s cannot be the name of an input. A name starts with a letter or an underscore and goes on with letters, digits, underscores and dashes.", quoted(x.key)), "")
		return
	}
	if x.value.IsNull() {
		return
	}
	s.inputs = append(s.inputs, x.key)
	if s.targets == nil {
		s.targets = map[string]string{}
	}
	found := s.input(x)
	if len(found) > 1 {
		s.ev.report(x.valueRange, "Several things under one name",
			fmt.Sprintf("The input %s would stand for %d outputs.", quoted(x.key), len(found)), "refer to one output: stage.⟨name⟩.⟨output⟩")
		return
	}
	for _, one := range found {
		one.Name = x.key
		s.targets[x.key] = one.Target
		in.stage.Inputs = append(in.stage.Inputs, one)
	}
}

// input turns one element into what it stands for: a path of the project, a
// reference, or an object that moves one of these.
func (s *scope) input(x entry) []Input {
	v, ok := s.open(x.value, x.valueRange, "list of inputs")
	if !ok || !v.IsKnown() {
		return nil
	}
	if ref, ok := asReference(v); ok {
		return s.referenced(ref, x.valueRange)
	}
	switch {
	case v.Type() == cty.String:
		return s.projectPath(v.AsString(), x.valueRange)
	case v.Type().IsObjectType() || v.Type().IsMapType():
		return s.moved(v, x)
	}
	s.ev.report(x.valueRange, "Wrong type",
		fmt.Sprintf("An input is a path, a source, a stage or an output of a stage, not %s.", v.Type().FriendlyName()), inputHint(v))
	return nil
}

func inputHint(v cty.Value) string {
	if v.Type().IsTupleType() || v.Type().IsListType() || v.Type().IsSetType() {
		return "join lists with concat()"
	}
	return ""
}

func (s *scope) projectPath(raw string, r hashi.Range) []Input {
	text, ok := s.clean(raw, r, "path")
	if !ok {
		return nil
	}
	clean, _, problem := cleanPath(text)
	if problem != nil {
		s.ev.reportPath(r, problem)
		return nil
	}
	return []Input{{Kind: InputPath, Path: clean, Glob: isGlob(clean), Target: clean, Range: rangeOf(r)}}
}

// referenced expands a reference: a stage stands for all outputs of all its
// instances.
func (s *scope) referenced(ref *reference, r hashi.Range) []Input {
	switch ref.kind {
	case "source":
		source, ok := s.ev.paths[ref.name]
		if !ok {
			return nil // broken, and reported
		}
		return []Input{{
			Kind: InputSource, Path: source.Path, Glob: source.Glob, Target: source.Path, Source: source.Name, Range: rangeOf(r),
		}}
	case "output":
		for _, out := range ref.at.stage.Outputs {
			if out.Name == ref.output {
				return []Input{outputInput(ref.at, out, r)}
			}
		}
		return nil
	case "stage":
		return s.allOutputs(ref, r)
	}
	s.ev.report(r, "Wrong type", fmt.Sprintf("An input is a path, a source, a stage or an output of a stage, not the reference %s.", ref), "")
	return nil
}

func (s *scope) allOutputs(ref *reference, r hashi.Range) []Input {
	var found []Input
	members := s.ev.members(ref)
	for _, in := range members {
		for _, out := range in.stage.Outputs {
			found = append(found, outputInput(in, out, r))
		}
	}
	if len(found) == 0 && len(members) > 0 {
		s.ev.report(r, "Stage without outputs", fmt.Sprintf("%s has no outputs that could be read.", ref),
			"where only the order matters, use after = ["+ref.String()+"]")
	}
	return found
}

func outputInput(in *instance, out Output, r hashi.Range) Input {
	return Input{
		Kind: InputOutput, Path: out.Path, Target: out.Path, Stage: in.stage.Name, Output: out.Name, Range: rangeOf(r),
	}
}

// moved reads { from = …, as = "path" }.
func (s *scope) moved(v cty.Value, x entry) []Input {
	items := v.AsValueMap()
	for name := range items {
		if name != "from" && name != "as" {
			s.ev.report(x.valueRange, "Unknown attribute", fmt.Sprintf("An input has from and as, and no %s.", quoted(name)),
				didYouMean(name, []string{"from", "as"}, "%s"))
			return nil
		}
	}
	from, ok := items["from"]
	if !ok || from.IsNull() {
		s.ev.report(x.valueRange, "Missing from", "An input written as an object says with from what it is.", "write { from = source.x, as = \"path\" }")
		return nil
	}
	found := s.input(entry{value: from, valueRange: s.itemRange(x, "from")})
	as, ok := items["as"]
	if !ok || as.IsNull() || len(found) == 0 {
		return found
	}
	return s.moveTo(found, as, s.itemRange(x, "as"))
}

// itemRange is the place of one item of an object that is written out.
func (s *scope) itemRange(x entry, name string) hashi.Range {
	object, ok := x.expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return x.valueRange
	}
	for _, item := range object.Items {
		if hashi.ExprAsKeyword(item.KeyExpr) == name {
			return item.ValueExpr.Range()
		}
	}
	return x.valueRange
}

func (s *scope) moveTo(found []Input, as cty.Value, r hashi.Range) []Input {
	if len(found) > 1 || found[0].Glob {
		s.ev.report(r, "Several things at one path", "An input that is moved is one file or one directory; this one may be several.", "")
		return nil
	}
	raw, ok := s.str(as, r, "as")
	if !ok {
		return nil
	}
	clean, _, problem := cleanPath(raw)
	switch {
	case problem != nil:
		s.ev.reportPath(r, problem)
	case isGlob(clean):
		s.ev.report(r, "Bad path", "The path after as cannot be a pattern.", "")
	default:
		found[0].Target = clean
		return found
	}
	return nil
}

// settleInputs makes the places of inputs distinct, none inside another: it drops
// repetitions, and files of the project below a directory of the project that is
// an input as well. A name keeps its path all the same. What else meets at one
// place is an error. Patterns are compared when the project's files are known.
func (s *scope) settleInputs(in *instance) []Input {
	all := in.stage.Inputs
	index := newPathIndex(len(all))
	drop := map[int]bool{}
	for i, x := range all {
		at, taken := index.exact[x.Target]
		if !taken {
			index.add(x.Target, i)
			continue
		}
		drop[i] = true
		if !sameThing(all[at], x) {
			s.inputsMeet(x, fmt.Sprintf("Two inputs would stand at %s in the workspace: %s and %s.", quoted(x.Target), all[at].origin(), x.origin()))
		} else if x.Kind == InputSource && all[at].Kind == InputPath {
			drop[at], drop[i] = true, false // the source knows more about the same file
		}
	}
	for i, x := range all {
		at, nested := index.container(parent(x.Target))
		if !nested || drop[i] {
			continue
		}
		drop[i] = true
		if x.Kind != InputPath || !x.inPlace() || !all[at].inPlace() {
			s.inputsMeet(x, fmt.Sprintf("The input at %s lies inside of the input at %s, which is read-only.", quoted(x.Target), quoted(all[at].Target)))
		}
	}
	return without(all, drop)
}

func without(all []Input, drop map[int]bool) []Input {
	if len(drop) == 0 {
		return all
	}
	var kept []Input
	for i, x := range all {
		if !drop[i] {
			kept = append(kept, x)
		}
	}
	return kept
}

func (s *scope) inputsMeet(x Input, detail string) {
	s.ev.reportRange(x.Range, "Inputs at one path", detail, "move one of them: { from = …, as = \"path\" }")
}

// inPlace reports whether an input is data of the project at its own path.
func (in Input) inPlace() bool {
	return in.Kind != InputOutput && in.Target == in.Path && !in.Glob
}

// sameThing reports whether two inputs are one output, or one path of the
// project.
func sameThing(a, b Input) bool {
	return a.Path == b.Path && a.Stage == b.Stage && (a.Kind == InputOutput) == (b.Kind == InputOutput)
}

// origin names what an input is.
func (in Input) origin() string {
	switch in.Kind {
	case InputSource:
		return "source " + in.Source
	case InputOutput:
		return fmt.Sprintf("the output %s of stage %s", in.Output, quoted(in.Stage))
	}
	return "the project's " + quoted(in.Path)
}
