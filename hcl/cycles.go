package hcl

import (
	"fmt"
	"slices"
	"strings"
)

// walk is a depth-first search for cycles over stage instances.
type walk struct {
	ev    *evaluation
	index map[string]int
	state []visit
	trail []int // the stages between the start and here
}

// visit is how far a stage was searched.
type visit uint8

const (
	unvisited visit = iota
	onTrail
	done
)

// edge is one dependency with the place that makes it.
type edge struct {
	to int
	at Range
}

// checkCycles reports each cycle that the search closes, as the stages on it.
func (ev *evaluation) checkCycles() {
	stages := ev.pipeline.Stages
	w := &walk{ev: ev, index: make(map[string]int, len(stages)), state: make([]visit, len(stages))}
	for i := range stages {
		w.index[stages[i].Name] = i
	}
	for i := range stages {
		w.from(i)
	}
}

func (w *walk) from(i int) {
	if w.state[i] != unvisited {
		return
	}
	w.state[i] = onTrail
	w.trail = append(w.trail, i)
	for _, e := range w.edges(i) {
		if w.state[e.to] == onTrail {
			w.report(e)
			continue
		}
		w.from(e.to)
	}
	w.trail = w.trail[:len(w.trail)-1]
	w.state[i] = done
}

// edges lists what a stage needs, in the order in which it says so.
func (w *walk) edges(i int) []edge {
	st := &w.ev.pipeline.Stages[i]
	edges := make([]edge, 0, len(st.Inputs)+len(st.After))
	for _, in := range st.Inputs {
		if in.Kind == InputOutput {
			edges = append(edges, edge{w.index[in.Stage], in.Range})
		}
	}
	add := func(e *Expr) {
		if e == nil {
			return
		}
		for _, ref := range e.Metrics {
			edges = append(edges, edge{w.index[ref.Stage], e.Range})
		}
	}
	for _, arg := range st.Command.Args {
		add(arg.Expr)
	}
	for _, v := range st.Env {
		add(v.Value.Expr)
	}
	add(st.When)
	for _, name := range st.After {
		edges = append(edges, edge{w.index[name], w.ev.afterRange(st)})
	}
	return edges
}

// afterRange is the place of a stage's after attribute.
func (ev *evaluation) afterRange(st *Stage) Range {
	return rangeOf(ev.stages[st.Block].src.Body.Attributes["after"].Expr.Range())
}

// report prints the cycle in the direction in which data would go, starting at
// its alphabetically first stage so that it reads the same however it was found.
func (w *walk) report(closing edge) {
	from := slices.Index(w.trail, closing.to)
	var names []string
	for _, i := range w.trail[from:] {
		names = append(names, w.ev.pipeline.Stages[i].Name)
	}
	slices.Reverse(names)
	first := slices.Index(names, slices.Min(names))
	names = slices.Concat(names[first:], names[:first], names[first:first+1])
	w.ev.reportRange(closing.at, "Dependency cycle",
		fmt.Sprintf("Stages wait for each other: %s.", strings.Join(names, " → ")), "remove one of these references")
}
