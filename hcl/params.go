package hcl

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// envPrefix starts the names of the variables that set params.
const envPrefix = "PLUMB_PARAM_"

// paramBlock is a param under evaluation. value is unknown when it is broken.
type paramBlock struct {
	src       *hclsyntax.Block
	name      string
	want      cty.Type
	typed     bool // type was said, not taken from the default
	value     cty.Value
	origin    string
	sensitive bool
}

// given is a value for a param from outside of its block.
type given struct {
	value  cty.Value
	raw    string // text to be read by the param's type, when value is not set
	origin string
	at     Range
	span   hashi.Range // the same, when it stands in a profile
}

// evalParams gives every param its value: the default, then what the profile, the
// files, the environment and the command line say, each over the one before.
func (ev *evaluation) evalParams() {
	ev.params = map[string]*paramBlock{}
	for _, b := range ev.blocks.params {
		ev.params[b.Labels[0]] = ev.declareParam(b)
	}
	for _, p := range ev.profiles {
		ev.keepSensitiveOut(p)
	}
	overrides := ev.givenParams()
	values := map[string]cty.Value{}
	for _, b := range ev.blocks.params {
		p := ev.params[b.Labels[0]]
		ev.settle(p, overrides[p.name])
		values[p.name] = p.value
		if p.sensitive {
			values[p.name] = p.value.Mark(sensitive{p.name})
		}
	}
	ev.base.Variables = map[string]cty.Value{"param": cty.ObjectVal(values)}
	for _, b := range ev.blocks.params {
		ev.validate(ev.params[b.Labels[0]])
		ev.keepParam(ev.params[b.Labels[0]])
	}
}

// declareParam reads type, default and the flags of a param.
func (ev *evaluation) declareParam(b *hclsyntax.Block) *paramBlock {
	ev.conform(b.Body, "param", shape{
		attributes: []string{"type", "default", "description", "sensitive"}, blocks: []string{"validation"},
	})
	s := ev.newScope()
	p := &paramBlock{src: b, name: b.Labels[0], want: cty.String, value: cty.NilVal}
	p.sensitive, _ = s.boolAttr(b.Body, "sensitive", 0)
	if attr := b.Body.Attributes["type"]; attr != nil {
		ty, diags := typeexpr.TypeConstraint(attr.Expr)
		for _, d := range diags {
			ev.report(rangeIn(d.Subject, attr.Expr.Range()), "Unknown type", d.Detail,
				"write string, number, bool, list(string), map(number) or object({ … })")
		}
		p.want, p.typed = ty, true
		if diags.HasErrors() {
			p.want = cty.DynamicPseudoType
		}
	}
	if attr := b.Body.Attributes["default"]; attr != nil {
		if p.sensitive && !isEmpty(attr.Expr) {
			ev.sensitiveInFile(p, "default", attr.Expr.Range())
			p.value, p.want = cty.DynamicVal, cty.DynamicPseudoType
			return p
		}
		ev.setDefault(p, attr)
	}
	return p
}

func rangeIn(r *hashi.Range, otherwise hashi.Range) hashi.Range {
	if r == nil {
		return otherwise
	}
	return *r
}

// setDefault evaluates the default; it also gives the type of a param that says
// none.
func (ev *evaluation) setDefault(p *paramBlock, attr *hclsyntax.Attribute) {
	p.origin = "default"
	v, ok := ev.newScope().eval(attr.Expr, 0)
	if !ok {
		p.value, p.want = cty.DynamicVal, cty.DynamicPseudoType
		return
	}
	if !p.typed {
		p.want = typeOfDefault(v)
	}
	out, err := convert.Convert(v, p.want)
	if err != nil {
		ev.report(attr.Expr.Range(), "Wrong type",
			fmt.Sprintf("The default of param %s does not fit its type %s: %s.", quoted(p.name), typeexpr.TypeString(p.want), err), "change the default, or the type")
		out = cty.DynamicVal
	}
	p.value = out
}

// typeOfDefault is the type a default stands for: brackets make a list and braces
// a map where all elements have one type, so that a value from outside may have
// others of that type.
func typeOfDefault(v cty.Value) cty.Type {
	t := v.Type()
	switch {
	case v.IsNull():
		return cty.String
	case t.IsTupleType():
		if element, ok := common(t.TupleElementTypes()); ok {
			return cty.List(element)
		}
	case t.IsObjectType():
		if element, ok := common(slices.Collect(maps.Values(t.AttributeTypes()))); ok {
			return cty.Map(element)
		}
	}
	return t
}

// common is the one type of all elements; without elements it is any type.
func common(types []cty.Type) (cty.Type, bool) {
	if len(types) == 0 {
		return cty.DynamicPseudoType, true
	}
	for _, t := range types {
		if !t.Equals(types[0]) {
			return t, false
		}
	}
	return types[0], true
}

// givenParams merges the values from outside in rising precedence, and reports
// those for params that do not exist.
func (ev *evaluation) givenParams() map[string]given {
	all := map[string]given{}
	if ev.overlay != nil {
		maps.Copy(all, ev.overlay.params)
	}
	for _, f := range ev.opts.ParamFiles {
		maps.Copy(all, ev.paramFile(f))
	}
	for variable, raw := range ev.opts.Environ {
		name := strings.TrimPrefix(variable, envPrefix)
		if ev.params[name] != nil && name != variable {
			all[name] = given{raw: raw, origin: "environment " + variable}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ev.opts.Params)) {
		g := given{raw: ev.opts.Params[name], origin: "command line"}
		if ev.knownParam(name, g.origin, Range{}) {
			all[name] = g
		}
	}
	return all
}

func (ev *evaluation) knownParam(name, origin string, at Range) bool {
	if ev.isDeclared("param", name) {
		return true
	}
	ev.reportRange(at, "Unknown param",
		fmt.Sprintf("The %s sets param %s, which is not declared. Declared: %s.", origin, quoted(name), listed(ev.declared("param"))),
		ev.propose("param", name, "%s"))
	return false
}

// paramFile reads a file of params: a JSON object, or HCL attributes.
func (ev *evaluation) paramFile(f File) map[string]given {
	ev.sources[f.Name] = f.Data
	file, diags := parseParamFile(f)
	holds := ev.anySensitive() // the file may have the value of one, and under a name that is misspelt
	found := map[string]given{}
	if !utf8.Valid(f.Data) {
		ev.reportRange(Range{File: f.Name}, "No UTF-8 text", fmt.Sprintf("The file of params %s is not UTF-8 text.", quoted(f.Name)), textHint)
		return found
	}
	if !diags.HasErrors() {
		attrs, more := file.Body.JustAttributes()
		diags = append(diags, more...)
		for name, attr := range attrs {
			v, bad := attr.Expr.Value(nil)
			diags = append(diags, bad...)
			at := rangeOf(attr.NameRange)
			if p := ev.params[name]; holds && (p == nil || p.sensitive) {
				ev.hide(attr.Expr.Range())
			}
			if !bad.HasErrors() && ev.knownParam(name, "file "+f.Name, at) {
				found[name] = given{value: v, origin: "file " + f.Name, at: rangeOf(attr.Expr.Range())}
			}
		}
	}
	if holds && diags.HasErrors() {
		ev.hide(hashi.Range{Filename: f.Name, End: hashi.Pos{Byte: len(f.Data)}})
	}
	for _, d := range diags {
		if holds && d.Detail != "" {
			d.Detail = hiddenDetail
		}
		ev.reportSyntax(d)
	}
	return found
}

func parseParamFile(f File) (*hashi.File, hashi.Diagnostics) {
	if strings.HasSuffix(f.Name, ".json") {
		return json.Parse(f.Data, f.Name)
	}
	return hclsyntax.ParseConfig(f.Data, f.Name, startPos)
}

// SetsSensitive reports whether a file of params has a value for a sensitive param of p,
// also one that something later overrides. One that cannot be read may have.
func SetsSensitive(p *Pipeline, f File) bool {
	if !slices.ContainsFunc(p.Params, func(v Param) bool { return v.Sensitive }) {
		return false
	}
	file, diags := parseParamFile(f)
	if diags.HasErrors() {
		return true
	}
	attrs, diags := file.Body.JustAttributes()
	return diags.HasErrors() || slices.ContainsFunc(p.Params, func(v Param) bool { return v.Sensitive && attrs[v.Name] != nil })
}

// textHint is for bytes that are no text: recorded, they would be other ones.
const textHint = "write it as UTF-8, or encode it, in base64 for example"

// settle chooses between the default and the value from outside.
func (ev *evaluation) settle(p *paramBlock, g given) {
	if !utf8.ValidString(g.raw) {
		ev.report(p.src.DefRange(), "No UTF-8 text", fmt.Sprintf("The %s gives param %s bytes that are not UTF-8 text.", g.origin, quoted(p.name)), textHint)
		g = given{value: cty.DynamicVal, origin: g.origin}
	}
	if g.origin != "" {
		p.origin = g.origin
		v, err := g.as(p.want)
		if err != nil {
			at := g.at
			if at == (Range{}) {
				at = rangeOf(p.src.DefRange())
			}
			shown := quoted(g.raw)
			if g.raw == "" || p.sensitive {
				shown = "the value"
			}
			ev.reportRange(at, "Wrong type",
				fmt.Sprintf("Param %s must be %s; %s from the %s is not: %s.", quoted(p.name), typeexpr.TypeString(p.want), shown, g.origin, withoutValue(err, p.sensitive)), fmt.Sprintf("give it a value of type %s", typeexpr.TypeString(p.want)))
			v = cty.DynamicVal
		}
		p.value = v
	}
	if ev.withheld(p) {
		p.value, p.origin = cty.UnknownVal(p.want), ""
	}
	if p.value == cty.NilVal {
		ev.report(p.src.DefRange(), "Param without a value",
			fmt.Sprintf("Param %s has no default, and nothing sets it.", quoted(p.name)),
			fmt.Sprintf("add a default, or pass --param %s=… or %s%s", p.name, envPrefix, p.name))
		p.value = cty.DynamicVal
	}
	if p.want == cty.DynamicPseudoType && p.value.IsNull() {
		p.value = cty.NullVal(cty.String)
	}
}

// withoutValue keeps a sensitive value out of the text of an error.
func withoutValue(err error, hide bool) string {
	if hide {
		return "it cannot be converted"
	}
	return err.Error()
}

// as converts a value from outside to the type of its param. Text is taken as it
// is for a string, and read as an expression for a list, a map or an object.
func (g given) as(want cty.Type) (cty.Value, error) {
	v := g.value
	if v == cty.NilVal {
		v = cty.StringVal(g.raw)
		if !want.IsPrimitiveType() && want != cty.DynamicPseudoType {
			e, diags := hclsyntax.ParseExpression([]byte(g.raw), "value", startPos)
			if diags.HasErrors() {
				return v, fmt.Errorf("it is no expression such as [1, 2] or {a = 1}")
			}
			if v, diags = e.Value(nil); diags.HasErrors() {
				return v, fmt.Errorf("it must be written without references or functions")
			}
		}
	}
	return convert.Convert(v, want)
}

// validate evaluates the conditions of a param.
func (ev *evaluation) validate(p *paramBlock) {
	for _, b := range p.src.Body.Blocks {
		if b.Type != "validation" {
			continue
		}
		ev.conform(b.Body, "validation", shape{attributes: []string{"condition", "message"}})
		if b.Body.Attributes["condition"] == nil {
			ev.report(b.DefRange(), "Missing condition", "A validation has a condition, which must be true.",
				fmt.Sprintf("write condition = param.%s > 0, for example", p.name))
			continue
		}
		ev.validateOne(p, b.Body)
	}
}

func (ev *evaluation) validateOne(p *paramBlock, body *hclsyntax.Body) {
	s := ev.newScope()
	v, r, ok := s.attr(body, "condition", allowParam)
	if !ok {
		return
	}
	v, _ = v.UnmarkDeep()
	if v, ok = s.to(v, cty.Bool, r, "condition"); !ok || v.True() {
		return
	}
	detail := fmt.Sprintf("The condition of param %s is not met.", quoted(p.name))
	if message, r, ok := s.attr(body, "message", allowParam); ok && !message.ContainsMarked() {
		if text, ok := s.str(message, r, "message"); ok {
			detail = sentence(text)
		}
	}
	if !p.sensitive {
		detail += fmt.Sprintf(" The value is %s, from the %s.", canonicalJSON(p.value), p.origin)
	}
	hint := fmt.Sprintf("change the default, or give --param %s=VALUE", p.name)
	if p.origin != "default" {
		hint = "give another value there"
	}
	ev.report(r, "Validation failed", detail, hint)
}

// sentence ends a user's message with a stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsAny(text[len(text)-1:], ".!?") {
		return text
	}
	return text + "."
}

// canonicalJSON writes a known value with sorted keys and exact numbers.
func canonicalJSON(v cty.Value) string {
	v, _ = v.UnmarkDeep()
	out, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return "null" // only capsules and unknowns cannot be written, and neither gets here
	}
	return string(out)
}

func (ev *evaluation) keepParam(p *paramBlock) {
	description, _ := ev.newScope().stringAttr(p.src.Body, "description", 0)
	value := ""
	switch {
	case p.value.IsWhollyKnown():
		value = canonicalJSON(p.value)
	case !ev.withheld(p):
		return
	}
	ev.pipeline.Params = append(ev.pipeline.Params, Param{
		Name: p.name, Description: description, Type: typeexpr.TypeString(p.value.Type()),
		Value: value, Origin: p.origin, Sensitive: p.sensitive, Range: rangeOf(p.src.DefRange()),
	})
}
