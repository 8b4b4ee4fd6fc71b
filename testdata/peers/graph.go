package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// chain is how many stages stand behind one another. The graph of n stages is
// made of such chains: stage i reads in/i, and o/i-1 unless it begins a chain,
// and writes both to o/i.
const chain = 10

// before is the stage that i reads from.
func before(i int) (int, bool) { return i - 1, i%chain != 0 }

// writeInputs makes in/ and an empty o/. The files of graphs of two sizes differ:
// equal stages would be run once for both.
func writeInputs(dir string, n int) error {
	for _, d := range []string{"in", "o"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return fmt.Errorf("making the inputs of %d stages: %w", n, err)
		}
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("in/%d", i)), fmt.Appendf(nil, "line %d of %d\n", i, n), 0o644); err != nil {
			return fmt.Errorf("making the inputs of %d stages: %w", n, err)
		}
	}
	return nil
}

// graph writes the graph of n stages in one language.
type graph func(w io.Writer, n int)

// writeGraph puts the description of a graph into a directory.
func writeGraph(path string, g graph, n int) error {
	var b bytes.Buffer
	g(&b, n)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the graph of %d stages: %w", n, err)
	}
	return nil
}

const plumbHead = `pipeline "peers" {
  image = image.tool
}

image "tool" { archive = "image" }
`

// plumbGraph writes each stage out, as the others have it: for_each would be
// shorter to read for plumb, and no comparison.
func plumbGraph(w io.Writer, n int) {
	fmt.Fprint(w, plumbHead)
	for i := range n {
		inputs, files := fmt.Sprintf(`"in/%d"`, i), fmt.Sprintf("in/%d", i)
		if p, ok := before(i); ok {
			inputs, files = inputs+fmt.Sprintf(", stage.s%d.out", p), files+fmt.Sprintf(" o/%d", p)
		}
		fmt.Fprintf(w, "\nstage \"s%d\" {\n  inputs  = [%s]\n  command = \"cat %s > o/%d\"\n  outputs = { out = \"o/%d\" }\n}\n", i, inputs, files, i, i)
	}
}

func ninjaGraph(w io.Writer, n int) {
	fmt.Fprint(w, "rule join\n  command = cat $in > $out\n")
	for i := range n {
		fmt.Fprintf(w, "build o/%d: join in/%d", i, i)
		if p, ok := before(i); ok {
			fmt.Fprintf(w, " o/%d", p)
		}
		fmt.Fprintln(w)
	}
}

// makeGraph switches off what make looks for besides: built-in rules, and
// whether the makefile can be made.
func makeGraph(w io.Writer, n int) {
	fmt.Fprint(w, "MAKEFLAGS += -rR\n.SUFFIXES:\n.PHONY: all\nall:")
	for i := range n {
		fmt.Fprintf(w, " o/%d", i)
	}
	fmt.Fprint(w, "\nMakefile: ;\n")
	for i := range n {
		fmt.Fprintf(w, "o/%d: in/%d", i, i)
		if p, ok := before(i); ok {
			fmt.Fprintf(w, " o/%d", p)
		}
		fmt.Fprint(w, "\n\tcat $^ > $@\n")
	}
}

// snakemakeGraph is one rule with a wildcard, which is what snakemake is quickest with.
func snakemakeGraph(w io.Writer, n int) {
	fmt.Fprintf(w, `def files(w):
    i = int(w.i)
    return ["in/%%d" %% i] + (["o/%%d" %% (i - 1)] if i %% %d else [])

rule all:
    input: expand("o/{i}", i=range(%d))

rule join:
    input: files
    output: "o/{i}"
    shell: "cat {input} > {output}"
`, chain, n)
}

// trivialGraph is one stage with an input and no output, which does nothing.
func trivialGraph(w io.Writer, _ int) {
	fmt.Fprint(w, plumbHead, `
stage "trivial" {
  inputs  = ["in/0"]
  command = ["/bin/true"]
  resources {
    memory = "64MiB"
  }
}
`)
}

// manyGraph is n stages with nothing between them. Stages that are equal would be
// run once, so each has a number, and each round a salt.
func manyGraph(w io.Writer, n int) {
	fmt.Fprint(w, plumbHead, "\nparam \"salt\" { default = \"0\" }\n")
	for i := range n {
		fmt.Fprintf(w, "\nstage \"s%d\" {\n  command = [\"/bin/true\"]\n  env     = { NUMBER = \"%d\", SALT = param.salt }\n  resources {\n    memory = \"64MiB\"\n  }\n}\n", i, i)
	}
}

// captureGraph is one stage that writes a large file. n is its size in MiB, and
// its last line the salt: the file of each round is new to the store.
func captureGraph(w io.Writer, n int) {
	fmt.Fprintf(w, `%s
param "salt" { default = "0" }

stage "large" {
  command = "dd of=large bs=%d count=%d; echo ${param.salt} >> large"
  outputs = { large = "large" }
}
`, plumbHead, mib, n)
}
