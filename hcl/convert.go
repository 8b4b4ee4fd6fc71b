package hcl

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// open returns a value without marks; a sensitive one is an error at a place
// where it would be shown or kept.
func (s *scope) open(v cty.Value, r hashi.Range, what string) (cty.Value, bool) {
	if !v.ContainsMarked() {
		return v, true
	}
	s.ev.report(r, "Sensitive value exposed",
		fmt.Sprintf("The %s would show and keep the value of a sensitive param.", what),
		"pass it with params = [param.x], or in env")
	return cty.DynamicVal, false
}

// to converts a value that is neither null nor unknown to a type; unknown ones
// were reported where they come from.
func (s *scope) to(v cty.Value, want cty.Type, r hashi.Range, what string) (cty.Value, bool) {
	if ref, ok := asReference(v); ok {
		if want == cty.String {
			summary, detail, hint := referenceInText(ref.String())
			s.ev.report(r, summary, detail, hint)
		} else {
			s.wrongType(r, what, want, "not a reference")
		}
		return v, false
	}
	out, err := convert.Convert(v, want)
	if err != nil {
		s.wrongType(r, what, want, "not "+v.Type().FriendlyName())
		return v, false
	}
	if !out.IsWhollyKnown() {
		return out, false
	}
	if out.IsNull() {
		s.ev.report(r, "Wrong type", fmt.Sprintf("The %s must be %s, not null.", what, article(want)), "")
		return out, false
	}
	return out, true
}

func (s *scope) wrongType(r hashi.Range, what string, want cty.Type, got string) {
	s.ev.report(r, "Wrong type", fmt.Sprintf("The %s must be %s, %s.", what, article(want), got), typeHint(want))
}

// typeHint shows how a value of a type is written.
func typeHint(want cty.Type) string {
	switch want {
	case cty.Number:
		return "write a number without quotes, such as 42"
	case cty.Bool:
		return "write true or false, without quotes"
	case cty.String:
		return "join(\",\", list) makes text of a list, jsonencode(value) of anything"
	}
	return ""
}

func article(t cty.Type) string {
	if t == cty.Bool {
		return "true or false"
	}
	return "a " + t.FriendlyName()
}

// str converts to a string that is shown and kept.
func (s *scope) str(v cty.Value, r hashi.Range, what string) (string, bool) {
	v, ok := s.open(v, r, what)
	if !ok {
		return "", false
	}
	if v, ok = s.to(v, cty.String, r, what); !ok {
		return "", false
	}
	return s.clean(v.AsString(), r, what)
}

// clean refuses what no argument, variable or file name can hold.
func (s *scope) clean(text string, r hashi.Range, what string) (string, bool) {
	if strings.ContainsRune(text, 0) {
		s.ev.report(r, "NUL in a string", fmt.Sprintf("The %s contains a NUL character, which no program can be given.", what), "")
		return "", false
	}
	return text, true
}

// The readers of single attributes: false means that the attribute is not there,
// is null, or is wrong, which was reported then.

func (s *scope) attr(body *hclsyntax.Body, name string, a allowance) (cty.Value, hashi.Range, bool) {
	attr := body.Attributes[name]
	if attr == nil {
		return cty.NilVal, hashi.Range{}, false
	}
	v, ok := s.eval(attr.Expr, a)
	return v, attr.Expr.Range(), ok && !v.IsNull()
}

func (s *scope) stringAttr(body *hclsyntax.Body, name string, a allowance) (string, bool) {
	v, r, ok := s.attr(body, name, a)
	if !ok {
		return "", false
	}
	return s.str(v, r, name)
}

func (s *scope) boolAttr(body *hclsyntax.Body, name string, a allowance) (value, ok bool) {
	v, r, ok := s.attr(body, name, a)
	if !ok {
		return false, false
	}
	if v, ok = s.open(v, r, name); !ok {
		return false, false
	}
	if v, ok = s.to(v, cty.Bool, r, name); !ok {
		return false, false
	}
	return v.True(), true
}

func (s *scope) numberAttr(body *hclsyntax.Body, name string, a allowance) (*big.Float, hashi.Range, bool) {
	v, r, ok := s.attr(body, name, a)
	if !ok {
		return nil, r, false
	}
	if v, ok = s.open(v, r, name); !ok {
		return nil, r, false
	}
	if v, ok = s.to(v, cty.Number, r, name); !ok {
		return nil, r, false
	}
	return v.AsBigFloat(), r, true
}

// wholeAttr reads a whole number not below low.
func (s *scope) wholeAttr(body *hclsyntax.Body, name string, a allowance, low int64) (int64, bool) {
	f, r, ok := s.numberAttr(body, name, a)
	if !ok {
		return 0, false
	}
	n, accuracy := f.Int64()
	if accuracy != big.Exact || n < low {
		s.ev.report(r, "Bad number", fmt.Sprintf("The %s must be a whole number, %d or more and below 2^63; it is %s.", name, low, f.Text('g', 12)), "")
		return 0, false
	}
	return n, true
}

// floatAttr reads a number above low.
func (s *scope) floatAttr(body *hclsyntax.Body, name string, a allowance, low float64, orEqual bool) (float64, bool) {
	f, r, ok := s.numberAttr(body, name, a)
	if !ok {
		return 0, false
	}
	n, _ := f.Float64()
	if f.IsInf() || n < low || n == low && !orEqual {
		bound := fmt.Sprintf("more than %g", low)
		if orEqual {
			bound = fmt.Sprintf("%g or more", low)
		}
		s.ev.report(r, "Bad number", fmt.Sprintf("The %s must be %s; it is %s.", name, bound, f.Text('g', 12)), "")
		return 0, false
	}
	return n, true
}

// durationAttr reads a duration that is positive, or zero where that means
// something.
func (s *scope) durationAttr(body *hclsyntax.Body, name string, a allowance, zero bool) (time.Duration, bool) {
	v, r, ok := s.attr(body, name, a)
	if !ok {
		return 0, false
	}
	text, ok := s.str(v, r, name)
	if !ok {
		return 0, false
	}
	d, err := parseDuration(text)
	if err != nil {
		s.ev.report(r, "Bad duration",
			fmt.Sprintf("The %s is a number with a unit: ns, us, ms, s, m or h; it is %s.", name, quoted(text)), durationHint(text))
		return 0, false
	}
	if d < 0 || d == 0 && !zero {
		bound := "more than zero"
		if zero {
			bound = "zero or more"
		}
		s.ev.report(r, "Bad duration", fmt.Sprintf("The %s must be %s; it is %s.", name, bound, quoted(text)), "")
		return 0, false
	}
	return d, true
}

func durationHint(text string) string {
	if _, err := parseDuration(text + "s"); err == nil {
		return fmt.Sprintf("write %s for seconds, or %s for minutes", quoted(text+"s"), quoted(text+"m"))
	}
	return "write for example \"90s\", \"10m\" or \"1h30m\""
}

// sizeAttr reads a size in bytes: a plain number, or a number with a unit.
func (s *scope) sizeAttr(body *hclsyntax.Body, name string, a allowance) (int64, bool) {
	v, r, ok := s.attr(body, name, a)
	if !ok {
		return 0, false
	}
	text, ok := s.str(v, r, name)
	if !ok {
		return 0, false
	}
	n, err := parseSize(text)
	if err != nil {
		hint := "write for example \"512MiB\" or \"1.5GiB\""
		if _, retry := parseSize(text + "iB"); retry == nil {
			hint = "write " + quoted(text+"iB")
		}
		s.ev.report(r, "Bad size", fmt.Sprintf("The %s is a number of bytes, or a number with a unit: KB, MB, GB, TB, KiB, MiB, GiB or TiB. Here, %s.", name, err), hint)
		return 0, false
	}
	return n, true
}
