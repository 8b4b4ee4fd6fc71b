package toolbox

import (
	"bytes"
	"errors"
	"unicode"
	"unicode/utf8"
)

// trier matches by trying all ways and keeping the longest. That can take time
// exponential in the text, so it has an end.
type trier struct {
	match  step
	groups int
	d      dialect
	known  map[string]class
}

// attempt is the state of one search.
type attempt struct {
	text   []byte
	groups []int // begin and end, -1 for unset
	best   []int
	left   int // steps
}

// step tries to match at pos and calls next with where the match ended, for each
// way there is, until next is content.
type step func(a *attempt, pos int, next func(int) bool) bool

const maxSteps = 20_000_000

var errTooManySteps = errors.New("a pattern with a reference or a word edge takes too long on this text")

func newTrier(n *node, groups int, d dialect) *trier {
	t := &trier{groups: groups, d: d, known: classes()}
	t.match = t.step(n)
	return t
}

// find is the leftmost longest match that begins at from or later.
func (t *trier) find(text []byte, from int) ([]int, error) {
	a := &attempt{text: text, groups: make([]int, 2*(t.groups+1)), left: maxSteps}
	for start := from; start <= len(text); {
		for i := range a.groups {
			a.groups[i] = -1
		}
		t.match(a, start, func(end int) bool {
			if a.best == nil || end > a.best[1] {
				a.groups[0], a.groups[1] = start, end
				a.best = append(a.best[:0], a.groups...)
			}
			return end == len(text)
		})
		if a.left <= 0 {
			return nil, errTooManySteps
		}
		if a.best != nil {
			return a.best, nil
		}
		_, size := utf8.DecodeRune(text[start:])
		start += max(size, 1)
	}
	return nil, nil
}

func (t *trier) findAll(text []byte) (all [][]int, _ error) {
	for from, last := 0, -1; from <= len(text); {
		m, err := t.find(text, from)
		if err != nil || m == nil {
			return all, err
		}
		if m[1] > m[0] || m[0] != last {
			all = append(all, m)
		}
		from, last = m[1], m[1]
		if m[0] == m[1] {
			_, size := utf8.DecodeRune(text[from:])
			from += max(size, 1)
		}
	}
	return all, nil
}

func (t *trier) step(n *node) step {
	switch n.kind {
	case kindLiteral:
		return t.char(func(c rune) bool { return c == n.char || t.d.fold && sameLetter(c, n.char) })
	case kindAny:
		return t.char(func(rune) bool { return true })
	case kindSet:
		return t.char(func(c rune) bool { return n.set.has(c, t.d.fold, t.known) })
	case kindGroup:
		return t.group(n)
	case kindCat:
		return t.cat(n.sub)
	case kindAlt:
		return t.alt(n.sub)
	case kindRepeat:
		return t.repeat(n)
	case kindReference:
		return t.reference(n.number)
	}
	return t.edge(n.kind)
}

func sameLetter(a, b rune) bool {
	for f := unicode.SimpleFold(a); f != a; f = unicode.SimpleFold(f) {
		if f == b {
			return true
		}
	}
	return false
}

func (t *trier) char(is func(rune) bool) step {
	return func(a *attempt, pos int, next func(int) bool) bool {
		if a.left--; a.left <= 0 || pos >= len(a.text) {
			return false
		}
		c, size := utf8.DecodeRune(a.text[pos:])
		return is(c) && next(pos+size)
	}
}

func (t *trier) cat(sub []*node) step {
	if len(sub) == 0 {
		return func(_ *attempt, pos int, next func(int) bool) bool { return next(pos) }
	}
	first := t.step(sub[0])
	if len(sub) == 1 {
		return first
	}
	rest := t.cat(sub[1:])
	return func(a *attempt, pos int, next func(int) bool) bool {
		return first(a, pos, func(p int) bool { return rest(a, p, next) })
	}
}

func (t *trier) alt(sub []*node) step {
	var ways []step
	for _, s := range sub {
		ways = append(ways, t.step(s))
	}
	return func(a *attempt, pos int, next func(int) bool) bool {
		for _, way := range ways {
			if way(a, pos, next) {
				return true
			}
		}
		return false
	}
}

func (t *trier) group(n *node) step {
	body := t.step(n.sub[0])
	if n.number == 0 {
		return body
	}
	i := 2 * n.number
	return func(a *attempt, pos int, next func(int) bool) bool {
		return body(a, pos, func(p int) bool {
			begin, end := a.groups[i], a.groups[i+1]
			a.groups[i], a.groups[i+1] = pos, p
			if next(p) {
				return true
			}
			a.groups[i], a.groups[i+1] = begin, end
			return false
		})
	}
}

func (t *trier) repeat(n *node) step {
	body := t.step(n.sub[0])
	var times func(a *attempt, done, pos int, next func(int) bool) bool
	times = func(a *attempt, done, pos int, next func(int) bool) bool {
		if a.left--; a.left <= 0 {
			return false
		}
		if n.max < 0 || done < n.max {
			if body(a, pos, func(p int) bool {
				// A round that matches nothing is only good to reach the least number.
				return (p > pos || done < n.min) && times(a, done+1, p, next)
			}) {
				return true
			}
		}
		return done >= n.min && next(pos)
	}
	return func(a *attempt, pos int, next func(int) bool) bool { return times(a, 0, pos, next) }
}

func (t *trier) reference(number int) step {
	return func(a *attempt, pos int, next func(int) bool) bool {
		begin, end := a.groups[2*number], a.groups[2*number+1]
		if begin < 0 || pos+end-begin > len(a.text) {
			return false
		}
		was, is := a.text[begin:end], a.text[pos:pos+end-begin]
		if !bytes.Equal(was, is) && !(t.d.fold && bytes.EqualFold(was, is)) {
			return false
		}
		return next(pos + end - begin)
	}
}

// edge matches between characters.
func (t *trier) edge(k kind) step {
	return func(a *attempt, pos int, next func(int) bool) bool {
		before, _ := utf8.DecodeLastRune(a.text[:pos])
		after, _ := utf8.DecodeRune(a.text[pos:])
		word, follows := pos > 0 && isWord(before), pos < len(a.text) && isWord(after)
		ok := false
		switch k {
		case kindBegin:
			ok = pos == 0 || t.d.lines && before == '\n'
		case kindEnd:
			ok = pos == len(a.text) || t.d.lines && after == '\n'
		case kindTextBegin:
			ok = pos == 0
		case kindTextEnd:
			ok = pos == len(a.text)
		case kindEdge:
			ok = word != follows
		case kindNoEdge:
			ok = word == follows
		case kindWordOn:
			ok = !word && follows
		case kindWordOff:
			ok = word && !follows
		}
		return ok && next(pos)
	}
}
