package engine

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

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

// textDiff compares two texts line by line. Where only what ends lines differs, or a byte
// order mark, every line would be told: that is said instead. White space within lines
// may mean something, so the lines are told besides.
func (x *explainer) textDiff(a, b []byte) (lines []string, note string) {
	if only := onlyEndings(a, b); only != "" {
		return nil, only
	}
	old, new := endingOf(a), endingOf(b)
	switch {
	case bytes.Equal(squeezed(a), squeezed(b)):
		note = "only white space differs"
	case old.ends+new.ends == "CRLFLF" || old.ends+new.ends == "LFCRLF":
		note = "besides, " + endsChange(&old, &new)
		a, b = bytes.ReplaceAll(a, crlf, lf), bytes.ReplaceAll(b, crlf, lf)
	}
	return x.lineDiff(a, b), note
}

func endsChange(old, new *ending) string {
	return fmt.Sprintf("line endings are %s where they were %s", new.ends, old.ends)
}

var byteOrderMark, crlf, lf = []byte("\ufeff"), []byte("\r\n"), []byte("\n")

// onlyEndings says how two texts differ of which all lines are equal, "" for others.
func onlyEndings(a, b []byte) string {
	if len(a) == 0 || len(b) == 0 {
		return ""
	}
	var texts [2]ending
	for i, text := range [][]byte{a, b} {
		texts[i] = endingOf(text)
	}
	old, new := &texts[0], &texts[1]
	if !bytes.Equal(old.lines, new.lines) {
		return ""
	}
	var parts []string
	if old.ends != new.ends && old.ends != "" && new.ends != "" {
		parts = append(parts, endsChange(old, new))
	}
	if old.mark != new.mark {
		parts = append(parts, cameOrWent("a byte order mark", new.mark))
	}
	if old.last != new.last {
		parts = append(parts, cameOrWent("the newline at the end", new.last))
	}
	if len(parts) == 0 { // both are mixed: lines tell
		return ""
	}
	return "only " + strings.Join(parts, ", and ")
}

func cameOrWent(what string, came bool) string {
	if came {
		return what + " came"
	}
	return what + " went"
}

// ending is a text taken apart: its lines, and what is around them.
type ending struct {
	lines []byte
	ends  string // CRLF, LF or mixed; "" when it is but one line
	mark  bool   // it begins with a byte order mark
	last  bool   // its last line is ended
}

func endingOf(text []byte) ending {
	var e ending
	text, e.mark = bytes.CutPrefix(text, byteOrderMark)
	all, both := bytes.Count(text, lf), bytes.Count(text, crlf)
	switch {
	case all == 0:
	case both == 0:
		e.ends = "LF"
	case both == all:
		e.ends = "CRLF"
	default:
		e.ends = "mixed"
	}
	e.lines = bytes.ReplaceAll(text, crlf, lf)
	e.lines, e.last = bytes.CutSuffix(e.lines, lf)
	return e
}

// squeezed is a text without white space.
func squeezed(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == 0xfeff {
			return -1
		}
		return r
	}, text)
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
