package hcl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// TestChunksAreTheWhole evaluates large files in pieces and as one: ranges, values
// and diagnostics must be the same, also where a cut falls into a heredoc or a
// comment.
func TestChunksAreTheWhole(t *testing.T) {
	stage := func(i int, command string) string {
		return fmt.Sprintf("stage \"s%d\" {\n  image   = image.sh\n  command = %s\n  outputs = { out = \"o/%d\" }\n}\n\n", i, command, i)
	}
	many := func(command string) string {
		var b strings.Builder
		b.WriteString("image \"sh\" { archive = \"image\" }\n")
		for i := range 4000 {
			b.WriteString(stage(i, command))
		}
		return b.String()
	}
	heredoc := "<<-EOT\n" + strings.Repeat("line\n}\n", 20000) + "EOT"
	tests := map[string]string{
		"plain":             many(`"true"`),
		"a large heredoc":   many(`"true"`) + stage(4000, heredoc) + many(`"false"`)[strings.Index(many(`"false"`), "\n")+1:],
		"a large comment":   many(`"true"`) + "/*\n" + strings.Repeat("}\n", 100000) + "*/\n",
		"a mistake":         many(`"true"`) + "stagee \"x\" {\n}\n",
		"a syntax error":    many(`"true"`) + "stage \"x\" {\n  command = \n}\n" + many(`"true"`),
		"an unclosed block": many(`"true"`) + "stage \"x\" {\n",
	}
	for name, src := range tests {
		t.Run(name, func(t *testing.T) {
			f := File{Name: MainFile, Data: []byte(src)}
			if len(f.Data) < chunkFrom {
				t.Fatal("the file is too small to be cut")
			}
			got, gotDiags := Evaluate(t.TempDir(), []File{f}, Options{})
			body, diags := parseBody(f)
			ev := &evaluation{sources: map[string][]byte{f.Name: f.Data}, reads: newRecorder(t.TempDir())}
			defer ev.reads.close()
			for _, d := range untilOpenString(diags) {
				ev.reportSyntax(d)
			}
			bodies := bodiesOf(body)
			if !ev.diags.HasErrors() {
				ev.run(bodies)
			}
			wantDiags := ev.finish(bodies)
			if d := cmp.Diff(wantDiags, gotDiags); d != "" {
				t.Errorf("diagnostics (-whole +pieces):\n%s", d)
			}
			if d := cmp.Diff(&ev.pipeline, got); d != "" && !wantDiags.HasErrors() {
				t.Errorf("pipeline (-whole +pieces):\n%s", d)
			}
		})
	}
}

func bodiesOf(b *hclsyntax.Body) []*hclsyntax.Body {
	if b == nil {
		return nil
	}
	return []*hclsyntax.Body{b}
}
