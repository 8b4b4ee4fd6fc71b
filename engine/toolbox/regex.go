package toolbox

import (
	"fmt"
	"regexp"
	"strings"
)

// pattern is a regular expression that is ready to match.
type pattern struct {
	fast   *regexp.Regexp
	slow   *trier
	groups int
}

func compile(src string, d dialect) (*pattern, error) {
	n, groups, err := parsePattern(src, d, 0)
	if err != nil {
		return nil, err
	}
	return newPattern(n, groups, d)
}

func newPattern(n *node, groups int, d dialect) (*pattern, error) {
	p := &pattern{groups: groups}
	if !needsTrying(n) {
		var b strings.Builder
		b.WriteString("(?s")
		if d.fold {
			b.WriteString("i")
		}
		if d.lines {
			b.WriteString("m")
		}
		b.WriteString(")")
		n.write(&b)
		re, err := regexp.Compile(b.String())
		if err != nil {
			return nil, fmt.Errorf("a pattern that is too large: %w", err)
		}
		re.Longest()
		p.fast = re
		return p, nil
	}
	p.slow = newTrier(n, groups, d)
	return p, nil
}

// find is the first match in the text, as begin and end of it and of its groups.
func (p *pattern) find(text []byte) ([]int, error) {
	if p.fast != nil {
		return p.fast.FindSubmatchIndex(text), nil
	}
	return p.slow.find(text, 0)
}

func (p *pattern) matches(text []byte) (bool, error) {
	if p.fast != nil {
		return p.fast.Match(text), nil
	}
	m, err := p.slow.find(text, 0)
	return m != nil, err
}

// findAll is all matches that do not overlap; an empty one right behind another
// is none.
func (p *pattern) findAll(text []byte) ([][]int, error) {
	if p.fast != nil {
		return p.fast.FindAllSubmatchIndex(text, -1), nil
	}
	return p.slow.findAll(text)
}

// write is the pattern in the words of package regexp.
func (n *node) write(b *strings.Builder) {
	switch n.kind {
	case kindLiteral:
		b.WriteString(regexp.QuoteMeta(string(n.char)))
	case kindAny:
		b.WriteString(".")
	case kindSet:
		n.set.write(b)
	case kindGroup:
		b.WriteString("(")
		if n.number == 0 {
			b.WriteString("?:")
		}
		n.sub[0].write(b)
		b.WriteString(")")
	case kindCat:
		for _, s := range n.sub {
			s.write(b)
		}
	case kindAlt:
		b.WriteString("(?:")
		for i, s := range n.sub {
			if i > 0 {
				b.WriteString("|")
			}
			s.write(b)
		}
		b.WriteString(")")
	case kindRepeat:
		b.WriteString("(?:")
		n.sub[0].write(b)
		b.WriteString(")" + n.times())
	case kindBegin:
		b.WriteString("^")
	case kindEnd:
		b.WriteString("$")
	case kindTextBegin:
		b.WriteString(`\A`)
	case kindTextEnd:
		b.WriteString(`\z`)
	case kindEdge, kindWordOn, kindWordOff:
		b.WriteString(`\b`)
	case kindNoEdge:
		b.WriteString(`\B`)
	}
}

func (n *node) times() string {
	switch {
	case n.min == 0 && n.max < 0:
		return "*"
	case n.min == 1 && n.max < 0:
		return "+"
	case n.min == 0 && n.max == 1:
		return "?"
	case n.max < 0:
		return fmt.Sprintf("{%d,}", n.min)
	}
	return fmt.Sprintf("{%d,%d}", n.min, n.max)
}

func (s *set) write(b *strings.Builder) {
	b.WriteString("[")
	if s.not {
		b.WriteString("^")
	}
	for _, r := range s.ranges {
		fmt.Fprintf(b, `\x{%x}-\x{%x}`, r[0], r[1])
	}
	known := classes()
	for _, name := range s.classes {
		b.WriteString(known[name].text)
	}
	b.WriteString("]")
}

// needsTrying says whether package regexp cannot match the pattern: it has a
// reference, or a beginning or end of a word where the neighbour does not make
// plain on which side the word is. (Where it does, any edge of a word will do.)
func needsTrying(n *node) bool {
	switch n.kind {
	case kindReference, kindWordOn, kindWordOff:
		return true
	}
	for i, s := range n.sub {
		on := n.kind == kindCat && s.kind == kindWordOn && i+1 < len(n.sub) && n.sub[i+1].isWord(true)
		off := n.kind == kindCat && s.kind == kindWordOff && i > 0 && n.sub[i-1].isWord(false)
		if !on && !off && needsTrying(s) {
			return true
		}
	}
	return false
}

// isWord says whether all that a node can match begins (else: ends) with a
// character of a word.
func (n *node) isWord(begins bool) bool {
	switch n.kind {
	case kindLiteral:
		return isWord(n.char)
	case kindSet:
		return n.set.isWord()
	case kindGroup:
		return n.sub[0].isWord(begins)
	case kindRepeat:
		return n.min > 0 && n.sub[0].isWord(begins)
	case kindAlt:
		for _, s := range n.sub {
			if !s.isWord(begins) {
				return false
			}
		}
		return true
	case kindCat:
		switch {
		case len(n.sub) == 0:
			return false
		case begins:
			return n.sub[0].isWord(begins)
		}
		return n.sub[len(n.sub)-1].isWord(begins)
	}
	return false
}

func (s *set) isWord() bool {
	if s.not {
		return false
	}
	for _, name := range s.classes {
		if name != "word" && name != "digit" && name != "xdigit" {
			return false
		}
	}
	for _, r := range s.ranges {
		for c := r[0]; c <= r[1]; c++ {
			if !isWord(c) {
				return false
			}
		}
	}
	return true
}

// compileGlob compiles what became of a shell pattern.
func compileGlob(expression string, fold bool) (*regexp.Regexp, error) {
	if fold {
		expression = "(?i)" + expression
	}
	return regexp.Compile(expression)
}
