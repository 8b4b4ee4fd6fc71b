package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/hcl"
)

// Plumb's graphs have to be pipelines, with the stages and edges that are claimed.
func TestPlumbGraphs(t *testing.T) {
	for name, c := range map[string]struct {
		graph  graph
		n      int
		inputs int
		stages int
		edges  int
	}{
		"chains":         {plumbGraph, 25, 25, 25, 22}, // 25 stages are 3 chains
		"one":            {plumbGraph, 1, 1, 1, 0},
		"trivial":        {trivialGraph, 1, 1, 1, 0},
		"many":           {manyGraph, 12, 0, 12, 0},
		"a large output": {captureGraph, 2, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			i := image{layout: filepath.Join(dir, "layout")}
			if err := os.MkdirAll(i.layout, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := i.project(filepath.Join(dir, "project"), c.graph, c.n, c.inputs); err != nil {
				t.Fatal(err)
			}
			p, diags := hcl.Load(filepath.Join(dir, "project"), hcl.Options{})
			if len(diags) > 0 {
				t.Fatalf("the pipeline is not accepted: %v", diags)
			}
			edges := 0
			for _, s := range p.Stages {
				for _, in := range s.Inputs {
					if in.Kind == hcl.InputOutput {
						edges++
					}
				}
			}
			if len(p.Stages) != c.stages || edges != c.edges {
				t.Errorf("%d stages and %d edges, want %d and %d", len(p.Stages), edges, c.stages, c.edges)
			}
		})
	}
}

// What make is given is the graph of the comment: o/N has the lines of its chain.
func TestMakeBuildsTheGraph(t *testing.T) {
	dir := t.TempDir()
	p := builders()[1]
	if err := p.project(t.Context(), dir, 12); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"o/0": "line 0 of 12\n", "o/10": "line 10 of 12\n", "o/11": "line 11 of 12\nline 10 of 12\n"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := p.command(t.Context(), dir, p.proof); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := appendTo(filepath.Join(dir, "in/3"), "more\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.command(t.Context(), dir, p.proof); err == nil {
		t.Error("an input changed, and make is said to have found nothing to do")
	}
}

func TestPeersHaveTheSameEdges(t *testing.T) {
	for name, c := range map[string]struct {
		graph graph
		want  string
	}{
		"ninja": {ninjaGraph, "build o/10: join in/10\nbuild o/11: join in/11 o/10\n"},
		"make":  {makeGraph, "o/10: in/10\n\tcat $^ > $@\no/11: in/11 o/10\n\tcat $^ > $@\n"},
		"plumb": {plumbGraph, "stage \"s11\" {\n  inputs  = [\"in/11\", stage.s10.out]\n  command = \"cat in/11 o/10 > o/11\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			c.graph(&b, 12)
			if !strings.Contains(b.String(), c.want) {
				t.Errorf("%q is not in\n%s", c.want, b.String())
			}
		})
	}
}

func TestImageFormsAreOne(t *testing.T) {
	dir := t.TempDir()
	i, err := makeImage(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), filepath.Join(i.rootfs, "bin/true")).Run(); err != nil {
		t.Errorf("the image's true: %v", err)
	}
	blobs, err := os.ReadDir(filepath.Join(i.layout, "blobs/sha256"))
	if err != nil || len(blobs) != 3 {
		t.Errorf("%d blobs in the layout, want a layer, a config and a manifest: %v", len(blobs), err)
	}
}
