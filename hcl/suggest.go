package hcl

import (
	"fmt"
	"slices"
	"strings"
)

// suggest returns the known name closest to the one that was given, or "" when
// none is close: the distance allowed grows with the length of the name, so that
// a short name does not turn into any other short name.
func suggest(given string, known []string) string {
	best, distance := "", max(1, min(3, len(given)/3))+1
	for _, name := range slices.Sorted(slices.Values(known)) {
		if strings.EqualFold(name, given) {
			return name
		}
		if abs(len(name)-len(given)) >= distance {
			continue
		}
		// Among several, a name of which no letter is left was not meant: b is not a.
		if n := editDistance(given, name); n < distance && (n < max(len(given), len(name)) || len(known) == 1) {
			best, distance = name, n
		}
	}
	return best
}

// didYouMean is the hint for a misspelt name, "" when nothing is close. The
// format says how the name is written in the file.
func didYouMean(given string, known []string, format string) string {
	if name := suggest(given, known); name != "" {
		return fmt.Sprintf("did you mean "+format+"?", name)
	}
	return ""
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	before, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// listed joins names for a sentence, at most ten of them.
func listed(names []string) string {
	if !slices.IsSorted(names) {
		names = slices.Sorted(slices.Values(names))
	}
	if len(names) == 0 {
		return "there is none"
	}
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + fmt.Sprintf(" and %d more", len(names)-10)
	}
	return strings.Join(names, ", ")
}
