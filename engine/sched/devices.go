package sched

import "slices"

// Device is something that one node at a time can have. One device may go by several
// names, and a name may stand for several: what it uses says which exclude each other.
type Device struct {
	Name string
	Uses []string
}

// devices are those that can be given, and what of them is in use.
type devices struct {
	pool  []Device
	taken map[string]bool // by use
}

// find gives the devices that a node would have now, and whether it can have all of
// them. It prefers those that come first, so that a run is like another.
func (d *devices) find(n Needs) (found []Device, ok bool) {
	var uses []string
	free := func(c Device) bool {
		return !slices.ContainsFunc(c.Uses, func(u string) bool { return d.taken[u] || slices.Contains(uses, u) })
	}
	add := func(c Device) {
		found = append(found, c)
		uses = append(uses, c.Uses...)
	}
	for _, c := range n.Devices {
		if slices.ContainsFunc(c.Uses, func(u string) bool { return d.taken[u] }) {
			return found, false
		}
		add(c) // two names of a node may mean the same device
	}
	for _, c := range d.pool {
		if n.Any > 0 && free(c) {
			add(c)
			n.Any--
		}
	}
	return found, n.Any == 0
}

// take occupies what a node has. A node that is run alone though it does not fit has
// what there is.
func (d *devices) take(n Needs) []Device {
	found, _ := d.find(n)
	for _, c := range found {
		for _, u := range c.Uses {
			d.taken[u] = true
		}
	}
	return found
}

func (d *devices) put(held []Device) {
	for _, c := range held {
		for _, u := range c.Uses {
			delete(d.taken, u)
		}
	}
}

func namesOf(all []Device) []string {
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.Name
	}
	return names
}
