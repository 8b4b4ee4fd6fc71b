package table

import (
	"math/rand/v2"
	"testing"
)

// TestMovesAreTheFewest tries all sets of columns of random orders: what is told as moved
// is no larger than the least that leaves the others in order, and of such sets none has
// fewer columns that are at their place.
func TestMovesAreTheFewest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n := 1 + random.IntN(7)
		s, names := &schema{}, make([]Column, n)
		for i, at := range random.Perm(n) {
			s.common = append(s.common, [2]int{i, at})
		}
		fewest, atPlace := n, n
		for stay := range 1 << n {
			moved, there, last, inOrder := 0, 0, -1, true
			for i, pair := range s.common {
				if stay>>i&1 == 0 {
					moved++
					if pair[0] == pair[1] {
						there++
					}
					continue
				}
				inOrder = inOrder && pair[1] > last
				last = pair[1]
			}
			if inOrder && (moved < fewest || moved == fewest && there < atPlace) {
				fewest, atPlace = moved, there
			}
		}
		there := 0
		moves := s.moves(names)
		for _, m := range moves {
			if s.common[m.Old-1][1]+1 != m.New {
				t.Fatalf("%v: %+v is not where it is", s.common, m)
			}
			if m.Old == m.New {
				there++
			}
		}
		if len(moves) != fewest || there != atPlace {
			t.Fatalf("%v: %d moved, %d of them at their place; want %d and %d: %+v", s.common, len(moves), there, fewest, atPlace, moves)
		}
	}
}
