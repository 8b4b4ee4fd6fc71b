package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func numbered(from, to int, prefix string) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "%s%d\n", prefix, i)
	}
	return b.String()
}

// places has something else in every tenth line.
func places(what string) string {
	var b strings.Builder
	for i := range 60 {
		if i%10 == 0 {
			b.WriteString(what)
		}
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestCutLines(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b string
		most int
		want string
	}{
		"all fits":          {"a\nb\n", "a\nc\n", 4, "@@ -1,2 +1,2 @@| a|-b|+c"},
		"all that is there": {numbered(1, 300, "a"), numbered(1, 300, "b"), 0, "@@ -1,300 +1,300 @@|" + strings.ReplaceAll(strings.TrimSpace(numbered(1, 300, "-a")+numbered(1, 300, "+b")), "\n", "|")},
		"a file rewritten":  {numbered(1, 300, "a"), numbered(1, 200, "b"), 5, "@@ -1,300 +1,200 @@|-a1|-a2|… and 298 lines more removed|+b1|+b2|… and 198 lines more added"},
		"one side is short": {numbered(1, 300, "a"), "b\n", 6, "@@ -1,300 +1,1 @@|-a1|-a2|-a3|-a4|… and 296 lines more removed|+b"},
		"what went and came far apart": {numbered(1, 30, "a") + numbered(1, 9, "c"), numbered(1, 9, "c") + numbered(1, 30, "b"), 14,
			"@@ -1,33 +1,3 @@|-a1|-a2|-a3|-a4|-a5|… and 25 lines more removed| c1| c2| c3|@@ -37,3 +7,33 @@| c7| c8| c9|+b1|+b2|+b3|+b4|+b5|… and 25 lines more added"},
		"many places":              {places("a"), places("b"), 12, "@@ -1,4 +1,4 @@|-a0|+b0| 1| 2| 3|@@ -8,7 +8,7 @@| 7| 8| 9|-a10|+b10|… and 4 lines more removed, 4 lines more added"},
		"no newline at the end":    {"a", "b", 2, "@@ -1,1 +1,1 @@|-a|+b"},
		"nothing but what is left": {numbered(1, 4, "a"), "", 1, "@@ -1,4 +0,0 @@|… and 4 lines more removed"},
	} {
		t.Run(name, func(t *testing.T) {
			x := &explainer{lines: tt.most}
			got := x.lineDiff([]byte(tt.a), []byte(tt.b))
			if d := cmp.Diff(strings.Split(tt.want, "|"), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
