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

func TestTextsThatDifferInLittle(t *testing.T) {
	rows := numbered(1, 200, "row,")
	crlf := strings.ReplaceAll(rows, "\n", "\r\n")
	for name, tt := range map[string]struct {
		a, b, want string
		lines      int
	}{
		"line endings":           {rows, crlf, "only line endings are CRLF where they were LF", 0},
		"and back":               {crlf, rows, "only line endings are LF where they were CRLF", 0},
		"some line endings":      {rows, strings.Replace(rows, "\n", "\r\n", 1), "only line endings are mixed where they were LF", 0},
		"other ones of mixed":    {"a\r\nb\n", "a\nb\r\n", "only white space differs", 5},
		"a byte order mark":      {rows, "\ufeff" + rows, "only a byte order mark came", 0},
		"all three":              {"\ufeffa\nb\n", "a\r\nb", "only line endings are CRLF where they were LF, and a byte order mark went, and the newline at the end went", 0},
		"the last newline":       {"a\n", "a", "only the newline at the end went", 0},
		"a tab for a space":      {"if x:\n\ty\n", "if x:\n y\n", "only white space differs", 4},
		"a line":                 {rows, strings.Replace(crlf, "7", "8", 1), "besides, line endings are CRLF where they were LF", 9},
		"nothing in place of it": {"\n", "", "only white space differs", 2},
	} {
		t.Run(name, func(t *testing.T) {
			lines, note := (&explainer{}).textDiff([]byte(tt.a), []byte(tt.b))
			if note != tt.want || len(lines) != tt.lines {
				t.Errorf("note %q, %d lines; want %q, %d:\n%s", note, len(lines), tt.want, tt.lines, strings.Join(lines, "\n"))
			}
		})
	}
}
