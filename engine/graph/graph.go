// Package graph is a directed acyclic graph over numbered nodes.
//
// Nodes are the numbers 0…n-1 in the order in which their owner declared them;
// names are only for what people see. An edge goes from a node to one that it
// depends on. All results are deterministic: where the edges leave a choice, the
// declaration order decides. Every operation is linear in nodes and edges, since
// pipelines of ten thousand stages are ordinary.
package graph

import (
	"fmt"
	"strings"
)

// Graph is a DAG, or shows its cycle when it is none.
type Graph struct {
	names  []string
	deps   [][]int // node → what it depends on
	rdeps  [][]int // node → what depends on it
	order  []int
	levels [][]int
	cycle  []int
}

// New makes a graph of len(names) nodes; deps[i] lists what node i depends on,
// duplicates allowed.
func New(names []string, deps [][]int) *Graph {
	g := &Graph{names: names, deps: make([][]int, len(names)), rdeps: make([][]int, len(names))}
	seen := make([]int, len(names)) // seen[d] == i+1: i depends on d already
	for i := range names {
		for _, d := range deps[i] {
			if seen[d] == i+1 {
				continue
			}
			seen[d] = i + 1
			g.deps[i] = append(g.deps[i], d)
			g.rdeps[d] = append(g.rdeps[d], i)
		}
	}
	g.sort()
	return g
}

// sort fills order and levels wave by wave: a level holds the nodes all of whose
// dependencies stand in earlier levels. What is left over is on or behind a cycle.
func (g *Graph) sort() {
	left := make([]int, len(g.names))
	var level []int
	for i := range g.names {
		if left[i] = len(g.deps[i]); left[i] == 0 {
			level = append(level, i)
		}
	}
	for len(level) > 0 {
		g.levels = append(g.levels, level)
		g.order = append(g.order, level...)
		var next []int
		for _, i := range level {
			for _, r := range g.rdeps[i] {
				if left[r]--; left[r] == 0 {
					next = append(next, r)
				}
			}
		}
		level = next
	}
	if len(g.order) < len(g.names) {
		g.cycle = g.findCycle(left)
	}
}

// findCycle walks from the first node that could not be ordered along
// dependencies that could not be ordered either, until one comes again.
func (g *Graph) findCycle(left []int) []int {
	at := 0
	for left[at] == 0 {
		at++
	}
	place := map[int]int{}
	var path []int
	for {
		if p, ok := place[at]; ok {
			return append(path[p:], at)
		}
		place[at] = len(path)
		path = append(path, at)
		for _, d := range g.deps[at] {
			if left[d] > 0 {
				at = d
				break
			}
		}
	}
}

// Len is the number of nodes.
func (g *Graph) Len() int { return len(g.names) }

// Name is what node i is called.
func (g *Graph) Name(i int) string { return g.names[i] }

// Deps lists what node i depends on, in declaration order of the edges.
func (g *Graph) Deps(i int) []int { return g.deps[i] }

// Dependents lists what depends on node i.
func (g *Graph) Dependents(i int) []int { return g.rdeps[i] }

// Order is a topological order, dependencies first; shorter than Len when there
// is a cycle.
func (g *Graph) Order() []int { return g.order }

// Levels groups the order into waves that can be worked on at once.
func (g *Graph) Levels() [][]int { return g.levels }

// Cycle is a cycle as a path that ends where it begins, or nil.
func (g *Graph) Cycle() []string {
	var names []string
	for _, i := range g.cycle {
		names = append(names, g.names[i])
	}
	return names
}

// Ancestors marks the given nodes and all they depend on.
func (g *Graph) Ancestors(of []int) []bool { return reach(g.deps, of) }

// Descendants marks the given nodes and all that depends on them.
func (g *Graph) Descendants(of []int) []bool { return reach(g.rdeps, of) }

func reach(edges [][]int, from []int) []bool {
	mark := make([]bool, len(edges))
	stack := append([]int(nil), from...)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if mark[i] {
			continue
		}
		mark[i] = true
		stack = append(stack, edges[i]...)
	}
	return mark
}

// DOT draws the graph for Graphviz, data flowing from left to right.
func (g *Graph) DOT(title string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  rankdir=LR;\n  node [shape=box];\n", title)
	for i, n := range g.names {
		fmt.Fprintf(&b, "  %q;\n", n)
		for _, d := range g.deps[i] {
			fmt.Fprintf(&b, "  %q -> %q;\n", g.names[d], n)
		}
	}
	b.WriteString("}\n")
	return b.String()
}
