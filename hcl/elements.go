package hcl

import (
	"fmt"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// entry is one element of a list or one item of an object. For a literal each has
// a range of its own; for a computed value they share that of the expression.
type entry struct {
	key                  string
	value                cty.Value
	expr                 hclsyntax.Expression // nil when the value was computed as a whole
	keyRange, valueRange hashi.Range
}

// entries evaluates an expression that must give an object or a map, item by item
// where it is written out, so that one bad item does not hide the others.
func (s *scope) entries(e hclsyntax.Expression, a allowance, what string) ([]entry, bool) {
	object, ok := e.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return s.computedEntries(e, a, what)
	}
	var found []entry
	all := true
	for _, item := range object.Items {
		x, ok := s.item(item, a, what)
		if !ok {
			all = false
			continue
		}
		found = append(found, x)
	}
	return unique(s, found, what), all
}

// item evaluates the key of one item of an object, and its value unless it may
// depend on metrics, which the caller sees to.
func (s *scope) item(item hclsyntax.ObjectConsItem, a allowance, what string) (entry, bool) {
	x := entry{expr: item.ValueExpr, keyRange: item.KeyExpr.Range(), valueRange: item.ValueExpr.Range()}
	key, ok := s.eval(item.KeyExpr, a&^(allowMetrics|allowStage|allowRefs))
	if ok {
		x.key, ok = s.str(key, x.keyRange, "name in "+what)
	}
	if a&allowMetrics != 0 {
		return x, ok
	}
	var fine bool
	x.value, fine = s.eval(item.ValueExpr, a)
	return x, ok && fine
}

func (s *scope) computedEntries(e hclsyntax.Expression, a allowance, what string) ([]entry, bool) {
	v, ok := s.eval(e, a&^allowMetrics)
	if !ok || !v.IsKnown() {
		return nil, false
	}
	v, marks := v.Unmark()
	if v.IsNull() {
		return nil, true
	}
	if _, ref := asReference(v); ref || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		s.ev.report(e.Range(), "Wrong type",
			fmt.Sprintf("The %s must be an object such as { name = value }, not %s.", what, v.Type().FriendlyName()), fmt.Sprintf("write %s = { NAME = … }", what))
		return nil, false
	}
	var found []entry
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		found = append(found, entry{
			key: key.AsString(), value: value.WithMarks(marks), keyRange: e.Range(), valueRange: e.Range(),
		})
	}
	return found, true
}

// unique reports names that an object has twice and keeps the first.
func unique(s *scope, entries []entry, what string) []entry {
	seen := make(map[string]bool, len(entries))
	kept := entries[:0]
	for _, e := range entries {
		if seen[e.key] {
			s.ev.report(e.keyRange, "Duplicate name", fmt.Sprintf("The %s have %s already.", what, quoted(e.key)), "")
			continue
		}
		seen[e.key] = true
		kept = append(kept, e)
	}
	return kept
}

// elements evaluates an expression that must give a list, element by element
// where it is written out. Nulls are left out, so that a condition can drop one.
func (s *scope) elements(e hclsyntax.Expression, a allowance, what string) ([]entry, bool) {
	tuple, ok := e.(*hclsyntax.TupleConsExpr)
	if !ok {
		return s.computedElements(e, a, what)
	}
	var found []entry
	all := true
	for _, x := range tuple.Exprs {
		v, ok := s.eval(x, a)
		all = all && ok
		if ok && !v.IsNull() {
			found = append(found, entry{value: v, expr: x, valueRange: x.Range()})
		}
	}
	return found, all
}

func (s *scope) computedElements(e hclsyntax.Expression, a allowance, what string) ([]entry, bool) {
	v, ok := s.eval(e, a)
	if !ok || !v.IsKnown() {
		return nil, false
	}
	v, marks := v.Unmark()
	if v.IsNull() {
		return nil, true
	}
	t := v.Type()
	if !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		s.ev.report(e.Range(), "Wrong type", fmt.Sprintf("The %s must be a list, not %s.", what, friendly(v)), "put it in brackets: "+what+" = […]")
		return nil, false
	}
	var found []entry
	for it := v.ElementIterator(); it.Next(); {
		_, x := it.Element()
		if !x.IsNull() {
			found = append(found, entry{value: x.WithMarks(marks), valueRange: e.Range()})
		}
	}
	return found, true
}

func friendly(v cty.Value) string {
	if ref, ok := asReference(v); ok {
		return "the reference " + ref.String()
	}
	return v.Type().FriendlyName()
}
