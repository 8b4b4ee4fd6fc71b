package table

import (
	"bytes"
	"errors"
	"path"
	"strconv"
	"strings"
)

// extension is a name's extension as forms are told by.
func extension(name string) string { return strings.ToLower(path.Ext(name)) }

// walk goes over a row with quotes and counts its fields. It can be stopped at the
// end of a line and go on when there is another, so a cell of many lines is walked
// over once.
type walk struct {
	delim  byte
	pos    int
	fields int
	inside bool // a quoted field
}

// on says whether the row ends with b, which begins as what was walked over before.
func (w *walk) on(b []byte) (bool, error) {
	for {
		if !w.inside && (w.pos >= len(b) || b[w.pos] != '"') {
			w.fields++
			i := bytes.IndexByte(b[w.pos:], w.delim)
			if i < 0 {
				return true, nil
			}
			w.pos += i + 1
			continue
		}
		if !w.inside {
			w.inside = true
			w.pos++
		}
		if whole, err := w.quoted(b); whole || err != nil || w.inside {
			return whole, err
		}
	}
}

// quoted goes on to the closing quote and what follows it.
func (w *walk) quoted(b []byte) (bool, error) {
	for {
		i := bytes.IndexByte(b[w.pos:], '"')
		if i < 0 {
			w.pos = len(b)
			return false, nil
		}
		w.pos += i + 1
		rest := b[w.pos:]
		if len(rest) > 0 && rest[0] == '"' {
			w.pos++
			continue
		}
		w.inside = false
		switch {
		case len(rest) == 0 || string(rest) == "\n" || string(rest) == "\r\n":
			w.fields++
			return true, nil
		case rest[0] == w.delim:
			w.fields++
			w.pos++
			return false, nil
		}
		return false, errors.New("something other than a delimiter follows a closing quote")
	}
}

// delimiter is the one that cuts all of the first rows into as many fields, as many
// as there may be; else the one that most rows have.
func delimiter(head []byte, all bool) byte {
	best, bestScore := byte(','), 0
	for _, d := range []byte{',', '\t', ';', '|'} {
		score := uniform(head, d, all)
		if score > bestScore {
			best, bestScore = d, score
		}
	}
	return best
}

// uniform is how well a delimiter cuts text: how many fields beyond one the first
// row has, in thousands when all rows have them, else the rows that have any.
func uniform(head []byte, delim byte, all bool) int {
	first, rows, with, same := 0, 0, 0, true
	for len(head) > 0 && rows < 100 {
		w := walk{delim: delim}
		n := 0
		for {
			i := bytes.IndexByte(head[n:], '\n')
			if i < 0 && !all {
				break
			}
			if i < 0 {
				i = len(head) - n - 1
			}
			n += i + 1
			whole, err := w.on(head[:n])
			if err != nil {
				return 0
			}
			if whole || n == len(head) {
				break
			}
		}
		if w.fields == 0 {
			break
		}
		if blank := len(bytes.TrimRight(head[:n], "\r\n")) == 0; !blank {
			if rows == 0 {
				first = w.fields
			}
			rows++
			same = same && w.fields == first
			if w.fields > 1 {
				with++
			}
		}
		head = head[n:]
	}
	if same {
		return (first - 1) * 1000
	}
	return with
}

// looksLikeHeader says whether the first of some rows names the columns. It does when
// all its cells are texts, the first of several may be empty as where pandas writes an
// index, and they are told apart or are not what stands below them. Numbers that
// count three columns or more from 0 are names as well.
func looksLikeHeader(sample [][][]byte) bool {
	names := sample[0]
	seen := make(map[string]bool, len(names))
	texts, apart, shift := true, true, 0
	for i, name := range names {
		if len(name) == 0 {
			if i > 0 || len(names) == 1 {
				return false
			}
			shift = 1
			continue
		}
		apart = apart && !seen[string(name)]
		seen[string(name)] = true
		kind, _ := parse(name)
		texts = texts && kind == kindText
	}
	if texts {
		return apart || unlikeBelow(sample)
	}
	for i, name := range names[shift:] {
		if string(name) != strconv.Itoa(i) {
			return false
		}
	}
	return len(names)-shift > 2
}

// unlikeBelow says whether there is a column of which only the first cell is text.
func unlikeBelow(sample [][][]byte) bool {
	for i := range sample[0] {
		values, texts := 0, 0
		for _, row := range sample[1:] {
			if len(row[i]) == 0 {
				continue
			}
			values++
			if kind, _ := parse(row[i]); kind == kindText {
				texts++
			}
		}
		if values > 0 && texts == 0 {
			return true
		}
	}
	return false
}

func cloneCells(cells [][]byte) [][]byte {
	clone := make([][]byte, len(cells))
	for i, c := range cells {
		clone[i] = bytes.Clone(c)
	}
	return clone
}
