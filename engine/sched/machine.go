package sched

import "sync"

// Machine is what several graphs are run on at the same time: what their nodes occupy
// together stays within its limits, and no two nodes have one device. A node that needs
// more than there is runs when nothing else does.
type Machine struct {
	limits Limits

	mu     sync.Mutex
	used   occupied
	taken  map[string]bool        // devices, by use
	joined map[chan struct{}]bool // told when something became free
}

// NewMachine gives a machine with nothing on it. Of the limits, CPU and Memory count;
// 0 is no limit.
func NewMachine(limits Limits) *Machine {
	return &Machine{limits: limits, taken: map[string]bool{}, joined: map[chan struct{}]bool{}}
}

// occupied is what some running nodes need together.
type occupied struct {
	cpu    float64
	memory int64
	nodes  int
}

func (o *occupied) add(n Needs, sign int) {
	o.cpu += float64(sign) * n.CPU
	o.memory += int64(sign) * n.Memory
	o.nodes += sign
	if o.nodes == 0 {
		o.cpu = 0 // what rounding left
	}
}

// allows reports whether one more node fits.
func (o *occupied) allows(n Needs, cpu float64, memory int64) bool {
	const rounding = 1e-9
	return o.nodes == 0 ||
		(cpu == 0 || o.cpu+n.CPU <= cpu+rounding) && (memory == 0 || o.memory+n.Memory <= memory)
}

// join gives a channel that is told when something became free.
func (m *Machine) join() chan struct{} {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined[c] = true
	return c
}

func (m *Machine) leave(c chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.joined, c)
}

// take occupies what a node needs, or says that it has to wait. A graph's own limits
// may be wider than the machine's: whoever sets them knows why.
func (m *Machine) take(n Needs, l Limits) (held []Device, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := devices{pool: l.Devices, taken: m.taken}
	if m.used.nodes > 0 {
		if _, ok := d.find(n); !ok || !m.used.allows(n, atLeast(m.limits.CPU, l.CPU), atLeast(m.limits.Memory, l.Memory)) {
			return nil, false
		}
	}
	m.used.add(n, 1)
	return d.take(n), true
}

// atLeast is the wider of two limits, of which 0 is none.
func atLeast[N int64 | float64](a, b N) N {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// put gives back what a node occupied.
func (m *Machine) put(n Needs, held []Device) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used.add(n, -1)
	d := devices{taken: m.taken}
	d.put(held)
	for c := range m.joined {
		select {
		case c <- struct{}{}:
		default: // it was told already and has not looked yet
		}
	}
}
