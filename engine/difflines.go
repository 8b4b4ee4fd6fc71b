package engine

import (
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// maxDiffLines is how many lines of one comparison are told at most, whoever asks.
const maxDiffLines = 100_000

// lineDiff is a unified diff without its file header, cut to as many lines as were asked
// for.
func (x *explainer) lineDiff(a, b []byte) []string {
	text := string(diff.Diff("old", a, "new", b))
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 && !strings.HasPrefix(lines[0], "@@") {
		lines = lines[1:]
	}
	most := maxDiffLines
	if x.lines > 0 {
		most = min(most, x.lines)
	}
	return cutLines(lines, most)
}

// sideRun is lines of a diff that follow each other and are of one side: removed, added,
// or common with all else.
type sideRun struct {
	sign  byte // '-', '+' or ' '
	lines []string
}

func sideRuns(lines []string) []sideRun {
	var runs []sideRun
	for i, l := range lines {
		sign := byte(' ')
		switch {
		case l == "":
		case l[0] == '-' || l[0] == '+':
			sign = l[0]
		case l[0] == '\\' && len(runs) > 0: // no newline: of the line before
			sign = runs[len(runs)-1].sign
		}
		if n := len(runs); n > 0 && runs[n-1].sign == sign {
			runs[n-1].lines = runs[n-1].lines[:len(runs[n-1].lines)+1]
			continue
		}
		runs = append(runs, sideRun{sign, lines[i : i+1]})
	}
	return runs
}

// fewLines is how much of a side is shown at least, before later places are left out.
const fewLines = 5

// cutLines shortens a diff so that both sides are seen of each place: all that was
// removed or added at one place is cut to one length, the greatest that will do. Only
// where there are so many places that little would be left of each the last ones are
// left out. What is left out is counted where it was.
func cutLines(lines []string, most int) []string {
	if len(lines) <= most {
		return lines
	}
	runs := sideRuns(lines)
	each := max(1, min(fewLines, most/2))
	for low, high := each, most; low <= high; { // the length is searched for
		mid := (low + high) / 2
		total := 0
		for _, r := range runs {
			total += r.cut(mid)
		}
		if total <= most {
			each, low = mid, mid+1
		} else {
			high = mid - 1
		}
	}
	var out []string
	shown := 0
	for i, r := range runs {
		n := r.cut(each)
		if shown+n > most && i > 0 && r.sign != '+' { // what came is seen beside what went
			return append(out, leftOut(runs[i:])...)
		}
		out, shown = append(out, r.lines[:n]...), shown+n
		out = append(out, leftOut([]sideRun{{r.sign, r.lines[n:]}})...)
	}
	return out
}

// cut is how many lines are left when so many of a side are.
func (r *sideRun) cut(each int) int {
	if r.sign == ' ' {
		return len(r.lines)
	}
	return min(len(r.lines), each)
}

// leftOut counts the removed and added lines of runs, if there are any.
func leftOut(runs []sideRun) []string {
	count := map[byte]int{}
	for _, r := range runs {
		for _, l := range r.lines {
			if !strings.HasPrefix(l, `\`) {
				count[r.sign]++
			}
		}
	}
	var parts []string
	for _, p := range []struct {
		sign byte
		what string
	}{{'-', "removed"}, {'+', "added"}} {
		if n := count[p.sign]; n == 1 {
			parts = append(parts, "1 line more "+p.what)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d lines more %s", n, p.what))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return []string{"… and " + strings.Join(parts, ", ")}
}
