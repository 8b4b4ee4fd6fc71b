package view

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/engine/plan"
	tables "plumb/engine/table"
)

func TestDiffLinesAreSeenToDiffer(t *testing.T) {
	long := strings.Repeat("x", 400)
	for name, tt := range map[string]struct{ diff, want []string }{
		"a tab for a space":               {[]string{"@@ -1,1 +1,1 @@", " if x:", "-\ty = 1", "+ y = 1"}, []string{"@@ -1,1 +1,1 @@", " if x:", "-␉y = 1", "+ y = 1"}},
		"a carriage return":               {[]string{"-a,b", "+a,b\r"}, []string{"-a,b", "+a,b␍"}},
		"a byte order mark":               {[]string{"-a", "+\ufeffa"}, []string{"-a", "+<BOM>a"}},
		"spaces at the end":               {[]string{" x  ", "-a", "+a  "}, []string{" x  ", "-a", "+a␠␠"}},
		"an escape sequence":              {[]string{"-\x1b[31mred\x1b[0m\x07", "+red"}, []string{"-␛[31mred␛[0m␇", "+red"}},
		"a control beyond ASCII":          {[]string{"-a\u009b31m", "+a\u202eb\x7f"}, []string{"-a<U+009B>31m", "+a<U+202E>b␡"}},
		"a space that does not break":     {[]string{"-a b", "+a\u00a0b"}, []string{"-a b", "+a<U+00A0>b"}},
		"one where nothing is mistaken":   {[]string{"-a b", "+a\u00a0c"}, []string{"-a b", "+a\u00a0c"}},
		"a space of no width":             {[]string{"-ab", "+a\u200bb"}, []string{"-ab", "+a<U+200B>b"}},
		"an accent of its own":            {[]string{"-caf\u00e9", "+cafe\u0301"}, []string{"-caf\u00e9", "+cafe<U+0301>"}},
		"twins in another place of lines": {[]string{"-a", "-b\u00a0c", "+b c", "+d"}, []string{"-a", "-b<U+00A0>c", "+b c", "+d"}},
		"no twins across places":          {[]string{"-a\u00a0b", " x", "+a b"}, []string{"-a\u00a0b", " x", "+a b"}},
		"beyond the width":                {[]string{"-" + long + "a", "+" + long + "b"}, []string{"-…" + long[:24] + "a", "+…" + long[:24] + "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			diffLines(&b, Style{}, "", tt.diff)
			if d := cmp.Diff(strings.Join(tt.want, "\n")+"\n", b.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestCellsAreSeenToDiffer looks at cells, names of columns and values.
func TestCellsAreSeenToDiffer(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, tt := range map[string]struct{ old, new, want string }{
		"a newline":          {"a\nb", "ab", "a␊b → ab"},
		"a tab":              {"p\tq", "p q", "p␉q → p q"},
		"a space before":     {"a", " a", "a → ␠a"},
		"spaces behind":      {"a ", "a", "a␠ → a"},
		"no width":           {"a\u200bb", "ab", "a<U+200B>b → ab"},
		"nothing special":    {"20", "21", "20 → 21"},
		"far behind":         {long + "1", long + "2", "…" + long[:24] + "1 → …" + long[:24] + "2"},
		"long and different": {"a" + long, "b", "a" + long[:98] + "… → b"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &tables.Diff{Columns: tables.Columns{Renamed: []tables.Rename{{Old: tt.old, New: tt.new}}}, Rows: tables.Rows{Changed: 1, FirstChanged: []tables.RowChange{{NumberB: 1, Cells: []tables.CellChange{{Column: "c", Old: &tt.old, New: &tt.new}}}}}}
			var b bytes.Buffer
			signedLines(&b, Style{}, "", tableLines(d, maxShifts))
			if want := "~ row 1  c " + tt.want + "\n"; !strings.Contains(b.String(), want) {
				t.Errorf("want %q in %q", want, b.String())
			}
			if len(tt.old) < 10 {
				if want := "~ column " + strings.Replace(tt.want, "→", "is called", 1) + "\n"; !strings.Contains(b.String(), want) {
					t.Errorf("want %q in %q", want, b.String())
				}
				b.Reset()
				cause(&b, Style{}, &engine.Difference{Change: engine.Change{Reason: plan.Reason{Kind: plan.ReasonEnv, Name: "E", Old: tt.old, New: tt.new}}})
				if old, new, _ := strings.Cut(tt.want, " → "); !strings.Contains(b.String(), "  "+tt.want+"\n") && !strings.Contains(b.String(), "- "+old+"\n    + "+new+"\n") {
					t.Errorf("want %q in %q", tt.want, b.String())
				}
			}
		})
	}
}
