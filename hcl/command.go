package hcl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// command reads the string form, for a shell, and the list form.
func (s *scope) command(in *instance) {
	attr := in.block.src.Body.Attributes["command"]
	if attr == nil {
		s.ev.report(in.block.src.DefRange(), "Stage without command", fmt.Sprintf("Stage %s does not say what to run.", quoted(in.block.name)),
			"add command = \"…\"")
		return
	}
	c := Command{Source: exprText(s.ev.sources, attr.Expr.Range()), Range: rangeOf(attr.Expr.Range())}
	c.Reads = s.ev.reads.during(func() { c.Shell, c.Args = s.arguments(attr.Expr) })
	in.stage.Command = c
}

func (s *scope) arguments(e hclsyntax.Expression) (shell bool, args []Text) {
	if tuple, ok := e.(*hclsyntax.TupleConsExpr); ok {
		for _, x := range tuple.Exprs {
			if text, _, ok := s.text(x, "argument", false); ok {
				args = append(args, text)
			}
		}
		s.checkProgram(e.Range(), tuple.Exprs, args)
		return false, args
	}
	if isText(e) {
		text, _, ok := s.text(e, "command", false)
		if ok && text.Expr == nil && strings.TrimSpace(text.Value) == "" {
			s.ev.report(e.Range(), "Empty command", "The command has nothing to run.", "")
		}
		return true, []Text{text}
	}
	return s.computedArguments(e)
}

// isText reports whether an expression is certain to give a string.
func isText(e hclsyntax.Expression) bool {
	switch e := e.(type) {
	case *hclsyntax.TemplateExpr:
		return true
	case *hclsyntax.TemplateWrapExpr:
		return isText(e.Wrapped)
	}
	return false
}

func (s *scope) checkProgram(r hashi.Range, exprs []hclsyntax.Expression, args []Text) {
	if len(exprs) == 0 || len(args) > 0 && args[0].Expr == nil && args[0].Value == "" && len(args) == len(exprs) {
		s.ev.report(r, "Empty command", "The list must start with the program to run.", "write for example [\"python3\", \"train.py\"]")
	}
}

// computedArguments evaluates a command that is neither a string nor a list as
// it is written: a condition, a function, a param.
func (s *scope) computedArguments(e hclsyntax.Expression) (shell bool, args []Text) {
	metrics, ok := s.check(e, allowText)
	if !ok {
		return false, nil
	}
	if len(metrics) > 0 {
		text, _, _ := s.text(e, "command", false)
		return true, []Text{text}
	}
	v, ok := s.value(e)
	if ok {
		v, ok = s.open(v, e.Range(), "command")
	}
	if !ok || !v.IsWhollyKnown() {
		return false, nil
	}
	t := v.Type()
	if v.IsNull() || !t.IsTupleType() && !t.IsListType() {
		value, _ := s.str(v, e.Range(), "command")
		return true, []Text{{Value: value}}
	}
	for it := v.ElementIterator(); it.Next(); {
		_, x := it.Element()
		value, _ := s.str(x, e.Range(), "argument")
		args = append(args, Text{Value: value})
	}
	s.checkProgram(e.Range(), make([]hclsyntax.Expression, len(args)), args)
	return false, args
}

// text evaluates an expression to a string, or keeps it when it depends on
// metrics. A sensitive value is an error unless hidden says that it stays out of
// sight; then from lists the params that it comes from.
func (s *scope) text(e hclsyntax.Expression, what string, hidden bool) (text Text, from []string, ok bool) {
	if lit, ok := literal(e); ok {
		lit, ok = s.clean(lit, e.Range(), what)
		return Text{Value: lit}, nil, ok
	}
	metrics, ok := s.check(e, allowText)
	if !ok {
		return Text{}, nil, false
	}
	v, ok := s.value(e)
	if !ok {
		return Text{}, nil, false
	}
	from = sensitiveIn(v)
	if hidden {
		v, _ = v.UnmarkDeep()
	} else if v, ok = s.open(v, e.Range(), what); !ok {
		return Text{}, from, false
	}
	if len(metrics) > 0 {
		x, ok := s.expression(e, metrics)
		return Text{Expr: x}, from, ok
	}
	text.Value, ok = s.str(v, e.Range(), what)
	return text, from, ok
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// env reads an object of variables. A null takes a variable of the pipeline
// block away; it is kept as an entry without a name.
func (s *scope) env(body *hclsyntax.Body, a allowance) map[string]EnvVar {
	attr := body.Attributes["env"]
	if attr == nil {
		return nil
	}
	object, ok := attr.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return s.computedEnv(attr.Expr, a)
	}
	vars := map[string]EnvVar{}
	for _, item := range object.Items {
		x, ok := s.item(item, a|allowMetrics, "env")
		if !ok || !s.checkEnvName(x) {
			continue
		}
		if _, taken := vars[x.key]; taken {
			s.ev.report(x.keyRange, "Duplicate name", fmt.Sprintf("The env has %s already.", quoted(x.key)), "")
			continue
		}
		if lit, ok := x.expr.(*hclsyntax.LiteralValueExpr); ok && lit.Val.IsNull() {
			vars[x.key] = EnvVar{}
			continue
		}
		if v, ok := s.envValue(x, a); ok {
			vars[x.key] = v
		}
	}
	return vars
}

func (s *scope) envValue(x entry, a allowance) (EnvVar, bool) {
	if a&allowMetrics == 0 { // outside of a stage there is nothing to wait for
		if _, ok := s.check(x.expr, a); !ok {
			return EnvVar{}, false
		}
	}
	v := EnvVar{Name: x.key, Source: exprText(s.ev.sources, x.valueRange)}
	var ok bool
	v.Reads = s.ev.reads.during(func() { v.Value, v.SensitiveParams, ok = s.text(x.expr, "value of "+x.key, true) })
	v.Sensitive = len(v.SensitiveParams) > 0
	return v, ok
}

func (s *scope) computedEnv(e hclsyntax.Expression, a allowance) map[string]EnvVar {
	var found []entry
	reads := s.ev.reads.during(func() { found, _ = s.entries(e, a&^allowMetrics, "env") })
	vars := map[string]EnvVar{}
	for _, x := range found {
		v, from := x.value, sensitiveIn(x.value)
		v, _ = v.UnmarkDeep()
		if !s.checkEnvName(x) || !v.IsKnown() {
			continue
		}
		if v.IsNull() {
			vars[x.key] = EnvVar{}
			continue
		}
		if text, ok := s.str(v, x.valueRange, "value of "+x.key); ok {
			source := exprText(s.ev.sources, x.valueRange)
			vars[x.key] = EnvVar{Name: x.key, Value: Text{Value: text}, Sensitive: len(from) > 0, SensitiveParams: from, Source: source, Reads: reads}
		}
	}
	return vars
}

func (s *scope) checkEnvName(x entry) bool {
	switch {
	case !envName.MatchString(x.key):
		s.ev.report(x.keyRange, "Bad variable name",
			fmt.Sprintf("%s cannot name an environment variable. Use letters, digits and underscores, and no digit first.", quoted(x.key)), "")
	case strings.HasPrefix(x.key, "PLUMB_"):
		s.ev.report(x.keyRange, "Reserved variable name", "Variables whose names start with PLUMB_ are set by plumb.", envHint(x.key))
	default:
		return true
	}
	return false
}

func envHint(name string) string {
	switch {
	case strings.HasPrefix(name, envPrefix):
		return "list the param: params = [param." + strings.TrimPrefix(name, envPrefix) + "]"
	case name == "PLUMB_SEED":
		return "write seed = …"
	}
	return ""
}

// mergeEnv puts the variables of a stage over those of the pipeline block,
// sorted by name.
func (s *scope) mergeEnv(own map[string]EnvVar) []EnvVar {
	if len(own) == 0 && len(s.ev.defaults.env) == 0 {
		return nil
	}
	merged := maps.Clone(s.ev.defaults.env)
	if merged == nil {
		merged = map[string]EnvVar{}
	} else {
		s.use(s.ev.defaults.envUses)
	}
	maps.Copy(merged, own)
	var vars []EnvVar
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if v := merged[name]; v.Name != "" {
			vars = append(vars, v)
		}
	}
	return vars
}

// when reads the condition of a stage. A condition that is plainly true is none.
func (s *scope) when(in *instance) {
	attr := in.block.src.Body.Attributes["when"]
	if attr == nil {
		return
	}
	metrics, ok := s.check(attr.Expr, allowWhen)
	if !ok {
		return
	}
	v, ok := s.value(attr.Expr)
	if !ok || v.IsKnown() && v.IsNull() {
		return
	}
	if v, ok = s.open(v, attr.Expr.Range(), "when"); !ok {
		return
	}
	if len(metrics) == 0 {
		if v, ok = s.to(v, cty.Bool, attr.Expr.Range(), "when"); !ok || v.True() {
			return
		}
	} else if v.IsKnown() || v.Type() != cty.DynamicPseudoType && v.Type() != cty.Bool {
		if _, ok := s.to(v, cty.Bool, attr.Expr.Range(), "when"); !ok && v.Type() != cty.Bool {
			return
		}
	}
	in.stage.When, _ = s.expression(attr.Expr, metrics)
}
