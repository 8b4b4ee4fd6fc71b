package engine

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkDiff compares two runs of a thousand stages, each written out, in layers of
// ten that read from each other: when one stage differs, when all do by a param that each
// names, and when all do because of one that the others read from. The files differ too
// where a line of them was changed, and are evaluated again.
func BenchmarkDiff(b *testing.B) {
	const stages = 1000
	var text strings.Builder
	text.WriteString("param \"n\" { default = 1 }\nparam \"first\" { default = 1 }\n")
	for i := range stages {
		fmt.Fprintf(&text, "stage \"s%d\" {\n  image = image.x\n", i)
		if i >= 10 {
			fmt.Fprintf(&text, "  inputs = { up = stage.s%d.out }\n  command = [\"copy\", \"${input.up}\", \"o%d\", \";\", \"append\", \"o%d\", \"${param.n} %d\"]\n", i-10, i, i, i)
		} else {
			fmt.Fprintf(&text, "  command = [\"write\", \"o%d\", \"${param.n} ${param.first} %d\"]\n", i, i)
		}
		fmt.Fprintf(&text, "  outputs = { out = \"o%d\" }\n  env = { A = \"a\", B = \"b\" }\n}\n", i)
	}
	cases := []struct {
		name   string
		params map[string]string
		old    string
		new    string
		want   int // causes
	}{
		{"one stage by its command", nil, `${param.n} 999`, `${param.n} 9999`, 1},
		{"all by a param", map[string]string{"n": "2"}, "", "", 1},
		{"all because of ten", map[string]string{"first": "2"}, "", "", 1},
		{"all by their commands", nil, `"append", "o`, `"append", "./o`, stages - 10},
	}
	for _, c := range cases {
		b.Run(strings.ReplaceAll(c.name, " ", "-"), func(b *testing.B) {
			r := newRig(b, text.String())
			r.mustRun()
			if c.old != "" {
				r.project(strings.ReplaceAll(text.String(), c.old, c.new))
			}
			r.mustRun(func(q *RunRequest) { q.Project.Params = c.params })
			for b.Loop() {
				doc := r.diffLatest()
				if len(doc.Causes) != c.want {
					b.Fatalf("%d causes, want %d: %v", len(doc.Causes), c.want, brief(doc.Causes)[:200])
				}
			}
		})
	}
}
