package sched

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/graph"
)

// fake is Work whose nodes do what a table says. It checks by itself that the
// limits hold and that nothing runs before what it depends on.
type fake struct {
	t        *testing.T
	g        *graph.Graph
	limits   Limits
	verdict  map[int]Verdict
	fails    map[int]error
	needs    map[int]Needs
	block    chan struct{} // when set, Run waits for it or for the context
	mu       sync.Mutex
	used     Needs
	running  int
	most     int
	states   map[int]State
	started  []int
	prepared map[int]bool
	dropped  map[int]bool
	causes   map[int]int
	onStart  func(i int)
}

func newFake(t *testing.T, g *graph.Graph) *fake {
	return &fake{t: t, g: g, states: map[int]State{}, prepared: map[int]bool{}, dropped: map[int]bool{}, causes: map[int]int{}}
}

func (f *fake) Decide(_ context.Context, i int) (Verdict, error) {
	for _, d := range f.g.Deps(i) {
		if st, ok := f.states[d]; ok && st != Succeeded && st != Cached && st != Skipped {
			f.t.Errorf("node %d is decided while %d is %v", i, d, st)
		}
	}
	return f.verdict[i], nil
}

func (f *fake) Needs(i int) Needs {
	if n, ok := f.needs[i]; ok {
		return n
	}
	return Needs{CPU: 1}
}

func (f *fake) Prepare(_ context.Context, i int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prepared[i] {
		f.t.Errorf("node %d prepared twice", i)
	}
	f.prepared[i] = true
	return nil
}

func (f *fake) Drop(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped[i] = true
}

func (f *fake) Run(ctx context.Context, i int, release func()) error {
	n := f.Needs(i)
	f.mu.Lock()
	f.running++
	f.most = max(f.most, f.running)
	f.used.CPU += n.CPU
	f.used.Memory += n.Memory
	if f.running > 1 && (f.limits.CPU > 0 && f.used.CPU > f.limits.CPU || f.limits.Memory > 0 && f.used.Memory > f.limits.Memory) {
		f.t.Errorf("%d nodes use %+v of %+v", f.running, f.used, f.limits)
	}
	f.started = append(f.started, i)
	f.mu.Unlock()
	if f.onStart != nil {
		f.onStart(i)
	}
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	f.running--
	f.used.CPU -= n.CPU
	f.used.Memory -= n.Memory
	f.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f.fails[i] == nil {
		release()
	}
	return f.fails[i]
}

func (f *fake) Changed(i int, s State, cause int, _ error) {
	f.states[i] = s
	f.causes[i] = cause
}

func all(n int) []bool {
	sel := make([]bool, n)
	for i := range sel {
		sel[i] = true
	}
	return sel
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("s", i)
	}
	return out
}

func statesOf(r Result) []string {
	var out []string
	for _, s := range r.States {
		out = append(out, s.String())
	}
	return out
}

func TestOutcomes(t *testing.T) {
	boom := errors.New("boom")
	chain := [][]int{nil, {0}, {1}}
	fork := [][]int{nil, {0}, nil, {2}} // 0→1, 2→3
	tests := map[string]struct {
		deps    [][]int
		verdict map[int]Verdict
		fails   map[int]error
		keep    bool
		want    []string
	}{
		"all run":                       {chain, nil, nil, false, []string{"succeeded", "succeeded", "succeeded"}},
		"all hits":                      {chain, map[int]Verdict{0: Hit, 1: Hit, 2: Hit}, nil, false, []string{"cached", "cached", "cached"}},
		"run then hit":                  {chain, map[int]Verdict{1: Hit, 2: Hit}, nil, false, []string{"succeeded", "cached", "cached"}},
		"turned out to be there":        {chain, nil, map[int]error{1: ErrHit}, false, []string{"succeeded", "cached", "succeeded"}},
		"failure skips behind":          {chain, nil, map[int]error{0: boom}, false, []string{"failed", "skipped", "skipped"}},
		"failure starts nothing new":    {fork, nil, map[int]error{0: boom}, false, []string{"failed", "skipped", "skipped", "skipped"}},
		"keep going finishes the other": {fork, nil, map[int]error{0: boom}, true, []string{"failed", "skipped", "succeeded", "succeeded"}},
		"skip verdict":                  {chain, map[int]Verdict{0: Skip}, nil, false, []string{"skipped", "succeeded", "succeeded"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := graph.New(names(len(tt.deps)), tt.deps)
			f := newFake(t, g)
			f.verdict, f.fails, f.limits = tt.verdict, tt.fails, Limits{Jobs: 1}
			r := Go(t.Context(), g, all(g.Len()), f, Options{Limits: f.limits, KeepGoing: tt.keep})
			if d := cmp.Diff(tt.want, statesOf(r)); d != "" {
				t.Errorf("states (-want +got):\n%s", d)
			}
			for i, err := range tt.fails {
				if !errors.Is(err, ErrHit) && !errors.Is(r.Errors[i], boom) {
					t.Errorf("error of node %d is %v", i, r.Errors[i])
				}
			}
		})
	}
}

// TestPacking runs random nodes under limits; the fake complains when the sum of
// what runs exceeds them.
func TestPacking(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		n := 1 + r.IntN(40)
		deps := make([][]int, n)
		needs := map[int]Needs{}
		for i := range n {
			needs[i] = Needs{CPU: float64(1 + r.IntN(3)), Memory: int64(r.IntN(5))}
			for d := range i {
				if r.IntN(6) == 0 {
					deps[i] = append(deps[i], d)
				}
			}
		}
		g := graph.New(names(n), deps)
		f := newFake(t, g)
		f.needs, f.limits = needs, Limits{CPU: 4, Memory: 6, Jobs: 3, Ahead: r.IntN(3)}
		res := Go(t.Context(), g, all(n), f, Options{Limits: f.limits})
		if slices.ContainsFunc(res.States, func(s State) bool { return s != Succeeded }) {
			t.Fatalf("states %v", res.States)
		}
		if f.most > 3 {
			t.Fatalf("%d nodes ran at once under Jobs 3", f.most)
		}
	}
}

func TestTooLargeRunsAlone(t *testing.T) {
	g := graph.New(names(3), make([][]int, 3))
	f := newFake(t, g)
	f.needs = map[int]Needs{1: {CPU: 64}}
	f.limits = Limits{CPU: 2}
	r := Go(t.Context(), g, all(3), f, Options{Limits: f.limits})
	if d := cmp.Diff([]string{"succeeded", "succeeded", "succeeded"}, statesOf(r)); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
}

func TestOrderIsDeclared(t *testing.T) {
	g := graph.New(names(6), [][]int{nil, nil, nil, {0}, {0}, nil})
	f := newFake(t, g)
	f.limits = Limits{Jobs: 1}
	Go(t.Context(), g, all(6), f, Options{Limits: f.limits})
	if d := cmp.Diff([]int{0, 1, 2, 5, 3, 4}, f.started); d != "" {
		t.Errorf("started (-want +got):\n%s", d)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := graph.New(names(4), [][]int{nil, {0}, nil, nil})
	f := newFake(t, g)
	f.block, f.limits = make(chan struct{}), Limits{Jobs: 1, Ahead: 1}
	f.onStart = func(int) { cancel() }
	r := Go(ctx, g, all(4), f, Options{Limits: f.limits})
	if d := cmp.Diff([]string{"canceled", "canceled", "canceled", "canceled"}, statesOf(r)); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
	for i := range f.prepared {
		if !f.dropped[i] && !slices.Contains(f.started, i) {
			t.Errorf("node %d was prepared and neither run nor dropped", i)
		}
	}
}

func TestAheadIsPrepared(t *testing.T) {
	g := graph.New(names(4), make([][]int, 4))
	f := newFake(t, g)
	f.block, f.limits = make(chan struct{}), Limits{Jobs: 1, Ahead: 2}
	done := make(chan Result)
	go func() { done <- Go(context.Background(), g, all(4), f, Options{Limits: f.limits}) }()
	want := map[int]bool{0: true, 1: true, 2: true}
	for {
		f.mu.Lock()
		got := len(f.prepared)
		f.mu.Unlock()
		if got == len(want) {
			break
		}
	}
	close(f.block)
	<-done
	if len(f.prepared) != 4 {
		t.Errorf("prepared %v", f.prepared)
	}
}

func TestUnselectedStaysOut(t *testing.T) {
	g := graph.New(names(3), [][]int{nil, {0}, {1}})
	f := newFake(t, g)
	r := Go(t.Context(), g, []bool{false, true, true}, f, Options{})
	if d := cmp.Diff([]string{"pending", "succeeded", "succeeded"}, statesOf(r)); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
}

func BenchmarkTenThousandHits(b *testing.B) {
	n := 10000
	deps := make([][]int, n)
	verdict := map[int]Verdict{}
	for i := range n {
		verdict[i] = Hit
		if i > 0 {
			deps[i] = []int{i - 1}
		}
	}
	g := graph.New(names(n), deps)
	for b.Loop() {
		f := newFake(nil, g)
		f.verdict = verdict
		Go(context.Background(), g, all(n), f, Options{})
	}
}
