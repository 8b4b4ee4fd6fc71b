package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func sedTool() tool {
	return tool{
		run:   sed,
		usage: "[-nErsuz] [-i[suffix]] [-l n] [-e script]… [-f file]… [script] [file]…",
		lacks: "the commands e, L and v, the flag e of s, \\c in patterns, and --follow-symlinks; \\w, \\b, \\< and \\> know ASCII letters alone; intervals above 1000; -i gives the file a new inode, as GNU's does",
	}
}

// editor is a sed that runs.
type editor struct {
	c        *Call
	commands []*command
	quiet    bool
	separate bool // -s, -i: each file has its own last line
	inPlace  bool
	suffix   string
	end      byte
	width    int

	files []string
	name  string // of the file being read
	in    *lines
	input io.Closer
	ahead ahead // the line behind the one being edited

	line      int
	space     []byte
	ended     bool // the line had its end
	hold      []byte
	replaced  bool // for t
	after     []queued
	last      *pattern
	out       *bufio.Writer
	target    *os.File
	writers   map[string]*bufio.Writer
	opened    []*os.File
	readers   map[string]*lines
	unended   bool // the last line written had no end; what follows needs one first
	undecided bool
}

type ahead struct {
	line  []byte
	ended bool
	ok    bool
}

// queued is what a and r print at the end of the cycle.
type queued struct {
	text string
	file string
	line bool // R: one line
}

func sed(ctx context.Context, c *Call) error {
	o, err := c.options("n,quiet,silent E,regexp-extended,r i,in-place? s,separate e,expression: f,file: u,unbuffered z,null-data l,line-length: posix sandbox")
	if err != nil {
		return err
	}
	if o.has("sandbox") {
		return usageError("--sandbox is not supported")
	}
	script, err := sedScript(c, o)
	if err != nil {
		return err
	}
	p, err := parseSed(script, dialect{extended: o.has("E")})
	if err != nil {
		return err
	}
	e := &editor{
		c: c, commands: p.commands, quiet: o.has("n") || p.quiet, inPlace: o.has("i"), suffix: o.value("i", ""), separate: o.has("s") || o.has("i"),
		end: '\n', width: 70, files: o.operands, writers: map[string]*bufio.Writer{}, readers: map[string]*lines{}, out: c.out(),
	}
	if o.has("z") {
		e.end = 0
	}
	if o.has("l") {
		if e.width, err = strconv.Atoi(o.value("l", "")); err != nil {
			return usageError("invalid line length")
		}
	}
	if len(e.files) == 0 {
		e.files = []string{"-"}
	}
	if err := e.prepare(); err != nil {
		return errors.Join(err, e.close())
	}
	err = e.run(ctx)
	return errors.Join(err, e.close())
}

func sedScript(c *Call, o *options) (string, error) {
	var scripts []string
	for _, g := range o.given {
		switch g.name {
		case "e":
			scripts = append(scripts, g.value)
		case "f":
			r, err := c.open(g.value)
			if err != nil {
				return "", err
			}
			data, err := io.ReadAll(r)
			r.Close() // was only read
			if err != nil {
				return "", err
			}
			scripts = append(scripts, strings.TrimSuffix(string(data), "\n"))
		}
	}
	if scripts == nil {
		if len(o.operands) == 0 {
			return "", usageError("needs a script")
		}
		scripts, o.operands = o.operands[:1], o.operands[1:]
	}
	return strings.Join(scripts, "\n"), nil
}

// prepare opens the files of w, which are there from the start.
func (e *editor) prepare() error {
	for _, c := range e.commands {
		name := c.file
		if c.name == 'w' || c.name == 'W' {
			name = c.text
		}
		if name == "" || e.writers[name] != nil {
			continue
		}
		switch name {
		case "/dev/stdout":
			e.writers[name] = e.out
			continue
		case "/dev/stderr":
			e.writers[name] = bufio.NewWriterSize(e.c.Stderr, 0)
			continue
		}
		f, err := e.c.create(name, os.O_TRUNC)
		if err != nil {
			return err
		}
		e.opened = append(e.opened, f)
		e.writers[name] = bufio.NewWriter(f)
	}
	return nil
}

func (e *editor) close() error {
	var errs []error
	for _, w := range e.writers {
		errs = append(errs, w.Flush())
	}
	for _, f := range e.opened {
		errs = append(errs, f.Close())
	}
	if e.target != nil { // an edit that was broken off leaves the file as it was
		errs = append(errs, e.target.Close(), os.Remove(e.target.Name()))
		e.target = nil
	}
	return errors.Join(errs...)
}

// errQuit ends the script with a status.
type errQuit struct{ status int }

func (errQuit) Error() string { return "quit" }

func (e *editor) run(ctx context.Context) error {
	for {
		ok, err := e.read()
		if err != nil || !ok {
			return errors.Join(err, e.finish())
		}
		restart := true
		for restart {
			restart, err = e.cycle(ctx)
			var quit errQuit
			if errors.As(err, &quit) {
				return e.quit(quit.status)
			}
			if err != nil {
				return err
			}
		}
	}
}

// quit writes the rest of a file that is edited in place, which is not lost.
func (e *editor) quit(status int) error {
	if e.inPlace && e.target != nil {
		for e.ahead.ok {
			if err := e.write(e.out, e.ahead.line, e.ahead.ended); err != nil {
				return err
			}
			e.fetch()
		}
	}
	if err := e.finish(); err != nil {
		return err
	}
	if status != 0 {
		return exit(status)
	}
	return nil
}

// fetch reads the line ahead from the present file.
func (e *editor) fetch() {
	e.ahead = ahead{}
	if e.in == nil {
		return
	}
	line, ended, err := e.in.next()
	if err != nil {
		if err != io.EOF {
			e.warned(e.c.named(e.name, err))
		}
		e.input.Close() // was only read
		e.in = nil
		return
	}
	e.ahead = ahead{bytes.Clone(line), ended, true}
}

func (e *editor) warned(err error) {
	e.c.say(err)
	e.c.status = 2
}

// advance makes the next line the one ahead, from the next file where one ended.
func (e *editor) advance() error {
	e.fetch()
	for !e.ahead.ok && len(e.files) > 0 {
		if err := e.finish(); err != nil {
			return err
		}
		if err := e.open(); err != nil {
			return err
		}
		e.fetch()
	}
	return nil
}

func (e *editor) open() error {
	e.name = e.files[0]
	e.files = e.files[1:]
	if e.separate {
		e.line = 0
	}
	r, err := e.c.open(e.name)
	if err != nil {
		e.warned(err)
		return nil
	}
	e.in, e.input = newLines(r, e.end), r
	if !e.inPlace || e.name == "-" {
		return nil
	}
	return e.openTarget()
}

func (e *editor) openTarget() error {
	path := e.c.path(e.name)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", e.name)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".sed*")
	if err != nil {
		return fmt.Errorf("editing %s in place: %w", e.name, err)
	}
	e.target = f
	e.out = bufio.NewWriterSize(f, bufferSize)
	e.unended = false
	return errors.Join(f.Chmod(info.Mode()), chownLike(f, info))
}

// finish puts an edited file in its place.
func (e *editor) finish() error {
	if e.target == nil {
		return nil
	}
	f, path := e.target, e.c.path(e.name)
	e.target = nil
	err := errors.Join(e.out.Flush(), f.Close())
	e.out, e.unended = e.c.out(), false
	if err == nil && e.suffix != "" {
		backup := path + e.suffix
		if strings.Contains(e.suffix, "*") {
			backup = filepath.Join(filepath.Dir(path), strings.ReplaceAll(e.suffix, "*", filepath.Base(path)))
		}
		err = os.Rename(path, backup)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("editing %s in place: %w", e.name, err), os.Remove(f.Name()))
	}
	return err
}

// read takes the next line into the pattern space; false at the end.
func (e *editor) read() (bool, error) {
	if !e.undecided {
		if err := e.advance(); err != nil {
			return false, err
		}
	}
	e.undecided = false
	if !e.ahead.ok {
		return false, nil
	}
	e.space, e.ended = append(e.space[:0], e.ahead.line...), e.ahead.ended
	e.line++
	return true, e.look()
}

// look reads the line ahead, within the file when files are separate: then the
// next file is opened only when it is wanted.
func (e *editor) look() error {
	e.fetch()
	if e.ahead.ok {
		e.undecided = true
		return nil
	}
	if e.separate {
		return nil
	}
	for !e.ahead.ok && len(e.files) > 0 {
		if err := e.open(); err != nil {
			return err
		}
		e.fetch()
	}
	e.undecided = e.ahead.ok
	return nil
}

func (e *editor) isLast() bool { return !e.ahead.ok }

// more says whether n and N have another line.
func (e *editor) more() bool { return e.ahead.ok || len(e.files) > 0 }

func (e *editor) write(w *bufio.Writer, line []byte, ended bool) error {
	if w == e.out && e.unended {
		e.unended = false
		if err := w.WriteByte(e.end); err != nil {
			return err
		}
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	if !ended {
		e.unended = w == e.out
		return nil
	}
	return w.WriteByte(e.end)
}

// endCycle prints the pattern space and what a and r left.
func (e *editor) endCycle() error {
	if !e.quiet {
		if err := e.write(e.out, e.space, e.ended); err != nil {
			return err
		}
	}
	return e.dump()
}

func (e *editor) dump() error {
	for _, q := range e.after {
		if err := e.append(q); err != nil {
			return err
		}
	}
	e.after = e.after[:0]
	return nil
}

func (e *editor) append(q queued) error {
	if q.file == "" {
		return e.write(e.out, []byte(strings.TrimSuffix(q.text, "\n")), true)
	}
	if q.line {
		return e.appendLine(q.file)
	}
	r, err := e.c.open(q.file)
	if err != nil {
		return nil // a file that cannot be read is an empty one, says POSIX
	}
	defer r.Close() // was only read
	data, err := io.ReadAll(r)
	if err != nil || len(data) == 0 {
		return nil
	}
	if e.unended {
		e.unended = false
		e.out.WriteByte(e.end) // an error comes back from the next write
	}
	_, err = e.out.Write(data)
	return err
}

func (e *editor) appendLine(name string) error {
	l, ok := e.readers[name]
	if !ok {
		r, err := e.c.open(name)
		if err != nil {
			return nil // as for r
		}
		if f, is := r.(*os.File); is {
			e.opened = append(e.opened, f)
		}
		l = newLines(r, e.end)
		e.readers[name] = l
	}
	line, _, err := l.next()
	if err != nil {
		return nil // as for r
	}
	return e.write(e.out, line, true)
}

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
