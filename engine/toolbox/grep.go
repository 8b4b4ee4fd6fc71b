package toolbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func grepTool() tool {
	return tool{
		run: grep, fail: 2,
		usage: "[-EFG] [-bcHhiLlnoqrRsvwxz] [-e pattern]… [-f file]… [-m n] [-A n] [-B n] [-C n] [--include glob] [--exclude glob] [--exclude-dir glob] [--color=never] [pattern] [file]…",
		lacks: "-P, coloured output, and telling binary files from text; \\w, \\b, \\<, \\> and -w know ASCII letters alone; intervals above 1000",
	}
}

type grepping struct {
	c     *Call
	o     *options
	match func(line []byte) (bool, error)
	all   func(line []byte) ([][]int, error)
	names bool
	limit int
	// lines of context
	before, after int
	found         bool
	broken        bool // something was printed, so that a gap gets its "--"
}

func grep(_ context.Context, c *Call) error {
	o, err := c.options("E,extended-regexp F,fixed-strings G,basic-regexp i,ignore-case,y no-ignore-case v,invert-match c,count n,line-number l,files-with-matches " +
		"L,files-without-match o,only-matching q,quiet,silent r,recursive R,dereference-recursive s,no-messages w,word-regexp x,line-regexp m,max-count: A,after-context: B,before-context: " +
		"C,context: # h,no-filename H,with-filename e,regexp: f,file: a,text b,byte-offset z,null-data include: exclude: exclude-dir: color,colour? line-buffered U,binary")
	if err != nil {
		return err
	}
	if color := o.value("color", "never"); color != "never" && color != "auto" {
		return usageError("coloured output is not supported")
	}
	g := &grepping{c: c, o: o, limit: -1}
	if err := g.patterns(); err != nil {
		return err
	}
	if err := g.numbers(); err != nil {
		return err
	}
	names := o.operands
	if recursive := o.has("r") || o.has("R"); recursive && len(names) == 0 {
		names = []string{"."}
	}
	g.names = o.last("h", "H") == "H" || o.last("h", "H") == "" && (len(names) > 1 || o.has("r") || o.has("R"))
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		if err := g.path(name); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
	if !g.found && c.status == 0 {
		return exit(1)
	}
	return nil
}

func (g *grepping) numbers() error {
	for flag, to := range map[string][]*int{"m": {&g.limit}, "C": {&g.before, &g.after}, "#": {&g.before, &g.after}} {
		if err := g.number(flag, to...); err != nil {
			return err
		}
	}
	return errors.Join(g.number("A", &g.after), g.number("B", &g.before))
}

func (g *grepping) number(flag string, to ...*int) error {
	if !g.o.has(flag) {
		return nil
	}
	n, err := strconv.Atoi(g.o.value(flag, ""))
	if err != nil || n < 0 {
		return usageError(fmt.Sprintf("invalid number %q", g.o.value(flag, "")))
	}
	for _, t := range to {
		*t = n
	}
	return nil
}

// patterns reads what to look for, from -e, -f or the first operand. Each line is
// a pattern of its own.
func (g *grepping) patterns() error {
	var texts []string
	given := false
	for _, v := range g.o.given {
		switch v.name {
		case "e":
			texts, given = append(texts, strings.Split(v.value, "\n")...), true
		case "f":
			given = true
			r, err := g.c.open(v.value)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(r)
			r.Close() // was only read
			if err != nil {
				return err
			}
			for _, l := range splitLines(data, '\n') {
				texts = append(texts, string(l))
			}
		}
	}
	if !given {
		if len(g.o.operands) == 0 {
			return usageError("needs a pattern")
		}
		texts = strings.Split(g.o.operands[0], "\n")
		g.o.operands = g.o.operands[1:]
	}
	return g.compile(texts)
}

func (g *grepping) compile(texts []string) error {
	if len(texts) == 0 {
		g.match = func([]byte) (bool, error) { return false, nil }
		g.all = func([]byte) ([][]int, error) { return nil, nil }
		return nil
	}
	style := g.o.last("E", "F", "G")
	d := dialect{extended: style == "E", fold: g.o.last("i", "no-ignore-case") == "i"}
	if style == "F" && !d.fold && !g.o.has("w") && !g.o.has("x") && len(texts) == 1 {
		g.fixed([]byte(texts[0]))
		return nil
	}
	alt, groups := &node{kind: kindAlt}, 0
	for _, text := range texts {
		if style == "F" {
			text, d.extended = regexp.QuoteMeta(text), true
		}
		n, last, err := parsePattern(text, d, groups)
		if err != nil {
			return err
		}
		alt.sub, groups = append(alt.sub, n), last
	}
	return g.whole(alt, groups, d)
}

// whole makes the matcher, for -w and -x with what must stand around the match.
func (g *grepping) whole(n *node, groups int, d dialect) error {
	of := func(k kind, sub ...*node) *node { return &node{kind: k, sub: sub} }
	word := g.o.has("w") && !g.o.has("x")
	switch {
	case g.o.has("x"):
		n = of(kindCat, of(kindTextBegin), of(kindGroup, n), of(kindTextEnd))
	case word:
		other := &node{kind: kindSet, set: &set{not: true, classes: []string{"word"}}}
		groups++
		n = of(kindCat, of(kindAlt, of(kindTextBegin), other), &node{kind: kindGroup, number: groups, sub: []*node{n}}, of(kindAlt, of(kindTextEnd), other))
	}
	p, err := newPattern(n, groups, d)
	if err != nil {
		return err
	}
	g.match = p.matches
	if g.all = p.findAll; word {
		i := 2 * groups
		if p.fast != nil {
			i = 2 // package regexp counts by position
		}
		g.all = func(line []byte) ([][]int, error) { return words(p, i, line) }
	}
	return nil
}

// words is the matches of -w: what stands around one may stand around the next.
func words(p *pattern, i int, line []byte) (all [][]int, _ error) {
	for from := 0; from <= len(line); {
		m, err := p.find(line[from:])
		if err != nil || m == nil {
			return all, err
		}
		all = append(all, []int{from + m[i], from + m[i+1]})
		from += max(m[i+1], m[0]+1)
	}
	return all, nil
}

func (g *grepping) fixed(text []byte) {
	g.match = func(line []byte) (bool, error) { return bytes.Contains(line, text), nil }
	g.all = func(line []byte) (all [][]int, _ error) {
		for from := 0; len(text) > 0; {
			i := bytes.Index(line[from:], text)
			if i < 0 {
				break
			}
			all = append(all, []int{from + i, from + i + len(text)})
			from += i + len(text)
		}
		return all, nil
	}
}

// path looks through a file, or with -r through a directory.
func (g *grepping) path(name string) error {
	recursive := g.o.has("r") || g.o.has("R")
	info, err := os.Stat(g.c.path(name))
	if name == "-" || err != nil || !info.IsDir() {
		return g.told(g.file(name))
	}
	if !recursive {
		return g.told(&fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")})
	}
	return g.dir(name)
}

func (g *grepping) dir(name string) error {
	entries, err := os.ReadDir(g.c.path(name))
	if err != nil {
		return g.told(g.c.named(name, err))
	}
	for _, e := range entries {
		path := strings.TrimRight(name, "/") + "/" + e.Name()
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			if !g.o.has("R") {
				continue
			}
			if info, err := os.Stat(g.c.path(path)); err == nil {
				mode = info.Mode().Type()
			}
		}
		switch {
		case mode.IsDir() && !matchesAny(g.o.values("exclude-dir"), e.Name()):
			err = g.dir(path)
		case mode.IsRegular() && g.wanted(e.Name()):
			err = g.told(g.file(path))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *grepping) wanted(base string) bool {
	include := g.o.values("include")
	return (len(include) == 0 || matchesAny(include, base)) && !matchesAny(g.o.values("exclude"), base)
}

func matchesAny(globs []string, base string) bool {
	for _, glob := range globs {
		// A glob that is none matches nothing.
		if ok, err := filepath.Match(glob, base); err == nil && ok {
			return true
		}
	}
	return false
}

func (g *grepping) told(err error) error {
	if err == nil || errors.Is(err, errStop) || !isFileError(err) {
		return err
	}
	if g.o.has("s") {
		g.c.status = 2
		return nil
	}
	return g.c.warn(err)
}

// file looks through one file.
func (g *grepping) file(name string) error {
	r, err := g.c.open(name)
	if err != nil {
		return err
	}
	defer r.Close() // was only read
	s := &search{grepping: g, name: name, last: -1, end: '\n'}
	if name == "-" {
		s.name = "(standard input)"
	}
	if g.o.has("z") {
		s.end = 0
	}
	if err := s.run(newLines(r, s.end)); err != nil {
		return err
	}
	return s.sum()
}

// search is the look through one file.
type search struct {
	*grepping
	name    string
	end     byte
	count   int
	number  int // of the line
	offset  int
	last    int // number of the last line printed
	pending int // lines of context still to print
	held    []held
}

type held struct {
	line           []byte
	number, offset int
}

func (s *search) run(l *lines) error {
	for s.limit != 0 {
		line, ended, err := l.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		s.number++
		ok, err := s.match(line)
		if err != nil {
			return err
		}
		if ok != s.o.has("v") {
			err = s.hit(line)
		} else {
			err = s.miss(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.offset += len(line)
		if ended {
			s.offset++
		}
	}
	return nil
}

func (s *search) hit(line []byte) error {
	s.count++
	s.found = true
	switch {
	case s.o.has("q"):
		s.c.status = 0 // a match outweighs a file that could not be read
		return errStop
	case s.o.has("l") || s.o.has("L"):
		return io.EOF
	case s.o.has("c"):
	default:
		if err := s.print(line); err != nil {
			return err
		}
	}
	if s.count == s.limit {
		return io.EOF
	}
	return nil
}

func (s *search) print(line []byte) error {
	for _, h := range s.held {
		if err := s.line(h.line, h.number, h.offset, '-'); err != nil {
			return err
		}
	}
	s.held, s.pending = s.held[:0], s.after
	if s.o.has("o") {
		return s.parts(line)
	}
	return s.line(line, s.number, s.offset, ':')
}

// parts prints what matches, for -o.
func (s *search) parts(line []byte) error {
	if s.o.has("v") {
		return nil
	}
	all, err := s.all(line)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m[0] == m[1] {
			continue
		}
		if err := s.line(line[m[0]:m[1]], s.number, s.offset+m[0], ':'); err != nil {
			return err
		}
	}
	return nil
}

// miss prints a line that is context, or keeps it for then.
func (s *search) miss(line []byte) error {
	if s.o.has("o") || s.o.has("c") || s.o.has("l") || s.o.has("L") || s.o.has("q") {
		return nil
	}
	if s.pending > 0 {
		s.pending--
		return s.line(line, s.number, s.offset, '-')
	}
	if s.before == 0 {
		return nil
	}
	if len(s.held) == s.before {
		s.held = s.held[1:]
	}
	s.held = append(s.held, held{bytes.Clone(line), s.number, s.offset})
	return nil
}

func (s *search) line(line []byte, number, offset int, mark byte) error {
	out := s.c.out()
	if (s.before > 0 || s.after > 0) && s.broken && number > s.last+1 {
		fmt.Fprintln(out, "--")
	}
	if s.before > 0 || s.after > 0 {
		if s.last < 0 && s.broken && number == 1 {
			fmt.Fprintln(out, "--")
		}
		s.last, s.broken = number, true
	}
	if s.names {
		fmt.Fprintf(out, "%s%c", s.name, mark)
	}
	if s.o.has("n") {
		fmt.Fprintf(out, "%d%c", number, mark)
	}
	if s.o.has("b") {
		fmt.Fprintf(out, "%d%c", offset, mark)
	}
	return writeLine(out, line, s.end)
}

// sum is what is said of a whole file.
func (s *search) sum() error {
	out := s.c.out()
	switch {
	case s.o.has("L"):
		s.found = s.found || s.count == 0
		if s.count == 0 {
			fmt.Fprintln(out, s.name)
		}
	case s.o.has("l"):
		if s.count > 0 {
			fmt.Fprintln(out, s.name)
		}
	case s.o.has("c") && !s.o.has("q"):
		if s.names {
			fmt.Fprintf(out, "%s:", s.name)
		}
		fmt.Fprintln(out, s.count)
	}
	return nil
}
