package table

import (
	"math"
	"math/bits"
)

// distinct counts different hashes, whose bits have to be as good as random: exactly up to a limit, and beyond it by
// HyperLogLog, whose standard error is 1.04/√registers.
type distinct struct {
	limit     int
	precision int      // 1<<precision registers
	table     []uint64 // open addressing; 0 is free
	n         int      // in table
	zero      bool     // the hash 0 was there
	registers []uint8  // nil while counting is exact
}

func (d *distinct) add(h uint64) {
	if d.registers != nil {
		d.register(h)
		return
	}
	if h == 0 {
		d.zero = true
		return
	}
	if 2*d.n >= len(d.table) {
		d.grow()
		if d.registers != nil {
			d.register(h)
			return
		}
	}
	i := h & uint64(len(d.table)-1)
	for d.table[i] != 0 && d.table[i] != h {
		i = (i + 1) & uint64(len(d.table)-1)
	}
	if d.table[i] == 0 {
		d.table[i] = h
		d.n++
	}
}

func (d *distinct) grow() {
	old := d.table
	if d.n >= d.limit {
		d.registers = make([]uint8, 1<<d.precision)
		d.table = nil
		if d.zero {
			d.register(0)
		}
	} else {
		d.table, d.n = make([]uint64, max(16, 4*len(old))), 0
	}
	for _, h := range old {
		if h != 0 {
			d.add(h)
		}
	}
}

func (d *distinct) register(h uint64) {
	i := h >> (64 - d.precision)
	rank := uint8(bits.LeadingZeros64(h<<d.precision|1<<(d.precision-1))) + 1
	d.registers[i] = max(d.registers[i], rank)
}

// merge adds what another one counted.
func (d *distinct) merge(other *distinct) {
	for _, h := range other.table {
		if h != 0 {
			d.add(h)
		}
	}
	if other.zero {
		d.add(0)
	}
	if other.registers == nil {
		return
	}
	if d.registers == nil {
		d.n = d.limit
		d.grow()
	}
	for i, rank := range other.registers {
		d.registers[i] = max(d.registers[i], rank)
	}
}

// count is how many there were, and whether that is exact.
func (d *distinct) count() (int64, bool) {
	if d.registers == nil {
		n := int64(d.n)
		if d.zero {
			n++
		}
		return n, true
	}
	sum, empty := 0.0, 0
	for _, rank := range d.registers {
		sum += math.Ldexp(1, -int(rank))
		if rank == 0 {
			empty++
		}
	}
	m := float64(len(d.registers))
	estimate := 0.7213 / (1 + 1.079/m) * m * m / sum
	if estimate < 2.5*m && empty > 0 {
		estimate = m * math.Log(m/float64(empty))
	}
	return int64(math.Round(estimate)), false
}
