package table

import (
	"cmp"
	"math"
	"slices"
)

// weighted is a value and how much of a table it stands for.
type weighted[T any] struct {
	value T
	a, b  float64
}

// part is some rows of both tables' columns: those that both have, or one of them.
type part struct {
	*summary
	a, b bool // whose rows these are
}

// numbersOf weighs the samples of all parts, so that each table's weights add up to 1.
func numbersOf(parts []part) []weighted[float64] {
	return weigh(parts, func(s *summary) ([]float64, int64) { return s.numbers, s.finite })
}

func hashesOf(parts []part) []weighted[uint64] {
	return weigh(parts, func(s *summary) ([]uint64, int64) { return s.hashes, s.values() })
}

func weigh[T cmp.Ordered](parts []part, of func(*summary) ([]T, int64)) []weighted[T] {
	var all []weighted[T]
	var totalA, totalB float64
	for _, p := range parts {
		_, n := of(p.summary)
		if p.a {
			totalA += float64(n)
		}
		if p.b {
			totalB += float64(n)
		}
	}
	for _, p := range parts {
		sample, n := of(p.summary)
		each := float64(n) / float64(len(sample))
		for _, v := range sample {
			w := weighted[T]{value: v}
			if p.a {
				w.a = each / totalA
			}
			if p.b {
				w.b = each / totalB
			}
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(x, y weighted[T]) int {
		return cmp.Or(cmp.Compare(x.value, y.value), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	merged := all[:0]
	for _, w := range all {
		if last := len(merged) - 1; last >= 0 && merged[last].value == w.value {
			merged[last].a += w.a
			merged[last].b += w.b
			continue
		}
		merged = append(merged, w)
	}
	return merged
}

// kolmogorov is the Kolmogorov–Smirnov statistic: how far apart the shares of values
// below some value are at most.
func kolmogorov(values []weighted[float64]) float64 {
	a, b, most := 0.0, 0.0, 0.0
	for _, v := range values {
		a += v.a
		b += v.b
		most = max(most, math.Abs(a-b))
	}
	return most
}

// categories is how many frequent values the stability index tells apart; the others
// are one. rarest is the share that it takes for none.
const (
	categories = 20
	rarest     = 1e-4
)

// stability is the population stability index: the sum of (p−q)·ln(p/q) over values.
func stability(values []weighted[uint64]) float64 {
	slices.SortFunc(values, func(x, y weighted[uint64]) int {
		return cmp.Or(cmp.Compare(y.a+y.b, x.a+x.b), cmp.Compare(x.value, y.value))
	})
	bins := values
	if len(bins) > categories {
		rest := weighted[uint64]{}
		for _, v := range bins[categories:] {
			rest.a += v.a
			rest.b += v.b
		}
		bins = append(bins[:categories:categories], rest)
	}
	index := 0.0
	for _, v := range bins {
		p, q := max(v.a, rarest), max(v.b, rarest)
		index += (p - q) * math.Log(p/q)
	}
	return index
}

// quantiles of table a or b, the lower one where two values share the place.
func quantiles(values []weighted[float64], of func(weighted[float64]) float64) []float64 {
	found := []float64{}
	below := 0.0
	for _, v := range values {
		w := of(v)
		if w == 0 {
			continue
		}
		below += w
		// A sum of weights misses the exact share by rounding.
		for len(found) < len(Quantiles) && below >= Quantiles[len(found)]-1e-9 {
			found = append(found, v.value)
		}
	}
	return found
}

// sizeOf is the word for a shift: what is small in the one measure is not in the other.
func sizeOf(measure string, shift float64) string {
	small, large := 0.05, 0.2
	if measure == "psi" {
		small, large = 0.1, 0.25
	}
	switch {
	case shift < small:
		return "none"
	case shift < large:
		return "small"
	}
	return "large"
}
