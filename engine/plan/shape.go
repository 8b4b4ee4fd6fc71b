package plan

import (
	"slices"

	"plumb/engine/graph"
	"plumb/hcl"
)

// Shape is what of a pipeline does not change with its inputs: its graph, and which
// stages each stage's key depends on. It is worth keeping beside the pipeline.
type Shape struct {
	graph *graph.Graph
	index map[string]int
	data  [][]int
}

// ShapeOf makes the shape of a pipeline that has been checked.
func ShapeOf(p *hcl.Pipeline) *Shape {
	s := &Shape{index: make(map[string]int, len(p.Stages)), data: make([][]int, len(p.Stages))}
	names := make([]string, len(p.Stages))
	for i := range p.Stages {
		names[i] = p.Stages[i].Name
		s.index[names[i]] = i
	}
	deps := make([][]int, len(p.Stages))
	for i := range p.Stages {
		st := &p.Stages[i]
		s.data[i] = s.dataDependencies(st)
		deps[i] = s.data[i]
		for _, n := range st.After {
			deps[i] = append(slices.Clip(deps[i]), s.index[n])
		}
	}
	s.graph = graph.New(names, deps)
	return s
}

// Graph is the pipeline's graph; node i is stage i of the pipeline.
func (s *Shape) Graph() *graph.Graph { return s.graph }

// dataDependencies are the stages that must have a result before the key of st is
// known: the producers of its inputs and the reporters of metrics it refers to.
func (s *Shape) dataDependencies(st *hcl.Stage) []int {
	var out []int
	add := func(name string) {
		if n := s.index[name]; !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	for i := range st.Inputs {
		if st.Inputs[i].Kind == hcl.InputOutput {
			add(st.Inputs[i].Stage)
		}
	}
	for _, m := range st.MetricRefs() {
		add(m.Stage)
	}
	return out
}
