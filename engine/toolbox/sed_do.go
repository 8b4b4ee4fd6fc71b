package toolbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func (e *editor) matches(m *matcher) (bool, error) {
	p, err := e.pattern(m)
	if err != nil {
		return false, err
	}
	return p.matches(e.space)
}

// pattern is that of m; an empty one is the last one used.
func (e *editor) pattern(m *matcher) (*pattern, error) {
	if m.pattern != nil {
		e.last = m.pattern
	}
	if e.last == nil {
		return nil, errors.New("an empty pattern, and none was used before")
	}
	return e.last, nil
}

func (e *editor) selects(a *address) (bool, error) {
	switch {
	case a.last:
		return e.isLast(), nil
	case a.match != nil:
		return e.matches(a.match)
	case a.step > 0:
		return e.line >= a.line && (e.line-a.line)%a.step == 0, nil
	}
	return e.line == a.line, nil
}

// chosen says whether the command is for this line.
func (e *editor) chosen(c *command) (bool, error) {
	if c.from == nil {
		return true, nil
	}
	if c.to == nil {
		return e.selects(c.from)
	}
	if c.active {
		return e.inRange(c)
	}
	if c.from.zero {
		if e.line != 1 || c.until < 0 {
			return false, nil
		}
		c.until = -1 // once
		c.active = true
		return e.inRange(c)
	}
	ok, err := e.selects(c.from)
	if err != nil || !ok {
		return false, err
	}
	switch to := c.to; {
	case to.match != nil:
		c.active = true
	case to.last:
		c.active = !e.isLast()
	case to.every > 0:
		c.until = (e.line + to.every - 1) / to.every * to.every
		c.active = c.until > e.line
	case to.line == -1:
		c.until = e.line + to.plus
		c.active = c.until > e.line
	default:
		c.until = to.line
		c.active = c.until > e.line
	}
	return true, nil
}

func (e *editor) inRange(c *command) (bool, error) {
	to := c.to
	switch {
	case to.match != nil:
		found, err := e.matches(to.match)
		c.active = !found
		return true, err
	case to.last:
		c.active = !e.isLast()
		return true, nil
	}
	c.active = e.line < c.until
	if e.line > c.until {
		// The end was jumped over: the range is done, and may begin again here.
		return e.chosenAnew(c)
	}
	return true, nil
}

func (e *editor) chosenAnew(c *command) (bool, error) {
	c.active = false
	if c.from.line > 0 && c.from.step == 0 {
		return false, nil
	}
	return e.chosen(c)
}

// cycle runs the script once over the pattern space. restart is D's: again,
// without reading.
func (e *editor) cycle(ctx context.Context) (restart bool, _ error) {
	for i := 0; i < len(e.commands); {
		// A script can jump for ever.
		if err := ctx.Err(); err != nil {
			return false, err
		}
		c := e.commands[i]
		i++
		ok, err := e.chosen(c)
		if err != nil {
			return false, err
		}
		if ok == c.not {
			if c.name == '{' {
				i = c.jump
			}
			continue
		}
		switch c.name {
		case 'b':
			i = c.jump
			continue
		case 't', 'T':
			if e.replaced == (c.name == 't') {
				i = c.jump
			}
			e.replaced = false
			continue
		case 'd':
			return false, e.dump()
		case 'D':
			_, rest, ok := bytes.Cut(e.space, []byte{'\n'})
			if !ok {
				return false, e.dump()
			}
			e.space = append(e.space[:0], rest...)
			return true, e.dump()
		case 'c':
			if err := e.change(c); err != nil {
				return false, err
			}
			return false, e.dump()
		}
		if err := e.do(c); err != nil {
			return false, err
		}
	}
	e.replaced = false
	return false, e.endCycle()
}

// change prints its text once for a range, at its end.
func (e *editor) change(c *command) error {
	if c.to != nil && !c.not && c.active {
		return nil
	}
	return e.write(e.out, []byte(strings.TrimSuffix(c.text, "\n")), true)
}

func (e *editor) do(c *command) error {
	switch c.name {
	case '{':
	case '=':
		return e.write(e.out, strconv.AppendInt(nil, int64(e.line), 10), true)
	case 'F':
		return e.write(e.out, []byte(e.name), true)
	case 'a':
		e.after = append(e.after, queued{text: c.text})
	case 'i':
		return e.write(e.out, []byte(strings.TrimSuffix(c.text, "\n")), true)
	case 'g':
		e.space = append(e.space[:0], e.hold...)
	case 'G':
		e.space = append(append(e.space, '\n'), e.hold...)
	case 'h':
		e.hold = append(e.hold[:0], e.space...)
	case 'H':
		e.hold = append(append(e.hold, '\n'), e.space...)
	case 'x':
		e.space, e.hold = e.hold, e.space
	case 'z':
		e.space = e.space[:0]
	case 'l':
		return e.list(c.number)
	case 'n', 'N':
		return e.following(c.name == 'N')
	case 'p':
		return e.write(e.out, e.space, e.ended)
	case 'P':
		line, _, cut := bytes.Cut(e.space, []byte{'\n'})
		return e.write(e.out, line, cut || e.ended)
	case 'q', 'Q':
		if c.name == 'q' {
			if err := e.endCycle(); err != nil {
				return err
			}
		}
		return errQuit{max(c.number, 0)}
	case 'r', 'R':
		e.after = append(e.after, queued{file: c.text, line: c.name == 'R'})
	case 's':
		return e.substitute(c)
	case 'w':
		return e.write(e.writers[c.text], e.space, true)
	case 'W':
		line, _, _ := bytes.Cut(e.space, []byte{'\n'})
		return e.write(e.writers[c.text], line, true)
	case 'y':
		e.space = c.translate(e.space)
	}
	return nil
}

// following is n and N.
func (e *editor) following(add bool) error {
	if !e.more() {
		// GNU's prints the pattern space at the end of input, for N too.
		if err := e.endCycle(); err != nil {
			return err
		}
		return errQuit{}
	}
	before := bytes.Clone(e.space)
	if !add && !e.quiet {
		if err := e.write(e.out, e.space, e.ended); err != nil {
			return err
		}
	}
	if err := e.dump(); err != nil {
		return err
	}
	ok, err := e.read()
	if err != nil {
		return err
	}
	if !ok {
		return errQuit{}
	}
	if add {
		e.space = append(append(before, '\n'), e.space...)
	}
	return nil
}

func (e *editor) substitute(c *command) error {
	p, err := e.pattern(c.find)
	if err != nil {
		return err
	}
	all, err := e.found(p, c)
	if err != nil || len(all) == 0 {
		return err
	}
	out := make([]byte, 0, 2*len(e.space))
	end := 0
	for _, m := range all {
		out = append(out, e.space[end:m[0]]...)
		out = c.expand(out, e.space, m)
		end = m[1]
	}
	e.space = append(out, e.space[end:]...)
	e.replaced = true
	for range c.print {
		if err := e.write(e.out, e.space, e.ended); err != nil {
			return err
		}
	}
	if c.file != "" {
		return e.write(e.writers[c.file], e.space, true)
	}
	return nil
}

func (e *editor) found(p *pattern, c *command) ([][]int, error) {
	if !c.all && c.nth <= 1 {
		m, err := p.find(e.space)
		if m == nil || err != nil {
			return nil, err
		}
		return [][]int{m}, nil
	}
	all, err := p.findAll(e.space)
	if err != nil {
		return nil, err
	}
	all = all[min(max(c.nth-1, 0), len(all)):]
	if !c.all && len(all) > 1 {
		all = all[:1]
	}
	return all, nil
}

// expand appends the replacement of a match.
func (c *command) expand(out, space []byte, m []int) []byte {
	var mode, once byte
	for _, w := range c.with {
		if w.fold != 0 {
			switch w.fold {
			case 'l', 'u':
				once = w.fold
			case 'E':
				mode, once = 0, 0
			default:
				mode, once = w.fold, 0
			}
			continue
		}
		text := []byte(w.text)
		if w.group >= 0 {
			text = nil
			if 2*w.group+1 < len(m) && m[2*w.group] >= 0 {
				text = space[m[2*w.group]:m[2*w.group+1]]
			}
		}
		if mode == 0 && once == 0 {
			out = append(out, text...)
			continue
		}
		if len(text) == 0 {
			continue
		}
		switch mode {
		case 'L':
			text = bytes.ToLower(text)
		case 'U':
			text = bytes.ToUpper(text)
		}
		if once != 0 {
			r, size := utf8.DecodeRune(text)
			to := unicode.ToUpper(r)
			if once == 'l' {
				to = unicode.ToLower(r)
			}
			out, text, once = utf8.AppendRune(out, to), text[size:], 0
		}
		out = append(out, text...)
	}
	return out
}

// list prints the pattern space in a form that shows all.
func (e *editor) list(width int) error {
	if width < 0 {
		width = e.width
	}
	var out []byte
	column := 0
	add := func(s string) {
		if width > 1 && column+len(s) > width-1 {
			out = append(out, "\\\n"...)
			column = 0
		}
		out, column = append(out, s...), column+len(s)
	}
	for _, b := range e.space {
		switch i := strings.IndexByte("\\\a\b\f\n\r\t\v", b); {
		case i >= 0:
			add(`\` + string(`\abfnrtv`[i]))
		case b < ' ' || b >= 0x7f:
			add(fmt.Sprintf(`\%03o`, b))
		default:
			add(string(b))
		}
	}
	return e.write(e.out, append(out, '$'), true)
}

// translate is y. What is no character stays as it is.
func (c *command) translate(space []byte) []byte {
	out := make([]byte, 0, len(space))
	for len(space) > 0 {
		r, size := utf8.DecodeRune(space)
		if to, ok := c.table[r]; ok && (r != utf8.RuneError || size > 1) {
			out = utf8.AppendRune(out, to)
		} else {
			out = append(out, space[:size]...)
		}
		space = space[size:]
	}
	return out
}
