package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
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
