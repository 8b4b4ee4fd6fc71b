package hcl

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// maxInstances bounds what one block expands to; beyond it a matrix is a mistake.
const maxInstances = 100_000

// form says how many stages a block stands for.
type form int

const (
	formSingle form = iota
	formEach
	formMatrix
)

// stageBlock is a stage as it is written, with the instances it stands for.
type stageBlock struct {
	src       *hclsyntax.Block
	name      string
	form      form
	axes      []string // what each or matrix has
	uses      map[string]bool
	instances []*instance
	byKey     map[string]*instance
	broken    bool // what it stands for could not be told; reported then
}

// instance is one stage of a block.
type instance struct {
	block *stageBlock
	key   string // "" for a single one
	scope *scope
	stage Stage
	each  *Each // of for_each over a map
}

// only returns the instance of a single stage.
func (b *stageBlock) only() *instance {
	if b.form != formSingle {
		return nil
	}
	return b.instances[0]
}

func (b *stageBlock) keys() []string {
	var keys []string
	for _, in := range b.instances {
		keys = append(keys, in.key)
	}
	return keys
}

// shapeStages expands all blocks into instances and evaluates their outputs,
// which is what references to stages need to know.
func (ev *evaluation) shapeStages() {
	ev.stages = make(map[string]*stageBlock, len(ev.blocks.stages))
	known := stageShape()
	for _, src := range ev.blocks.stages {
		b := &stageBlock{src: src, name: src.Labels[0], uses: map[string]bool{}}
		ev.conform(src.Body, "stage", known)
		ev.expand(b)
		for _, in := range b.instances {
			b.broken = !in.scope.readOutputs(in) || b.broken
		}
		ev.stages[b.name] = b
		ev.order = append(ev.order, b)
	}
}

// expand makes the instances of a block.
func (ev *evaluation) expand(b *stageBlock) {
	each, matrix := b.src.Body.Attributes["for_each"], b.src.Body.Attributes["matrix"]
	switch {
	case each != nil && matrix != nil:
		ev.report(matrix.NameRange, "Two expansions", "A stage has for_each or matrix, not both.", "use a matrix with one more list")
		b.broken = true
	case each != nil:
		b.form, b.axes = formEach, []string{"key", "value"}
		ev.expandEach(b, each.Expr)
	case matrix != nil:
		b.form = formMatrix
		ev.expandMatrix(b, matrix.Expr)
	default:
		ev.addInstance(b, "", "", cty.NilVal)
	}
}

// addInstance makes one stage; root and value are the variable that tells it from
// the others.
func (ev *evaluation) addInstance(b *stageBlock, key, root string, value cty.Value) {
	s := &scope{ev: ev, ctx: ev.base, owner: b, uses: map[string]bool{}}
	in := &instance{block: b, key: key, scope: s}
	in.stage = Stage{Name: b.name, Block: b.name, Range: rangeOf(b.src.DefRange())}
	if b.form != formSingle {
		in.stage.Name = b.name + "[" + key + "]"
		s.ctx = ev.base.NewChild()
		s.ctx.Variables = map[string]cty.Value{root: value}
		if b.byKey == nil {
			b.byKey = map[string]*instance{}
		}
		b.byKey[key] = in
	}
	b.instances = append(b.instances, in)
}

// spread evaluates for_each or matrix, of which the values are shown in names.
func (ev *evaluation) spread(b *stageBlock, e hclsyntax.Expression, what string) (cty.Value, bool) {
	s := &scope{ev: ev, ctx: ev.base, uses: b.uses}
	v, ok := s.eval(e, allowParam|allowSource|keyed)
	if ok {
		v, ok = s.open(v, e.Range(), what)
	}
	if !ok || !v.IsWhollyKnown() {
		b.broken = true
		return v, false
	}
	if v.IsNull() {
		ev.badSpread(b, e.Range(), what, "null")
		return v, false
	}
	return v, true
}

func (ev *evaluation) badSpread(b *stageBlock, r hashi.Range, what, got string) {
	b.broken = true
	want, hint := "a list or a set of strings, or a map or an object", "write for_each = [\"a\", \"b\"]"
	if what == "matrix" {
		want, hint = "an object of lists", "write matrix = { depth = [3, 5] }"
	}
	ev.report(r, "Wrong type", fmt.Sprintf("The %s must be %s, not %s.", what, want, got), hint)
}

func (ev *evaluation) expandEach(b *stageBlock, e hclsyntax.Expression) {
	var v cty.Value
	var ok bool
	reads := ev.reads.during(func() { v, ok = ev.spread(b, e, "for_each") })
	if !ok {
		return
	}
	t := v.Type()
	named := t.IsMapType() || t.IsObjectType()
	if _, ref := asReference(v); ref || !named && !t.IsListType() && !t.IsSetType() && !t.IsTupleType() {
		ev.badSpread(b, e.Range(), "for_each", friendly(v))
		return
	}
	sources := ev.eachSources(e)
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if !named {
			key = value
		}
		text, ok := keyText(key)
		if !ok {
			ev.badSpread(b, e.Range(), "for_each", "a list with "+friendly(key))
			return
		}
		if ev.checkKey(b, text, e.Range()) {
			ev.addInstance(b, text, "each", cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(text), "value": value}))
			if named {
				b.byKey[text].each = &Each{Source: abridged(cmpOr(sources[text], exprText(ev.sources, e.Range()))), Value: abridged(asJSON(value)), Reads: reads}
			}
		}
	}
}

// eachSources gives the source texts of the values of an object that is written out.
func (ev *evaluation) eachSources(e hclsyntax.Expression) map[string]string {
	object, ok := e.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return nil
	}
	sources := map[string]string{}
	for _, item := range object.Items {
		if key, diags := item.KeyExpr.Value(ev.base); !diags.HasErrors() && key.IsKnown() && !key.IsMarked() {
			if text, ok := keyText(key); ok {
				sources[text] = exprText(ev.sources, item.ValueExpr.Range())
			}
		}
	}
	return sources
}

func asJSON(v cty.Value) string {
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil { // a reference to another block: it has no value
		return friendly(v)
	}
	return string(b)
}

// abridged bounds what is noted of a value or a text. Others are still told apart.
func abridged(s string) string {
	const most, begin = 300, 80
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (sha256:%x)", strings.ToValidUTF8(s[:begin], ""), sha256.Sum256([]byte(s)))
}

// keyText turns a string, number or bool into the text that names an instance.
func keyText(v cty.Value) (string, bool) {
	if v.IsNull() || !v.Type().IsPrimitiveType() {
		return "", false
	}
	text, err := convert.Convert(v, cty.String)
	if err != nil {
		return "", false
	}
	return text.AsString(), true
}

// checkKey refuses keys that cannot stand in the name of a stage, and repeated
// ones.
func (ev *evaluation) checkKey(b *stageBlock, key string, r hashi.Range) bool {
	switch {
	case b.byKey[key] != nil:
		ev.report(r, "Duplicate name", fmt.Sprintf("The key %s occurs twice; every stage needs a name of its own.", quoted(key)), "wrap the list in distinct()")
	case key == "" || strings.ContainsAny(key, "[]\"\\") || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }):
		ev.report(r, "Bad key", fmt.Sprintf("The key %s cannot stand in the name of a stage: it must not be empty, and not contain brackets, quotes, backslashes or line breaks.", quoted(key)),
			"use an object, whose keys can be chosen: { name = value }")
	case len(b.instances) >= maxInstances:
		ev.report(r, "Too many stages", fmt.Sprintf("Stage %s would stand for more than %d stages.", quoted(b.name), maxInstances), "")
	default:
		return true
	}
	b.broken = true
	return false
}

// axis is one list of a matrix.
type axis struct {
	name   string
	values []cty.Value
}

func (ev *evaluation) expandMatrix(b *stageBlock, e hclsyntax.Expression) {
	v, ok := ev.spread(b, e, "matrix")
	if !ok {
		return
	}
	if _, ref := asReference(v); ref || !v.Type().IsObjectType() && !v.Type().IsMapType() || v.LengthInt() == 0 {
		ev.badSpread(b, e.Range(), "matrix", friendly(v))
		return
	}
	var axes []axis
	total := 1
	items := v.AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(items)) {
		values := items[name]
		if values.IsNull() || !values.CanIterateElements() || values.Type().IsMapType() || values.Type().IsObjectType() {
			ev.badSpread(b, e.Range(), "matrix", fmt.Sprintf("%s for %s", friendly(values), quoted(name)))
			return
		}
		axes = append(axes, axis{name, values.AsValueSlice()})
		b.axes = append(b.axes, name)
		if total *= len(axes[len(axes)-1].values); total > maxInstances {
			ev.report(e.Range(), "Too many stages", fmt.Sprintf("The matrix stands for more than %d stages.", maxInstances), "")
			b.broken = true
			return
		}
	}
	ev.combine(b, axes, nil, map[string]cty.Value{}, e.Range())
}

// combine walks the product of the axes, the first one slowest.
func (ev *evaluation) combine(b *stageBlock, axes []axis, labels []string, chosen map[string]cty.Value, r hashi.Range) {
	if len(axes) == 0 {
		if key := strings.Join(labels, ","); ev.checkKey(b, key, r) {
			ev.addInstance(b, key, "matrix", cty.ObjectVal(maps.Clone(chosen)))
		}
		return
	}
	for _, v := range axes[0].values {
		text, ok := keyText(v)
		if !ok {
			ev.badSpread(b, r, "matrix", fmt.Sprintf("%s in %s", friendly(v), quoted(axes[0].name)))
			return
		}
		chosen[axes[0].name] = v
		ev.combine(b, axes[1:], append(slices.Clip(labels), axes[0].name+"="+text), chosen, r)
	}
}
