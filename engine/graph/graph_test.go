package graph

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrderAndLevels(t *testing.T) {
	tests := map[string]struct {
		names  []string
		deps   [][]int
		levels [][]int
	}{
		"empty":         {nil, nil, nil},
		"independent":   {[]string{"a", "b"}, [][]int{nil, nil}, [][]int{{0, 1}}},
		"chain":         {[]string{"c", "b", "a"}, [][]int{{1}, {2}, nil}, [][]int{{2}, {1}, {0}}},
		"diamond":       {[]string{"a", "b", "c", "d"}, [][]int{nil, {0}, {0}, {1, 2}}, [][]int{{0}, {1, 2}, {3}}},
		"repeated edge": {[]string{"a", "b"}, [][]int{nil, {0, 0, 0}}, [][]int{{0}, {1}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := New(tt.names, tt.deps)
			if d := cmp.Diff(tt.levels, g.Levels()); d != "" {
				t.Errorf("levels (-want +got):\n%s", d)
			}
			if c := g.Cycle(); c != nil {
				t.Errorf("cycle %v in a DAG", c)
			}
			if len(g.Order()) != len(tt.names) {
				t.Errorf("order %v misses nodes", g.Order())
			}
		})
	}
}

func TestCycle(t *testing.T) {
	tests := map[string]struct {
		deps [][]int
		want []string
	}{
		"self":               {[][]int{{0}, nil, nil, nil}, []string{"a", "a"}},
		"three":              {[][]int{{1}, {2}, {0}, nil}, []string{"a", "b", "c", "a"}},
		"behind a cycle":     {[][]int{{1}, {2}, {1}, {0}}, []string{"b", "c", "b"}},
		"dag beside a cycle": {[][]int{nil, {0, 2}, {1}, nil}, []string{"b", "c", "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := New([]string{"a", "b", "c", "d"}, tt.deps)
			if d := cmp.Diff(tt.want, g.Cycle()); d != "" {
				t.Errorf("cycle (-want +got):\n%s", d)
			}
		})
	}
}

func TestReach(t *testing.T) {
	g := New([]string{"a", "b", "c", "d"}, [][]int{nil, {0}, {0}, {1}})
	if d := cmp.Diff([]bool{true, true, false, true}, g.Ancestors([]int{3})); d != "" {
		t.Errorf("ancestors (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]bool{false, true, false, true}, g.Descendants([]int{1})); d != "" {
		t.Errorf("descendants (-want +got):\n%s", d)
	}
}

// TestOrderRespectsEveryEdge checks random DAGs: no node stands before one that
// it depends on, and every node stands once.
func TestOrderRespectsEveryEdge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + r.IntN(40)
		perm := r.Perm(n) // edges only from later to earlier places of perm
		names, deps := make([]string, n), make([][]int, n)
		for p := range n {
			names[perm[p]] = strings.Repeat("x", p+1)
			for q := range p {
				if r.IntN(4) == 0 {
					deps[perm[p]] = append(deps[perm[p]], perm[q])
				}
			}
		}
		g := New(names, deps)
		place := map[int]int{}
		for p, i := range g.Order() {
			place[i] = p
		}
		if len(place) != n {
			t.Fatalf("order holds %d of %d nodes", len(place), n)
		}
		for i := range n {
			for _, d := range deps[i] {
				if place[d] >= place[i] {
					t.Fatalf("node %d stands before its dependency %d", i, d)
				}
			}
		}
	}
}

func TestDOT(t *testing.T) {
	got := New([]string{"split", `train["a"]`}, [][]int{nil, {0}}).DOT("wine")
	want := "digraph \"wine\" {\n  rankdir=LR;\n  node [shape=box];\n  \"split\";\n  \"train[\\\"a\\\"]\";\n  \"split\" -> \"train[\\\"a\\\"]\";\n}\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func BenchmarkNew10000(b *testing.B) {
	names, deps := make([]string, 10000), make([][]int, 10000)
	for i := range names {
		names[i] = "s"
		if i >= 10 {
			deps[i] = []int{i - 10, i - 5}
		}
	}
	for b.Loop() {
		New(names, deps)
	}
}
