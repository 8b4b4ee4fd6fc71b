package view

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// What differs is shown so that it is seen to differ. A character that would move the
// cursor or nothing at all is written as its picture: ␉ for a tab, ␍ for a carriage
// return, ␊ for a newline within a value, ␛ for what begins an escape sequence; a space
// at an end as ␠, a byte order mark as <BOM>. Where two texts beside each other would
// look the same all the same, what has no ink or looks like something else is written by
// its number, like <U+00A0>.

// visible writes a text that stands alone. Nothing in it reaches the terminal as more
// than a sign on the line.
func visible(s string) string { return ink(s, false) }

// ink writes a text with pictures; of one that has a twin also what else is not seen.
func ink(s string, twin bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < ' ':
			b.WriteRune(0x2400 + r)
		case r == 0x7f:
			b.WriteRune('␡')
		case r == 0xfeff:
			b.WriteString("<BOM>")
		case isControl(r), twin && r > 0x7f && unseen(r):
			fmt.Fprintf(&b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unseen says that a character has no ink of its own, or joins the one before it.
func unseen(r rune) bool {
	return unicode.In(r, unicode.Z, unicode.Cf, unicode.Mn, unicode.Me) || r == 0x2800 || !unicode.IsGraphic(r)
}

// looks is what a reader sees of a text: two that look the same are twins.
func looks(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.Is(unicode.Z, r) || r == 0x2800:
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf):
			return -1
		}
		return r
	}, norm.NFKC.String(s))
	return strings.Join(strings.Fields(s), " ")
}

// endSpaces writes the spaces that a text ends with as ␠.
func endSpaces(s string) string {
	trimmed := strings.TrimRight(s, " ")
	return trimmed + strings.Repeat("␠", len(s)-len(trimmed))
}

// startSpaces likewise.
func startSpaces(s string) string {
	trimmed := strings.TrimLeft(s, " ")
	return strings.Repeat("␠", len(s)-len(trimmed)) + trimmed
}

// visibleValue writes one value, whose ends are not those of a line.
func visibleValue(s string) string { return startSpaces(endSpaces(visible(s))) }

// visiblePair writes an old and a new value, so that they are seen to differ.
func visiblePair(old, new string) (string, string) {
	twins := old != new && looks(old) == looks(new)
	return startSpaces(endSpaces(ink(old, twins))), startSpaces(endSpaces(ink(new, twins)))
}

// visibleLines writes the lines of a diff. A removed line has twins among the lines that
// were added in its place.
func visibleLines(diff []string) []string {
	out := make([]string, len(diff))
	for i := 0; i < len(diff); {
		end := i
		var seen [2]map[string]bool
		for ; end < len(diff) && changed(diff[end]) && !(strings.HasPrefix(diff[end], "-") && len(seen[1]) > 0); end++ {
			side := 0
			if diff[end][0] == '+' {
				side = 1
			}
			if seen[side] == nil {
				seen[side] = map[string]bool{}
			}
			if strings.ContainsAny(diff[end][:1], "+-") {
				seen[side][looks(diff[end][1:])] = true
			}
		}
		for ; i < end; i++ {
			l := diff[i]
			look := looks(l[1:])
			out[i] = endSpaces(ink(l, seen[0][look] && seen[1][look]))
		}
		if i < len(diff) && !changed(diff[i]) {
			out[i] = visible(diff[i])
			i++
		}
	}
	return out
}

// changed says that a line of a diff was removed or added, or is said of one that was.
func changed(line string) bool {
	return line != "" && strings.ContainsRune("+-\\", rune(line[0])) || strings.HasPrefix(line, "… and ")
}

// clippedLines cuts the lines of a diff to so many columns. Where a removed and an added
// line would be one then, they are shown from near where they part.
func clippedLines(lines []string, most int) []string {
	out := make([]string, len(lines))
	removed := map[string]int{} // by what is seen of a line that was cut
	for i, l := range lines {
		out[i] = cut(l, most)
		if out[i] == l {
			continue
		}
		switch seen := out[i][1:]; {
		case l[0] == '-':
			removed[seen] = i
		case l[0] == '+':
			j, ok := removed[seen]
			if !ok || lines[j][1:] == l[1:] {
				continue
			}
			from := parting(lines[j][1:], l[1:])
			for _, k := range []int{i, j} {
				out[k] = cut(lines[k][:1]+"…"+lines[k][1+from:], most)
			}
		}
	}
	return out
}

// lead is how much is shown of what is the same before two texts part.
const lead = 24

// parting is a little before where two texts part, at a character.
func parting(a, b string) int {
	var starts []int
	for i, r := range a {
		if !strings.HasPrefix(b[min(i, len(b)):], string(r)) {
			break
		}
		starts = append(starts, i)
	}
	return starts[max(0, len(starts)-lead)]
}

// maxCell is how many columns of a value are shown beside another one.
const maxCell = 100

// cellPair is visiblePair for values that may be long.
func cellPair(old, new string) (string, string) {
	old, new = visiblePair(old, new)
	if columns(old) <= maxCell && columns(new) <= maxCell {
		return old, new
	}
	if from := parting("\x00"+old, "\x00"+new); from > 1 {
		old, new = "…"+old[from-1:], "…"+new[from-1:]
	}
	return cut(old, maxCell), cut(new, maxCell)
}
