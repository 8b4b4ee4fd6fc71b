package sched

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/graph"
)

// Several graphs on one machine stay within its limits together, share no device, and
// all come to their end.
func TestMachineShared(t *testing.T) {
	const graphs, nodes = 4, 40
	random := rand.New(rand.NewPCG(7, 7))
	limits := Limits{CPU: 3, Memory: 100, Devices: gpu("0", "1")}
	m := NewMachine(limits)
	var mu sync.Mutex
	var used Needs
	running, most := 0, 0
	taken := map[string]int{}
	given := map[[2]int][]string{}
	var ended sync.WaitGroup
	for n := range graphs {
		f := newFake(t, graph.New(names(nodes), make([][]int, nodes)))
		f.needs = map[int]Needs{}
		for i := range nodes {
			f.needs[i] = Needs{CPU: float64(random.IntN(3)), Memory: random.Int64N(60), Any: random.IntN(3)}
		}
		enter := func(i, sign int) {
			mu.Lock()
			defer mu.Unlock()
			running += sign
			most = max(most, running)
			used.CPU += float64(sign) * f.needs[i].CPU
			used.Memory += int64(sign) * f.needs[i].Memory
			for _, d := range given[[2]int{n, i}] {
				if taken[d] += sign; taken[d] > 1 {
					t.Errorf("device %s is with %d nodes", d, taken[d])
				}
			}
			if running > 1 && (used.CPU > limits.CPU || used.Memory > limits.Memory) {
				t.Errorf("%d nodes use %+v of %+v", running, used, limits)
			}
		}
		work := &entering{f, enter}
		ended.Go(func() {
			res := Go(context.Background(), f.g, all(nodes), work, Options{Limits: limits, Machine: m, Given: func(i int, names []string) {
				mu.Lock()
				defer mu.Unlock()
				given[[2]int{n, i}] = names
			}})
			for i, st := range res.States {
				if st != Succeeded {
					t.Errorf("graph %d: node %d ended as %v", n, i, st)
				}
			}
		})
	}
	ended.Wait()
	if most < 2 {
		t.Error("nothing ever ran beside anything else: this tests nothing")
	}
	if m.used != (occupied{}) || len(m.taken) > 0 || len(m.joined) > 0 {
		t.Errorf("left on the machine: %+v, %v, %d graphs", m.used, m.taken, len(m.joined))
	}
}

// entering is a fake whose nodes tell when they run.
type entering struct {
	*fake
	enter func(i, sign int)
}

func (e *entering) Run(_ context.Context, i int, _ func()) error {
	e.enter(i, 1)
	time.Sleep(time.Duration(i%3) * time.Millisecond)
	e.enter(i, -1)
	return nil
}

// A graph that another one holds up says so, once, and goes on when that one is done.
func TestMachineWaiting(t *testing.T) {
	m := NewMachine(Limits{CPU: 1})
	first := newFake(t, graph.New(names(1), [][]int{nil}))
	first.block = make(chan struct{})
	begun := make(chan struct{})
	first.onStart = func(int) { close(begun) }
	var both sync.WaitGroup
	both.Go(func() { Go(context.Background(), first.g, all(1), first, Options{Machine: m, Limits: Limits{CPU: 1}}) })
	<-begun
	second := newFake(t, graph.New(names(2), [][]int{nil, nil}))
	var told []int
	waits := make(chan struct{})
	var res Result
	both.Go(func() {
		res = Go(context.Background(), second.g, all(2), second, Options{Machine: m, Limits: Limits{CPU: 1}, Waiting: func(i int) {
			if told = append(told, i); len(told) == 2 {
				close(waits)
			}
		}})
	})
	<-waits
	if len(second.started) > 0 {
		t.Errorf("%v started beside what occupies the machine", second.started)
	}
	close(first.block)
	both.Wait()
	if diff := cmp.Diff([]string{"succeeded", "succeeded"}, statesOf(res)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{0, 1}, told); diff != "" {
		t.Errorf("told to wait (-want +got):\n%s", diff)
	}
}

// What waits for another graph ends when it is canceled.
func TestMachineCanceled(t *testing.T) {
	m := NewMachine(Limits{CPU: 1})
	if _, ok := m.take(Needs{CPU: 1}, Limits{}); !ok {
		t.Fatal("an empty machine has no room")
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := newFake(t, graph.New(names(1), [][]int{nil}))
	res := Go(ctx, f.g, all(1), f, Options{Machine: m, Limits: Limits{CPU: 1}, Waiting: func(int) { cancel() }})
	if diff := cmp.Diff([]string{"canceled"}, statesOf(res)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}
