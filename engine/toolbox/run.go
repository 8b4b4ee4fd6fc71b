package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tools that run commands. A command that is a tool runs within the process, with
// an environment and streams of its own.

func runTools() map[string]tool {
	return map[string]tool{
		"env":     {run: env, usage: "[-i] [-u name]… [-C dir] [-0] [-S words] [NAME=value]… [command [argument]…]", lacks: "-v and signals"},
		"xargs":   {run: xargs, usage: "[-0rtx] [-d char] [-a file] [-n count] [-L lines] [-s bytes] [-P processes] [-I text] [command [argument]…]", lacks: "-E, -l, -i and -p"},
		"timeout": {run: timeout, usage: "[-k time] [-s signal] [--preserve-status] [--foreground] time command [argument]…", lacks: "signals but TERM for tools of this binary, and -v"},
		"nohup":   {run: nohup, usage: "command [argument]…", lacks: "nohup.out: a stage has no terminal"},
		"time":    {run: timing, usage: "[-p] command [argument]…", lacks: "user and system times of tools of this binary, which are those of the shell"},
	}
}

// command runs another command with this call's streams.
func (c *Call) command(ctx context.Context, args, env []string) int {
	return (&Call{Args: args, Env: env, Dir: c.Dir, Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr}).execute(ctx, self())
}

func status(n int) error {
	if n == 0 {
		return nil
	}
	return exit(n)
}

func env(ctx context.Context, c *Call) error {
	o, err := c.options("+i,ignore-environment u,unset: 0,null C,chdir: S,split-string:")
	if err != nil {
		c.say(err)
		return exit(125)
	}
	if o.has("S") {
		o.operands = append(strings.Fields(o.value("S", "")), o.operands...)
	}
	args := o.operands
	if len(args) > 0 && args[0] == "-" {
		o.given, args = append(o.given, option{"i", ""}), args[1:]
	}
	vars := slices.Clone(c.Env)
	if o.has("i") {
		vars = nil
	}
	unset := func(name string) {
		vars = slices.DeleteFunc(vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	for _, name := range o.values("u") {
		unset(name)
	}
	for len(args) > 0 && strings.Contains(args[0], "=") {
		name, _, _ := strings.Cut(args[0], "=")
		unset(name)
		vars, args = append(vars, args[0]), args[1:]
	}
	if len(args) == 0 {
		for _, v := range vars {
			c.line(v, o.has("0"))
		}
		return nil
	}
	sub := *c
	if o.has("C") {
		sub.Dir = c.path(o.value("C", ""))
	}
	return status(sub.command(ctx, args, vars))
}

func nohup(ctx context.Context, c *Call) error {
	o, err := c.options("+")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		return usageError("needs a command")
	}
	return status(c.command(ctx, o.operands, c.Env))
}

func timing(ctx context.Context, c *Call) error {
	o, err := c.options("+p,portability")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		return usageError("needs a command")
	}
	start := time.Now()
	code := c.command(ctx, o.operands, c.Env)
	fmt.Fprintf(c.Stderr, "real %.2f\n", time.Since(start).Seconds())
	return status(code)
}

func timeout(ctx context.Context, c *Call) error {
	o, err := c.options("+k,kill-after: s,signal: preserve-status foreground v,verbose")
	if err == nil && len(o.operands) < 2 {
		err = usageError("needs a time and a command")
	}
	var limit time.Duration
	if err == nil {
		limit, err = duration(o.operands[0])
	}
	if sig := strings.TrimPrefix(strings.ToUpper(o.value("s", "TERM")), "SIG"); err == nil && sig != "TERM" && sig != "15" && sig != "KILL" && sig != "9" {
		err = usageError("only TERM and KILL are supported")
	}
	if err != nil {
		c.say(err)
		return exit(125)
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	code := c.command(ctx, o.operands[1:], c.Env)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !o.has("preserve-status") {
		return exit(124)
	}
	return status(code)
}

// feeding is xargs at work.
type feeding struct {
	c       *Call
	o       *options
	command []string
	replace string
	most    int // arguments
	lines   int
	size    int
	slots   chan struct{}
	wait    sync.WaitGroup
	mu      sync.Mutex // the streams of commands that run at once, and code
	code    int
	stopped bool
}

func xargs(ctx context.Context, c *Call) error {
	o, err := c.options("+0,null r,no-run-if-empty t,verbose x,exit d,delimiter: a,arg-file: n,max-args: L,max-lines: s,max-chars: P,max-procs: I,replace:")
	if err != nil {
		return err
	}
	f := &feeding{c: c, o: o, command: o.operands, replace: o.value("I", "")}
	if len(f.command) == 0 {
		f.command = []string{"echo"}
	}
	procs := 1
	for _, n := range []struct {
		flag      string
		to        *int
		otherwise string
	}{{"n", &f.most, "0"}, {"L", &f.lines, "0"}, {"s", &f.size, "128000"}, {"P", &procs, "1"}} {
		if *n.to, err = strconv.Atoi(o.value(n.flag, n.otherwise)); err != nil || *n.to < 0 {
			return usageError(fmt.Sprintf("invalid number for -%s", n.flag))
		}
	}
	if procs == 0 {
		procs = 64
	}
	f.slots = make(chan struct{}, procs)
	words, err := f.words()
	if err != nil {
		return err
	}
	for _, args := range f.batches(words) {
		if f.stopped || ctx.Err() != nil {
			break
		}
		f.launch(ctx, args)
	}
	f.wait.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return status(f.code)
}

// word is an argument, and whether its line ends behind it.
type word struct {
	text string
	last bool
}

func (f *feeding) words() ([]word, error) {
	name := f.o.value("a", "-")
	r, err := f.c.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close() // was only read
	if name == "-" {
		f.c.Stdin = strings.NewReader("") // what was read is not the commands' to read
	}
	if f.o.has("0") || f.o.has("d") {
		mark := byte(0)
		if f.o.has("d") && !f.o.has("0") {
			marks := pasteMarks(f.o.value("d", ""))
			if len(marks) != 1 || len(marks[0]) != 1 {
				return nil, usageError("the delimiter must be one byte")
			}
			mark = marks[0][0]
		}
		data, err := io.ReadAll(r)
		var all []word
		for _, l := range splitLines(data, mark) {
			all = append(all, word{string(l), true})
		}
		return all, err
	}
	if f.replace != "" {
		data, err := io.ReadAll(r)
		var all []word
		for _, l := range splitLines(data, '\n') {
			if l = bytes.TrimLeft(l, " \t"); len(l) > 0 {
				all = append(all, word{string(l), true})
			}
		}
		return all, err
	}
	return quotedWords(bufio.NewReader(r))
}

// quotedWords takes words apart as xargs does, with quotes and backslashes.
func quotedWords(r *bufio.Reader) (all []word, _ error) {
	var b []byte
	in, quote := false, byte(0)
	flush := func() {
		if in {
			all = append(all, word{text: string(b)})
		}
		b, in = b[:0], false
	}
	for {
		c, err := r.ReadByte()
		if err == io.EOF {
			if quote != 0 {
				return nil, errors.New("a quote is not closed; by default quotes are special, unless -0 is used")
			}
			flush()
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0 && c == '\n':
			return nil, errors.New("a quote is not closed; by default quotes are special, unless -0 is used")
		case quote != 0:
			b = append(b, c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == '\\':
			if c, err = r.ReadByte(); err == nil {
				b, in = append(b, c), true
			}
		case c == '\n':
			flush()
			if len(all) > 0 {
				all[len(all)-1].last = true
			}
		case isSpace(rune(c)):
			flush()
		default:
			b, in = append(b, c), true
		}
	}
}

// batches are the arguments of each command line.
func (f *feeding) batches(words []word) (all [][]string) {
	if f.replace != "" {
		for _, w := range words {
			var args []string
			for _, a := range f.command {
				args = append(args, strings.ReplaceAll(a, f.replace, w.text))
			}
			all = append(all, args)
		}
		return all
	}
	base := 0
	for _, a := range f.command {
		base += len(a) + 1
	}
	args, size, lines := slices.Clone(f.command), base, 0
	for _, w := range words {
		if n := len(args) - len(f.command); n > 0 && (f.most > 0 && n >= f.most || f.lines > 0 && lines >= f.lines || size+len(w.text)+1 > f.size) {
			all = append(all, args)
			args, size, lines = slices.Clone(f.command), base, 0
		}
		args, size = append(args, w.text), size+len(w.text)+1
		if w.last {
			lines++
		}
	}
	if len(words) > 0 || !f.o.has("r") {
		all = append(all, args)
	}
	return all
}

func (f *feeding) launch(ctx context.Context, args []string) {
	f.slots <- struct{}{}
	if f.o.has("t") {
		fmt.Fprintln(f.c.Stderr, strings.Join(args, " "))
	}
	f.wait.Add(1)
	run := func() {
		defer f.wait.Done()
		code := f.c.command(ctx, args, f.c.Env)
		f.mu.Lock()
		defer f.mu.Unlock()
		<-f.slots
		switch {
		case code == 0:
		case code == 255:
			f.code, f.stopped = 124, true
			fmt.Fprintf(f.c.Stderr, "xargs: %s: exited with status 255; aborting\n", args[0])
		case code == 126 || code == 127:
			f.code, f.stopped = code, true
		case code > 128:
			f.code, f.stopped = 125, true
		default:
			f.code = 123
		}
	}
	if cap(f.slots) == 1 {
		run()
		return
	}
	go run()
}

// exists says whether a path is there, links followed.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
