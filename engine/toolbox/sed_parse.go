package toolbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// address chooses lines.
type address struct {
	line  int // 0 for none; first~step has its step in step
	step  int
	last  bool
	match *matcher
	plus  int  // +N: so many lines after the first address
	every int  // ~N: up to the next line that is a multiple
	zero  bool // 0,/re/
}

// matcher is a pattern, or the last one used when it was empty.
type matcher struct{ *pattern }

// command is one command of a script.
type command struct {
	from, to *address
	not      bool
	name     byte
	text     string // of a, i, c; the label of b, t, T and :; the file of r, w, R, W
	number   int    // of q, Q and l
	find     *matcher
	with     []part
	all      bool // s///g
	nth      int
	print    int
	file     string
	table    map[rune]rune // of y
	jump     int           // where b, t, T and a block that is not entered go on

	active bool // a range has begun
	until  int  // the line it ends with, 0 for by pattern
}

// part is a piece of a replacement: text, a group, or a change of case.
type part struct {
	text  string
	group int // -1 for text
	fold  byte
}

type sedParser struct {
	src      string
	pos      int
	d        dialect
	commands []*command
	labels   map[string]int
	blocks   []int
	quiet    bool // the script began with #n
}

func parseSed(src string, d dialect) (*sedParser, error) {
	d.escapes = true
	p := &sedParser{src: src, d: d, labels: map[string]int{}}
	if strings.HasPrefix(src, "#n\n") || src == "#n" {
		p.quiet = true
	}
	for {
		p.skip(" \t\n;")
		if p.pos >= len(p.src) {
			break
		}
		if err := p.command(); err != nil {
			return nil, fmt.Errorf("script, character %d: %w", p.pos, err)
		}
	}
	if len(p.blocks) > 0 {
		return nil, errors.New("script: a { is not closed")
	}
	return p, p.resolve()
}

func (p *sedParser) resolve() error {
	for _, c := range p.commands {
		if c.name != 'b' && c.name != 't' && c.name != 'T' {
			continue
		}
		if c.text == "" {
			c.jump = len(p.commands)
			continue
		}
		to, ok := p.labels[c.text]
		if !ok {
			return fmt.Errorf("script: no label %q", c.text)
		}
		c.jump = to
	}
	return nil
}

func (p *sedParser) skip(chars string) {
	for p.pos < len(p.src) && strings.IndexByte(chars, p.src[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *sedParser) at(c byte) bool {
	if p.pos < len(p.src) && p.src[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *sedParser) command() error {
	c := &command{}
	var err error
	if c.from, err = p.address(false); err != nil {
		return err
	}
	if c.from != nil {
		p.skip(" \t")
		if p.at(',') {
			p.skip(" \t")
			if c.to, err = p.address(true); err != nil {
				return err
			}
			if c.to == nil {
				return errors.New("an address is missing behind the comma")
			}
		}
		if c.from.zero && (c.to == nil || c.to.match == nil) {
			return errors.New("address 0 goes only with a pattern as the second address")
		}
	}
	p.skip(" \t")
	for p.at('!') {
		c.not = true
		p.skip(" \t")
	}
	if p.pos >= len(p.src) {
		return errors.New("a command is missing")
	}
	c.name = p.src[p.pos]
	p.pos++
	return p.rest(c)
}

// address is a line, $, /pattern/ or \cpatternc, or nil for none.
func (p *sedParser) address(second bool) (*address, error) {
	if p.pos >= len(p.src) {
		return nil, nil
	}
	a := &address{}
	switch b := p.src[p.pos]; {
	case b >= '0' && b <= '9':
		a.line = p.number()
		if a.zero = a.line == 0 && !second; p.at('~') {
			a.zero, a.step = false, p.number()
			if a.step == 0 && a.line == 0 {
				return nil, errors.New("invalid address 0~0")
			}
		} else if second && a.line == 0 {
			a.line = 1 // ends with the line it began with
		}
		return a, nil
	case b == '$':
		p.pos++
		a.last = true
		return a, nil
	case second && (b == '+' || b == '~'):
		p.pos++
		n := p.number()
		if b == '+' {
			a.plus = n
			a.line = -1
		} else {
			a.every, a.line = n, -1
		}
		return a, nil
	case b == '/' || b == '\\':
		p.pos++
		if b == '\\' {
			if p.pos >= len(p.src) {
				return nil, errors.New("an address ends early")
			}
			b = p.src[p.pos]
			p.pos++
		}
		text, err := p.until(b, true)
		if err != nil {
			return nil, err
		}
		d := p.d
		for p.pos < len(p.src) && (p.src[p.pos] == 'I' || p.src[p.pos] == 'M') {
			d.fold, d.lines = d.fold || p.src[p.pos] == 'I', d.lines || p.src[p.pos] == 'M'
			p.pos++
		}
		a.match, err = newMatcher(text, d)
		return a, err
	}
	return nil, nil
}

func newMatcher(text string, d dialect) (*matcher, error) {
	if text == "" {
		return &matcher{}, nil
	}
	re, err := compile(text, d)
	return &matcher{re}, err
}

func (p *sedParser) number() int {
	start := p.pos
	for p.pos < len(p.src) && isDigit(rune(p.src[p.pos])) {
		p.pos++
	}
	// Too large a number is a line that no input has.
	n, err := strconv.Atoi(p.src[start:p.pos])
	if err != nil && p.pos > start {
		return 1 << 62
	}
	return n
}

// until reads up to the delimiter. In a pattern a bracket hides it, and an escaped
// delimiter is itself.
func (p *sedParser) until(end byte, pattern bool) (string, error) {
	if end == '\n' || end == '\\' {
		return "", errors.New("a newline or backslash cannot delimit")
	}
	var b strings.Builder
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == end:
			return b.String(), nil
		case c == '\\' && p.pos < len(p.src):
			e := p.src[p.pos]
			p.pos++
			switch {
			case e == end && pattern && strings.IndexByte("*.[]^$+?(){}|", e) >= 0:
				// In front of what is special without it the backslash goes, and so
				// does the meaning: s|a\|b|x| finds "a|b".
				b.WriteString(literalIn(e, p.d.extended))
			case e == end && (pattern || e != '&' && !isDigit(rune(e))):
				b.WriteByte(e)
			case e == '\n' && pattern:
				b.WriteString(`\n`)
			default:
				b.WriteByte('\\')
				b.WriteByte(e)
			}
			continue
		case c == '[' && pattern:
			p.pos--
			b.WriteString(p.brackets())
			continue
		case c == '\n' && pattern:
			return "", errors.New("a pattern ends with the line")
		}
		b.WriteByte(c)
	}
	return "", fmt.Errorf("%q is missing", string(end))
}

// literalIn is a special character as one that stands for itself.
func literalIn(c byte, extended bool) string {
	if extended || strings.IndexByte("*.[]^$", c) >= 0 {
		return "[" + string(c) + "]"
	}
	return string(c)
}

// brackets takes a bracket expression whole, or only its first character when it
// is not closed.
func (p *sedParser) brackets() string {
	rest := p.src[p.pos:]
	i := 1
	if strings.HasPrefix(rest[i:], "^") {
		i++
	}
	if strings.HasPrefix(rest[i:], "]") {
		i++
	}
	for i < len(rest) && rest[i] != ']' && rest[i] != '\n' {
		if rest[i] == '[' && i+1 < len(rest) && strings.IndexByte(":.=", rest[i+1]) >= 0 {
			if end := strings.Index(rest[i+2:], rest[i+1:i+2]+"]"); end >= 0 {
				i += end + 4
				continue
			}
		}
		i++
	}
	if i < len(rest) && rest[i] == ']' {
		p.pos += i + 1
		return rest[:i+1]
	}
	p.pos++
	return "["
}

// rest reads what follows the command's letter.
func (p *sedParser) rest(c *command) error {
	switch c.name {
	case '#':
		if c.from != nil {
			return errors.New("a comment takes no address")
		}
		p.word()
		return nil
	case '{':
		p.blocks = append(p.blocks, len(p.commands))
		p.commands = append(p.commands, c)
		return nil
	case '}':
		if len(p.blocks) == 0 || c.from != nil {
			return errors.New("an unexpected }")
		}
		p.commands[p.blocks[len(p.blocks)-1]].jump = len(p.commands)
		p.blocks = p.blocks[:len(p.blocks)-1]
		return p.end()
	case ':':
		p.skip(" \t")
		label := p.label()
		if c.from != nil || label == "" {
			return errors.New("a label has a name and no address")
		}
		p.labels[label] = len(p.commands)
		return nil
	}
	p.commands = append(p.commands, c)
	return p.arguments(c)
}

func (p *sedParser) arguments(c *command) (err error) {
	switch c.name {
	case '=', 'd', 'D', 'g', 'G', 'h', 'H', 'n', 'N', 'p', 'P', 'x', 'z', 'F':
		return p.end()
	case 'a', 'i', 'c':
		c.text, err = p.text()
		return err
	case 'b', 't', 'T':
		p.skip(" \t")
		c.text = p.label()
		return p.end()
	case 'r', 'w', 'R', 'W':
		p.skip(" \t")
		if c.text = p.word(); c.text == "" {
			return fmt.Errorf("%c needs a file", c.name)
		}
		return nil
	case 'q', 'Q', 'l', 'L':
		p.skip(" \t")
		if c.name == 'L' {
			return errors.New("the command L is not supported")
		}
		c.number = -1
		if p.pos < len(p.src) && isDigit(rune(p.src[p.pos])) {
			c.number = p.number()
		}
		return p.end()
	case 's':
		return p.substitute(c)
	case 'y':
		return p.transliterate(c)
	case 'e', 'v':
		return fmt.Errorf("the command %c is not supported", c.name)
	}
	return fmt.Errorf("unknown command %q", string(c.name))
}

// end is what may stand behind a command.
func (p *sedParser) end() error {
	p.skip(" \t")
	if p.pos >= len(p.src) || p.at('\n') || p.at(';') {
		return nil
	}
	if c := p.src[p.pos]; c == '}' || c == '#' {
		return nil
	}
	return errors.New("something behind the command")
}

// word is the rest of the line.
func (p *sedParser) word() string {
	line, _, _ := strings.Cut(p.src[p.pos:], "\n")
	p.pos += len(line)
	return line
}

func (p *sedParser) label() string {
	start := p.pos
	for p.pos < len(p.src) && strings.IndexByte(" \t\n;}", p.src[p.pos]) < 0 {
		p.pos++
	}
	return p.src[start:p.pos]
}

// text is that of a, i and c: behind a backslash and a newline, or on the same
// line; a newline behind a backslash belongs to it.
func (p *sedParser) text() (string, error) {
	p.skip(" \t")
	if p.pos >= len(p.src) {
		return "", errors.New("a, i and c need text")
	}
	if p.at('\\') {
		// Blanks behind the backslash count, unless the text begins on the next line.
		if rest := strings.TrimLeft(p.src[p.pos:], " \t"); rest == "" {
			return "", errors.New("a, i and c need text")
		} else if rest[0] == '\n' {
			p.pos = len(p.src) - len(rest) + 1
		}
	}
	var b strings.Builder
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		if c == '\n' {
			break
		}
		if c == '\\' && p.pos < len(p.src) {
			c = p.src[p.pos]
			p.pos++
			if special, used, ok := escaped(rune(c), p.src[p.pos:]); ok {
				p.pos += used
				b.WriteRune(special)
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String() + "\n", nil
}

func (p *sedParser) substitute(c *command) error {
	if p.pos >= len(p.src) {
		return errors.New("s is not finished")
	}
	mark := p.src[p.pos]
	p.pos++
	find, err := p.until(mark, true)
	if err != nil {
		return err
	}
	with, err := p.until(mark, false)
	if err != nil {
		return err
	}
	d := p.d
	if err := p.flags(c, &d); err != nil {
		return err
	}
	if c.find, err = newMatcher(find, d); err != nil {
		return err
	}
	if c.with, err = replacement(with); err != nil {
		return err
	}
	for _, w := range c.with {
		if c.find.pattern != nil && w.group > c.find.groups {
			return fmt.Errorf("a reference to group %d, which the pattern does not have", w.group)
		}
	}
	return nil
}

func (p *sedParser) flags(c *command, d *dialect) error {
	for p.pos < len(p.src) {
		switch f := p.src[p.pos]; {
		case f == 'g':
			c.all = true
		case f == 'p':
			c.print++
		case f == 'i' || f == 'I':
			d.fold = true
		case f == 'm' || f == 'M':
			d.lines = true
		case f >= '1' && f <= '9':
			c.nth = p.number()
			continue
		case f == 'w':
			p.pos++
			p.skip(" \t")
			if c.file = p.word(); c.file == "" {
				return errors.New("w needs a file")
			}
			return nil
		case f == 'e':
			return errors.New("the flag e of s is not supported")
		default:
			return p.end()
		}
		p.pos++
	}
	return nil
}

// replacement takes the right side of s apart.
func replacement(text string) (parts []part, _ error) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			parts = append(parts, part{text: b.String(), group: -1})
			b.Reset()
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '&' {
			flush()
			parts = append(parts, part{group: 0})
			continue
		}
		if c != '\\' || i+1 >= len(text) {
			b.WriteByte(c)
			continue
		}
		i++
		switch c = text[i]; {
		case isDigit(rune(c)):
			flush()
			parts = append(parts, part{group: int(c - '0')})
		case strings.IndexByte("LUluE", c) >= 0:
			flush()
			parts = append(parts, part{group: -1, fold: c})
		default:
			if special, used, ok := escaped(rune(c), text[i+1:]); ok {
				b.WriteRune(special)
				i += used
				continue
			}
			b.WriteByte(c)
		}
	}
	flush()
	return parts, nil
}

func (p *sedParser) transliterate(c *command) error {
	if p.pos >= len(p.src) {
		return errors.New("y is not finished")
	}
	mark := p.src[p.pos]
	p.pos++
	var sides [2][]rune
	for i := range sides {
		text, err := p.until(mark, false)
		if err != nil {
			return err
		}
		for len(text) > 0 {
			r, size := utf8.DecodeRuneInString(text)
			text = text[size:]
			if r == '\\' && text != "" {
				next, size := utf8.DecodeRuneInString(text)
				switch special, used, ok := escaped(next, text[size:]); {
				case ok:
					r, text = special, text[size+used:]
				case next == '\\':
					text = text[size:]
				}
			}
			sides[i] = append(sides[i], r)
		}
	}
	if len(sides[0]) != len(sides[1]) {
		return errors.New("the two sides of y are of different length")
	}
	c.table = map[rune]rune{}
	for i, r := range sides[0] {
		if _, ok := c.table[r]; !ok {
			c.table[r] = sides[1][i]
		}
	}
	return p.end()
}
