package sched

import (
	"context"
	"errors"
	"fmt"

	"plumb/engine/graph"
)

// Needs is what a node occupies while it runs: cores, memory in bytes, and devices.
type Needs struct {
	CPU    float64
	Memory int64

	Devices []Device // these
	Any     int      // and so many of those in the limits
}

// Limits is what all running nodes together may occupy. Jobs bounds their number,
// 0 for no bound; Ahead is how many more may be prepared while they wait.
type Limits struct {
	CPU    float64
	Memory int64
	Jobs   int
	Ahead  int

	Devices []Device // that a node can be given which does not say which
}

// Verdict is what Decide says of a node whose dependencies are done.
type Verdict int

// The verdicts of Decide.
const (
	Run Verdict = iota
	Hit
	Skip
)

// Work is what the nodes are. Decide and Changed are called from one goroutine,
// in an order that respects the graph, and must be quick; Prepare and Run of
// different nodes overlap.
type Work interface {
	// Decide says what is to be done with node i. An error fails the node.
	Decide(ctx context.Context, i int) (Verdict, error)
	// Needs says what node i occupies.
	Needs(i int) Needs
	// Prepare makes node i ready to start; called at most once, before Run.
	Prepare(ctx context.Context, i int) error
	// Run does node i. It may call release when the node no longer occupies what
	// it needs, though it has more to do; not when it already knows that the node
	// failed, since something new would start before the failure is told. ErrHit
	// says that the node turned out to be there already.
	Run(ctx context.Context, i int, release func()) error
	// Drop undoes Prepare of a node that will not run.
	Drop(i int)
	// Changed tells each change of state, with the error of a failed node or the
	// node that caused it to be skipped, -1 for none.
	Changed(i int, s State, cause int, err error)
}

// ErrHit is returned by Work.Run when the result was there already.
var ErrHit = errors.New("the result is there already")

// Options says how to go about it.
type Options struct {
	Limits    Limits
	KeepGoing bool
	// Machine is shared with other graphs that are run at the same time; nil for one of
	// its own.
	Machine *Machine
	// Given tells which devices node i has, before it is prepared; nil for no telling.
	Given func(i int, names []string)
	// Waiting tells once that node i, which nothing of its own graph holds up, waits for
	// what other graphs occupy; nil for no telling.
	Waiting func(i int)
}

// Result is how every selected node ended; the others stay Pending.
type Result struct {
	States []State
	Errors map[int]error
}

type scheduler struct {
	g        *graph.Graph
	work     Work
	opts     Options
	states   []State
	errs     map[int]error
	selected []bool
	waiting  []int // dependencies not done yet
	queue    []int // ready and to be run, in the order of becoming ready
	prepared map[int]chan error
	ahead    int
	used     occupied     // by this graph's nodes
	told     map[int]bool // that they wait for others
	busy     int          // Run calls that have not returned
	events   chan func()
	wake     chan struct{} // something became free on the machine
	stopped  bool          // nothing new is started
	cause    int
}

// Go runs the selected nodes and returns when none is running any more.
func Go(ctx context.Context, g *graph.Graph, selected []bool, work Work, opts Options) Result {
	s := &scheduler{
		g: g, work: work, opts: opts, selected: selected,
		states: make([]State, g.Len()), errs: map[int]error{}, waiting: make([]int, g.Len()),
		prepared: map[int]chan error{}, events: make(chan func()), cause: -1, told: map[int]bool{},
	}
	if s.opts.Machine == nil {
		s.opts.Machine = NewMachine(opts.Limits)
	}
	s.wake = s.opts.Machine.join()
	defer s.opts.Machine.leave(s.wake)
	s.begin(ctx)
	s.loop(ctx)
	return Result{s.states, s.errs}
}

// begin makes ready what depends on nothing, in declaration order.
func (s *scheduler) begin(ctx context.Context) {
	for i := range s.states {
		for _, d := range s.g.Deps(i) {
			if s.selected[d] {
				s.waiting[i]++
			}
		}
	}
	for i := range s.states {
		if s.selected[i] && s.waiting[i] == 0 && s.states[i] == Pending {
			s.ready(ctx, i)
		}
	}
}

func (s *scheduler) loop(ctx context.Context) {
	done := ctx.Done()
	for {
		s.dispatch(ctx)
		if s.busy == 0 && len(s.queue) == 0 {
			break
		}
		select {
		case f := <-s.events:
			f()
		case <-s.wake:
		case <-done:
			done = nil
			s.stopped = true
		}
	}
	s.abandon(ctx)
}

// set changes a state; a change the table does not have is a defect of this package.
func (s *scheduler) set(i int, next State, cause int, err error) {
	if !s.states[i].May(next) {
		panic(fmt.Sprintf("sched: node %d from %v to %v", i, s.states[i], next))
	}
	s.states[i] = next
	if err != nil {
		s.errs[i] = err
	}
	s.work.Changed(i, next, cause, err)
}

// ready decides about a node and all that becomes ready by it. It is a loop and
// not a recursion, since a chain of ten thousand hits is an ordinary pipeline.
func (s *scheduler) ready(ctx context.Context, stack ...int) {
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if s.states[i] != Pending || s.stopped {
			continue
		}
		s.set(i, Ready, -1, nil)
		v, err := s.work.Decide(ctx, i)
		switch {
		case err != nil:
			s.fail(i, err)
		case v == Run:
			s.queue = append(s.queue, i)
		case v == Hit:
			s.set(i, Cached, -1, nil)
			stack = append(stack, s.released(i)...)
		case v == Skip:
			s.set(i, Skipped, -1, nil)
			stack = append(stack, s.released(i)...)
		}
	}
}

// released counts down what depends on i and gives what became free, last first,
// so that a stack takes it in declaration order.
func (s *scheduler) released(i int) []int {
	var free []int
	rdeps := s.g.Dependents(i)
	for n := len(rdeps) - 1; n >= 0; n-- {
		r := rdeps[n]
		if !s.selected[r] {
			continue
		}
		if s.waiting[r]--; s.waiting[r] == 0 {
			free = append(free, r)
		}
	}
	return free
}

// fail ends a node with an error, and what depends on it with it.
func (s *scheduler) fail(i int, err error) {
	s.set(i, Failed, -1, err)
	if s.cause < 0 {
		s.cause = i
	}
	if !s.opts.KeepGoing {
		s.stopped = true
	}
	for r, behind := range s.g.Descendants([]int{i}) {
		if behind && r != i && s.selected[r] && s.states[r] == Pending {
			s.set(r, Skipped, i, nil)
		}
	}
}

// dispatch starts what fits, in order, and prepares what comes next.
func (s *scheduler) dispatch(ctx context.Context) {
	if s.stopped {
		s.unqueue(ctx)
		return
	}
	var rest []int
	for _, i := range s.queue {
		if held, ok := s.take(i); ok {
			s.start(ctx, i, held)
		} else {
			rest = append(rest, i)
		}
	}
	s.queue = rest
	for _, i := range s.queue {
		if s.ahead >= s.opts.Limits.Ahead {
			break
		}
		// Which devices a node has is not known before they are free.
		if n := s.work.Needs(i); s.prepared[i] == nil && len(n.Devices)+n.Any == 0 {
			s.ahead++
			s.prepare(ctx, i)
		}
	}
}

// take occupies what node i needs, when that is within the graph's limits and the
// machine's. Nodes that need more than there is run alone, or they never would.
func (s *scheduler) take(i int) (held []Device, ok bool) {
	n, l := s.work.Needs(i), s.opts.Limits
	if l.Jobs > 0 && s.used.nodes >= l.Jobs || !s.used.allows(n, l.CPU, l.Memory) {
		return nil, false
	}
	if held, ok = s.opts.Machine.take(n, l); !ok {
		if s.used.nodes == 0 && s.opts.Waiting != nil && !s.told[i] {
			s.told[i] = true
			s.opts.Waiting(i)
		}
		return nil, false
	}
	s.used.add(n, 1)
	return held, true
}

func (s *scheduler) prepare(ctx context.Context, i int) {
	c := make(chan error, 1)
	s.prepared[i] = c
	go func() { c <- s.work.Prepare(ctx, i) }()
}

func (s *scheduler) start(ctx context.Context, i int, held []Device) {
	n := s.work.Needs(i)
	if s.opts.Given != nil && len(held) > 0 {
		s.opts.Given(i, namesOf(held))
	}
	if s.prepared[i] == nil {
		s.prepare(ctx, i)
	} else {
		s.ahead--
	}
	s.busy++
	s.set(i, Running, -1, nil)
	ready := s.prepared[i]
	go func() {
		var freed bool // only touched by the loop
		free := func() {
			if !freed {
				freed = true
				s.used.add(n, -1)
				s.opts.Machine.put(n, held)
			}
		}
		err := <-ready
		if err == nil {
			err = s.work.Run(ctx, i, func() { s.events <- free })
		}
		s.events <- func() {
			free()
			s.busy--
			s.finished(ctx, i, err)
		}
	}()
}

func (s *scheduler) finished(ctx context.Context, i int, err error) {
	switch {
	case err == nil || errors.Is(err, ErrHit):
		next := Succeeded
		if err != nil {
			next = Cached
		}
		s.set(i, next, -1, nil)
		s.ready(ctx, s.released(i)...)
	case ctx.Err() != nil:
		s.set(i, Canceled, -1, err)
		s.stopped = true
	default:
		s.fail(i, err)
	}
}

// unqueue ends what was ready and will not be started.
func (s *scheduler) unqueue(ctx context.Context) {
	queue := s.queue
	s.queue = nil
	for _, i := range queue {
		if c := s.prepared[i]; c != nil {
			<-c
			s.work.Drop(i)
		}
		s.set(i, s.ending(ctx), s.cause, nil)
	}
}

// abandon ends what never became ready.
func (s *scheduler) abandon(ctx context.Context) {
	for i, st := range s.states {
		if s.selected[i] && !st.Done() {
			s.set(i, s.ending(ctx), s.cause, nil)
		}
	}
}

func (s *scheduler) ending(ctx context.Context) State {
	if ctx.Err() != nil {
		return Canceled
	}
	return Skipped
}
