package hcl

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// FormatSource lays out a file in the canonical style. Source that does not parse
// is refused: the formatter works on tokens and would rearrange it all the same.
func FormatSource(name string, src []byte) ([]byte, Diagnostics) {
	ev := &evaluation{sources: map[string][]byte{}}
	bodies := ev.parse([]File{{Name: name, Data: src}})
	if ev.diags.HasErrors() {
		return nil, ev.finish(bodies)
	}
	out := hclwrite.Format(src)
	if _, diags := hclsyntax.ParseConfig(out, name, startPos); diags.HasErrors() {
		return nil, Diagnostics{{
			Severity: SeverityError, Summary: "File cannot be formatted",
			Detail:  "Formatting would change what the file means; it is left as it is.",
			Subject: Range{File: name},
		}}
	}
	return out, nil
}
