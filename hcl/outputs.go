package hcl

import (
	"fmt"
	"path"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// readOutputs evaluates all that an instance writes: outputs, metrics, checkpoint. It reports false when
// it cannot tell what the outputs are.
func (s *scope) readOutputs(in *instance) bool {
	body := in.block.src.Body
	ok := true
	if attr := body.Attributes["outputs"]; attr != nil {
		ok = s.outputList(in, attr.Expr)
	}
	if attr := body.Attributes["metrics"]; attr != nil {
		if raw, said := s.stringAttr(body, "metrics", allowShape); said {
			in.stage.MetricsRange = rangeOf(attr.Expr.Range())
			in.stage.Metrics, _, said = s.writtenPath(raw, attr.Expr.Range())
			ok = ok && said
		} else {
			ok = false
		}
	}
	return s.checkpoint(in) && ok
}

// outputList reads the three forms: an object of paths by name, a list of paths
// and a single path, named by their base names. Each path may be an object that says
// more of it.
func (s *scope) outputList(in *instance, e hclsyntax.Expression) bool {
	if _, isLiteral := literal(e); isLiteral {
		return s.unnamedOutputs(in, e, true)
	}
	switch e.(type) {
	case *hclsyntax.ObjectConsExpr:
		return s.namedOutputs(in, e)
	case *hclsyntax.TupleConsExpr:
		return s.unnamedOutputs(in, e, false)
	}
	v, ok := s.eval(e, allowShape)
	if !ok || !v.IsKnown() {
		return false
	}
	v, _ = v.Unmark()
	if v.Type().IsObjectType() || v.Type().IsMapType() {
		return s.namedOutputs(in, e)
	}
	return s.unnamedOutputs(in, e, v.Type().IsPrimitiveType())
}

func (s *scope) namedOutputs(in *instance, e hclsyntax.Expression) bool {
	found, ok := s.entries(e, allowShape, "outputs")
	for _, x := range found {
		if !blockName.MatchString(x.key) {
			s.ev.report(x.keyRange, "Bad name", fmt.Sprintf("%s cannot be the name of an output. A name starts with a letter or an underscore and goes on with letters, digits, underscores and dashes.", quoted(x.key)), "")
			ok = false
			continue
		}
		ok = s.addOutput(in, x.key, x) && ok
	}
	return ok
}

func (s *scope) unnamedOutputs(in *instance, e hclsyntax.Expression, one bool) bool {
	var found []entry
	ok := true
	if one {
		v, fine := s.eval(e, allowShape)
		found, ok = []entry{{value: v, valueRange: e.Range()}}, fine
	} else {
		found, ok = s.elements(e, allowShape, "outputs")
	}
	if !ok {
		return false
	}
	for _, x := range found {
		ok = s.addOutput(in, "", x) && ok
	}
	return ok
}

// addOutput checks one path and enters it, under the base name of the path when
// it has no name.
func (s *scope) addOutput(in *instance, name string, x entry) bool {
	x, unkept, ok := s.retained(x)
	if !ok {
		return false
	}
	raw, ok := s.str(x.value, x.valueRange, "path of an output")
	if !ok {
		return false
	}
	clean, dir, ok := s.writtenPath(raw, x.valueRange)
	if !ok {
		return false
	}
	if name == "" {
		name = outputName(clean)
	}
	if name == "metrics" {
		s.ev.report(x.valueRange, "Bad name", "An output cannot be called metrics: stage.x.metrics stands for the numbers that a stage reports.",
			"name it: outputs = { numbers = "+quoted(raw)+" }, or declare metrics = "+quoted(raw))
		return false
	}
	for _, other := range in.stage.Outputs {
		if other.Name == name {
			s.ev.report(x.valueRange, "Duplicate name",
				fmt.Sprintf("Two outputs would be called %s: %s and %s.", quoted(name), quoted(other.Path), quoted(clean)),
				"use the object form: outputs = { name = \"path\" }")
			return false
		}
	}
	in.stage.Outputs = append(in.stage.Outputs, Output{Name: name, Path: clean, Dir: dir, Unkept: unkept, Range: rangeOf(x.valueRange)})
	return true
}

// outputName makes a name of a path: its base without the last extension, with
// what a name cannot hold replaced by underscores.
func outputName(p string) string {
	base := path.Base(p)
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base = base[:i]
	}
	name := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, base)
	if name[0] == '-' || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}

// writtenPath checks a path that a stage writes.
func (s *scope) writtenPath(raw string, r hashi.Range) (clean string, dir, ok bool) {
	clean, dir, problem := cleanPath(raw)
	switch {
	case problem != nil && problem.summary == "Path leaves the project":
		s.ev.report(r, "Output outside the sandbox",
			fmt.Sprintf("The path %s contains \"..\". A stage writes below its working directory only.", quoted(raw)),
			"write it below the working directory, and use export to put it elsewhere in the project")
	case problem != nil && (problem.summary == "Absolute path" || problem.summary == "Path is the whole project"):
		s.ev.report(r, problem.summary,
			fmt.Sprintf("The path %s is not below the working directory. A stage writes below its working directory only.", quoted(raw)),
			"name a file, or a directory with a slash at its end, relative to the working directory")
	case problem != nil:
		s.ev.reportPath(r, problem)
	case isGlob(clean):
		s.ev.report(r, "Pattern in an output", fmt.Sprintf("%s is a pattern; an output is one file or one directory.", quoted(raw)),
			"declare the directory that the files are written to, with a slash at its end")
	default:
		return clean, dir, true
	}
	return "", false, false
}

// nameContext makes input.NAME and output.NAME known to command and env.
func (s *scope) nameContext(in *instance) {
	inputs, outputs := map[string]cty.Value{}, map[string]cty.Value{}
	for _, name := range s.inputs {
		inputs[name] = cty.DynamicVal // broken, and reported, unless it has a target
		if target, ok := s.targets[name]; ok {
			inputs[name] = cty.StringVal(target)
		}
	}
	for _, x := range in.stage.Outputs {
		outputs[x.Name] = cty.StringVal(x.Path)
		s.outputs = append(s.outputs, x.Name)
	}
	s.ctx = s.ctx.NewChild()
	s.ctx.Variables = map[string]cty.Value{"input": cty.ObjectVal(inputs), "output": cty.ObjectVal(outputs)}
}
