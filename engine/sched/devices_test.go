package sched

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/graph"
)

func gpu(names ...string) (all []Device) {
	for _, n := range names {
		all = append(all, Device{n, []string{"/dev/" + n}})
	}
	return all
}

func TestFindDevices(t *testing.T) {
	both := Device{"all", []string{"/dev/0", "/dev/1"}}
	serial := Device{"serial", []string{"/dev/0"}}
	for _, tt := range []struct {
		name  string
		pool  []Device
		taken []string
		needs Needs
		want  []string
		ok    bool
	}{
		{"none", gpu("0"), []string{"/dev/0"}, Needs{}, nil, true},
		{"any", gpu("0", "1"), nil, Needs{Any: 1}, []string{"0"}, true},
		{"any but a taken one", gpu("0", "1"), []string{"/dev/0"}, Needs{Any: 1}, []string{"1"}, true},
		{"too many", gpu("0", "1"), []string{"/dev/0"}, Needs{Any: 2}, []string{"1"}, false},
		{"a named one", gpu("0", "1"), []string{"/dev/1"}, Needs{Devices: gpu("0")}, []string{"0"}, true},
		{"a taken one by another name", gpu("0"), []string{"/dev/0"}, Needs{Devices: []Device{serial}}, nil, false},
		{"all with one taken", gpu("0", "1"), []string{"/dev/1"}, Needs{Devices: []Device{both}}, nil, false},
		{"two names of one", gpu("0"), nil, Needs{Devices: append(gpu("0"), serial)}, []string{"0", "serial"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := devices{pool: tt.pool, taken: map[string]bool{}}
			for _, u := range tt.taken {
				d.taken[u] = true
			}
			found, ok := d.find(tt.needs)
			var got []string
			if len(found) > 0 {
				got = namesOf(found)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || ok != tt.ok {
				t.Errorf("ok %v, want %v (-want +got):\n%s", ok, tt.ok, diff)
			}
		})
	}
}

// No device is with two nodes at a time, whatever the nodes ask for, and each has what
// it asked for before it is prepared.
func TestDevicesAreGivenToOne(t *testing.T) {
	pool := gpu("0", "1", "2")
	named := append(gpu("0", "1"), Device{"all", []string{"/dev/0", "/dev/1", "/dev/2"}})
	uses := map[string][]string{}
	for _, d := range append(named, pool...) {
		uses[d.Name] = d.Uses
	}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			const n = 30
			g := graph.New(names(n), make([][]int, n))
			f := newFake(t, g)
			f.needs = map[int]Needs{}
			for i := range n {
				switch random.IntN(3) {
				case 0:
					f.needs[i] = Needs{Any: 1 + random.IntN(3)}
				case 1:
					f.needs[i] = Needs{Devices: []Device{named[random.IntN(len(named))]}}
				}
			}
			var mu sync.Mutex
			holds, busy := map[int][]string{}, map[string]int{}
			opts := Options{Limits: Limits{Jobs: 4, Ahead: 2, Devices: pool}, Given: func(i int, names []string) {
				mu.Lock()
				defer mu.Unlock()
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.prepared[i] {
					t.Errorf("node %d was prepared before", i)
				}
				holds[i] = names
			}}
			f.onStart = func(i int) {
				mu.Lock()
				defer mu.Unlock()
				if want := f.needs[i].Any + len(f.needs[i].Devices); len(holds[i]) != want {
					t.Errorf("node %d has %v and needs %d", i, holds[i], want)
				}
				for _, name := range holds[i] {
					for _, u := range uses[name] {
						if busy[u]++; busy[u] > 1 {
							t.Errorf("%s is given twice", u)
						}
					}
				}
			}
			work := &returning{f, func(i int) {
				mu.Lock()
				defer mu.Unlock()
				for _, name := range holds[i] {
					for _, u := range uses[name] {
						busy[u]--
					}
				}
			}}
			for i, st := range Go(t.Context(), g, all(n), work, opts).States {
				if st != Succeeded {
					t.Errorf("node %d: %v", i, st)
				}
			}
		})
	}
}

// returning is Work that gives back what a node holds before it says so.
type returning struct {
	*fake
	back func(i int)
}

func (r *returning) Run(ctx context.Context, i int, release func()) error {
	return r.fake.Run(ctx, i, func() {
		r.back(i)
		release()
	})
}
