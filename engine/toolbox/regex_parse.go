package toolbox

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Regular expressions of POSIX, basic and extended, with GNU's additions (\+ \? \|
// in basic ones, \w \s \b \< \> \` \').
//
// A pattern is read into a tree. From the tree comes an expression for package
// regexp, which is asked for the leftmost longest match; where the pattern has what
// that package lacks, a reference back to a group or an edge of a word that cannot be
// put otherwise, the tree is matched by trying (regex_try.go). The trying matcher
// knows every pattern, so that tests hold one against the other.

type kind int

const (
	kindLiteral kind = iota
	kindAny
	kindSet
	kindGroup
	kindCat
	kindAlt
	kindRepeat
	kindBegin // ^
	kindEnd   // $
	kindTextBegin
	kindTextEnd
	kindReference
	kindEdge    // \b
	kindNoEdge  // \B
	kindWordOn  // \<
	kindWordOff // \>
)

// node is a part of a pattern. Which fields count depends on the kind.
type node struct {
	kind     kind
	char     rune
	set      *set
	number   int // of a group or a reference; a group of 0 is not remembered
	sub      []*node
	min, max int // of a repeat; max -1 is no limit
}

// set is a bracket expression.
type set struct {
	not     bool
	ranges  [][2]rune
	classes []string
}

// classes are the character classes, in the words of package regexp and as functions.
func classes() map[string]class {
	return map[string]class{
		"alpha":  {`\p{L}`, unicode.IsLetter},
		"digit":  {`0-9`, isDigit},
		"alnum":  {`\p{L}0-9`, func(r rune) bool { return unicode.IsLetter(r) || isDigit(r) }},
		"upper":  {`\p{Lu}`, unicode.IsUpper},
		"lower":  {`\p{Ll}`, unicode.IsLower},
		"space":  {`\t-\r `, isSpace},
		"blank":  {`\t `, func(r rune) bool { return r == ' ' || r == '\t' }},
		"punct":  {`!-/:-@\[-` + "`" + `{-~`, func(r rune) bool { return r > ' ' && r < 0x7f && !isASCIIAlnum(r) }},
		"print":  {`\p{L}\p{M}\p{N}\p{P}\p{S} `, unicode.IsPrint},
		"graph":  {`\p{L}\p{M}\p{N}\p{P}\p{S}`, unicode.IsGraphic},
		"cntrl":  {`\x00-\x1f\x7f`, func(r rune) bool { return r < ' ' || r == 0x7f }},
		"xdigit": {`0-9A-Fa-f`, func(r rune) bool { return isDigit(r) || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' }},
		"word":   {`0-9A-Za-z_`, isWord},
	}
}

type class struct {
	text string
	has  func(rune) bool
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }
func isSpace(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }
func isASCIIAlnum(r rune) bool {
	return isDigit(r) || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// isWord is for words as package regexp has them: ASCII alone.
func isWord(r rune) bool { return r == '_' || isASCIIAlnum(r) }

// dialect is how a pattern is to be read.
type dialect struct {
	extended bool
	escapes  bool // \n, \t and the like are characters, as in sed
	fold     bool // upper and lower case are the same
	lines    bool // ^ and $ are at newlines too
}

type reader struct {
	src    string
	pos    int
	d      dialect
	groups int // so far
	open   int // groups being read
	base   int // what references count from
}

// parsePattern reads a pattern; its groups are numbered from base+1 on.
func parsePattern(src string, d dialect, base int) (*node, int, error) {
	if !utf8.ValidString(src) {
		return nil, 0, errors.New("the pattern is not valid UTF-8")
	}
	r := &reader{src: src, d: d, groups: base, base: base}
	n, err := r.alternatives()
	if err == nil && r.pos < len(src) {
		err = errors.New("a group is closed that was not opened")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("pattern %q: %w", src, err)
	}
	return n, r.groups, nil
}

// peek says whether what comes is the operator: with a backslash in a basic
// pattern, without in an extended one.
func (r *reader) peek(op string) bool {
	if !r.d.extended {
		op = `\` + op
	}
	return strings.HasPrefix(r.src[r.pos:], op)
}

func (r *reader) take(op string) bool {
	if !r.peek(op) {
		return false
	}
	r.pos += len(op)
	if !r.d.extended {
		r.pos++
	}
	return true
}

func (r *reader) done() bool { return r.pos >= len(r.src) }

func (r *reader) alternatives() (*node, error) {
	alt := &node{kind: kindAlt}
	for {
		n, err := r.branch()
		if err != nil {
			return nil, err
		}
		alt.sub = append(alt.sub, n)
		if !r.take("|") {
			break
		}
	}
	if len(alt.sub) == 1 {
		return alt.sub[0], nil
	}
	return alt, nil
}

func (r *reader) branch() (*node, error) {
	cat := &node{kind: kindCat}
	for !r.done() && !r.peek("|") && !(r.peek(")") && (r.open > 0 || !r.d.extended)) {
		if r.d.extended && r.open == 0 && r.src[r.pos] == ')' {
			break
		}
		n, err := r.piece(len(cat.sub) == 0 || !r.d.extended && len(cat.sub) == 1 && cat.sub[0].kind == kindBegin)
		if err != nil {
			return nil, err
		}
		cat.sub = append(cat.sub, n)
	}
	return cat, nil
}

// piece is an atom and what repeats it. At the start of a branch a star is itself
// in a basic pattern.
func (r *reader) piece(start bool) (*node, error) {
	n, err := r.atom(start)
	if err != nil {
		return nil, err
	}
	for !r.done() {
		low, high, ok, err := r.repeat(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		n = repeated(n, low, high)
	}
	return n, nil
}

// repeated simplifies what a**, a+* and the like say, which regexp does not take.
func repeated(n *node, low, high int) *node {
	simple := func(a, b int) bool { return a <= 1 && (b == -1 || b == 1) }
	if n.kind == kindRepeat && simple(n.min, n.max) && simple(low, high) {
		if n.max == -1 || high == -1 {
			high = -1
		}
		return &node{kind: kindRepeat, sub: n.sub, min: min(low, n.min), max: high}
	}
	return &node{kind: kindRepeat, sub: []*node{n}, min: low, max: high}
}

// repeat reads *, +, ? or an interval.
func (r *reader) repeat(n *node) (low, high int, ok bool, err error) {
	switch n.kind {
	case kindBegin, kindEnd:
		if r.d.extended && (r.src[r.pos] == '*' || r.peek("+") || r.peek("?")) {
			return 0, 0, false, errors.New("nothing to repeat")
		}
		if n.kind == kindBegin {
			return 0, 0, false, nil
		}
	}
	switch {
	case r.src[r.pos] == '*':
		r.pos++
		return 0, -1, true, nil
	case r.take("+"):
		return 1, -1, true, nil
	case r.take("?"):
		return 0, 1, true, nil
	case r.peek("{"):
		return r.interval()
	}
	return 0, 0, false, nil
}

// maxRepeat is what regexp allows.
const maxRepeat = 1000

func (r *reader) interval() (low, high int, ok bool, err error) {
	start := r.pos
	r.take("{")
	number := func(otherwise int) int {
		begin := r.pos
		for !r.done() && isDigit(rune(r.src[r.pos])) {
			r.pos++
		}
		if begin == r.pos {
			return otherwise
		}
		n, err := strconv.Atoi(r.src[begin:r.pos])
		if err != nil {
			return maxRepeat + 1
		}
		return n
	}
	low = number(-1)
	high = low
	if !r.done() && r.src[r.pos] == ',' {
		r.pos++
		low, high = max(low, 0), number(-1)
	}
	switch closed := r.take("}"); {
	case (!closed || low < 0) && r.d.extended:
		r.pos = start // a brace that begins no interval is itself
		return 0, 0, false, nil
	case !closed || low < 0:
		return 0, 0, false, errors.New("an interval is not closed or has no number")
	case low > maxRepeat || high > maxRepeat:
		return 0, 0, false, fmt.Errorf("an interval of more than %d", maxRepeat)
	case high >= 0 && high < low:
		return 0, 0, false, errors.New("an interval that ends before it begins")
	}
	return low, high, true, nil
}

func (r *reader) atom(start bool) (*node, error) {
	if r.take("(") {
		return r.group()
	}
	c, size := utf8.DecodeRuneInString(r.src[r.pos:])
	switch {
	case c == '\\':
		return r.escape()
	case c == '[':
		r.pos++
		return r.bracket()
	case c == '.':
		r.pos++
		return &node{kind: kindAny}, nil
	case c == '^' && (start || r.d.extended):
		r.pos++
		return &node{kind: kindBegin}, nil
	case c == '$' && r.endsHere():
		r.pos++
		return &node{kind: kindEnd}, nil
	case r.d.extended && start && (c == '*' || c == '+' || c == '?'):
		return nil, errors.New("nothing to repeat")
	}
	r.pos += size
	return literal(c), nil
}

func literal(c rune) *node { return &node{kind: kindLiteral, char: c} }

// endsHere says whether a $ is an anchor: in a basic pattern only at the end.
func (r *reader) endsHere() bool {
	rest := r.src[r.pos+1:]
	return r.d.extended || rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`)
}

func (r *reader) group() (*node, error) {
	r.groups++
	number := r.groups
	if r.open++; r.open > 200 {
		return nil, errors.New("groups nested too deep")
	}
	n, err := r.alternatives()
	if err != nil {
		return nil, err
	}
	r.open--
	if !r.take(")") {
		return nil, errors.New("a group is not closed")
	}
	return &node{kind: kindGroup, number: number, sub: []*node{n}}, nil
}

// escape reads a backslash and what it is in front of.
func (r *reader) escape() (*node, error) {
	if r.pos+1 >= len(r.src) {
		return nil, errors.New("a backslash at the end")
	}
	c, size := utf8.DecodeRuneInString(r.src[r.pos+1:])
	r.pos += 1 + size
	if k, ok := map[rune]kind{'`': kindTextBegin, '\'': kindTextEnd, 'b': kindEdge, 'B': kindNoEdge, '<': kindWordOn, '>': kindWordOff}[c]; ok {
		return &node{kind: k}, nil
	}
	switch c {
	case 'w', 'W':
		return &node{kind: kindSet, set: &set{not: c == 'W', classes: []string{"word"}}}, nil
	case 's', 'S':
		return &node{kind: kindSet, set: &set{not: c == 'S', classes: []string{"space"}}}, nil
	case '{':
		if !r.d.extended {
			return nil, errors.New("nothing to repeat")
		}
	}
	if c >= '1' && c <= '9' {
		number := r.base + int(c-'0')
		if number > r.groups {
			return nil, fmt.Errorf("a reference to group %c, which is not there", c)
		}
		return &node{kind: kindReference, number: number}, nil
	}
	if r.d.escapes {
		if special, used, ok := escaped(c, r.src[r.pos:]); ok {
			r.pos += used
			return literal(special), nil
		}
	}
	return literal(c), nil
}

// escaped is the character that \c, and for some of them what follows, stands for
// in sed.
func escaped(c rune, rest string) (char rune, used int, ok bool) {
	if i := strings.IndexRune("afnrtv", c); i >= 0 {
		return rune("\a\f\n\r\t\v"[i]), 0, true
	}
	base, length := 0, 0
	switch c {
	case 'd':
		base, length = 10, 3
	case 'o':
		base, length = 8, 3
	case 'x':
		base, length = 16, 2
	default:
		return 0, 0, false
	}
	for length > 0 {
		if length <= len(rest) {
			if n, err := strconv.ParseUint(rest[:length], base, 8); err == nil {
				return rune(n), length, true
			}
		}
		length--
	}
	return 0, 0, false
}

// bracket reads what is behind [.
func (r *reader) bracket() (*node, error) {
	s := &set{}
	if strings.HasPrefix(r.src[r.pos:], "^") {
		s.not = true
		r.pos++
	}
	known := classes()
	for first := true; ; first = false {
		rest := r.src[r.pos:]
		switch {
		case rest == "":
			return nil, errors.New("a bracket is not closed")
		case rest[0] == ']' && !first:
			r.pos++
			return &node{kind: kindSet, set: s}, nil
		case strings.HasPrefix(rest, "[:"):
			name, _, ok := strings.Cut(rest[2:], ":]")
			if _, is := known[name]; !ok || !is || name == "word" {
				return nil, fmt.Errorf("no character class %q", name)
			}
			s.classes = append(s.classes, name)
			r.pos += len(name) + 4
			continue
		}
		low, err := r.member()
		if err != nil {
			return nil, err
		}
		high := low
		if rest := r.src[r.pos:]; len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			r.pos++
			if high, err = r.member(); err != nil {
				return nil, err
			}
		}
		if high < low {
			return nil, errors.New("a range that ends before it begins")
		}
		s.ranges = append(s.ranges, [2]rune{low, high})
	}
}

// member is one character of a bracket, plain or as [.c.] or [=c=].
func (r *reader) member() (rune, error) {
	rest := r.src[r.pos:]
	for _, mark := range []string{".", "="} {
		if !strings.HasPrefix(rest, "["+mark) {
			continue
		}
		name, _, ok := strings.Cut(rest[2:], mark+"]")
		if !ok || utf8.RuneCountInString(name) != 1 {
			return 0, fmt.Errorf("no collating element %q", name)
		}
		r.pos += len(name) + 4
		c, _ := utf8.DecodeRuneInString(name)
		return c, nil
	}
	c, size := utf8.DecodeRuneInString(rest)
	r.pos += size
	if c == '\\' && r.d.escapes && len(rest) > 1 {
		if i := strings.IndexByte("afnrtv", rest[1]); i >= 0 {
			r.pos++
			return rune("\a\f\n\r\t\v"[i]), nil
		}
	}
	return c, nil
}

// has says whether the set has a character. With fold, of either case.
func (s *set) has(c rune, fold bool, known map[string]class) bool {
	in := func(c rune) bool {
		for _, r := range s.ranges {
			if c >= r[0] && c <= r[1] {
				return true
			}
		}
		return slices.ContainsFunc(s.classes, func(name string) bool { return known[name].has(c) })
	}
	found := in(c)
	for f := unicode.SimpleFold(c); fold && !found && f != c; f = unicode.SimpleFold(f) {
		found = in(f)
	}
	return found != s.not
}
