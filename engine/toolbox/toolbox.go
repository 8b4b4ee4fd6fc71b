// Package toolbox is plumb's own binary as an image: a shell, awk, jq, sed, grep,
// tar, gzip and the usual commands under their usual names.
//
// # The tools
//
// The shell is mvdan.cc/sh, awk is goawk, jq is gojq; the rest is here. u-root's
// command packages were looked at and left: their mkdir ends with status 0 when it
// could not make a directory, their cp forgets the error of all files but the last,
// their rm -f says nothing of a file that it may not remove, and few of the flags
// that scripts use are there. In a pipeline a failure that goes unseen is a wrong
// result.
//
// Each tool does what POSIX says and takes the flags of GNU's that scripts use;
// Help says which, and what is left out. A flag that a tool does not have is an
// error and status 2, never ignored. All of them count characters in UTF-8 where
// the standard counts characters, and order by bytes, as in the locale C.UTF-8.
//
// # Speed
//
// To start this binary takes about 10 ms, most of it the initialisation of packages
// that a tool has no use for. So the shell starts no process for a tool: a tool is a
// function of a Call, which has its own directory, environment and streams, and
// no state besides; the stages of a pipeline are goroutines with pipes between
// them. What is no tool of this binary is executed as by any shell.
//
// A tool that writes into a pipe that nobody reads any more ends with status 141
// and no word, as one does that SIGPIPE kills.
package toolbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Call is one invocation of a tool.
type Call struct {
	Args           []string // the tool's name first
	Env            []string // NAME=value
	Dir            string   // what relative paths start from; "" is the process's own
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	interrupted *atomic.Pointer[context.CancelFunc] // ends the command that was typed

	own    bool // the process was started for this call: Dir and Env are the process's own
	status int  // of what went wrong on the way
	buffer *bufio.Writer
}

// tool is one of the names.
type tool struct {
	run   func(context.Context, *Call) error
	fail  int    // the status of an error; 0 is 1
	usage string // what follows the name in the usage line
	lacks string // what is not supported, in words
	// process says that the call needs a process of its own, since the library
	// behind it takes the directory or the environment from there.
	process func(*Call) bool
}

// exit is an error without words: a status.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that a tool does not take.
type usageError string

func (e usageError) Error() string { return string(e) }

// errHelp is the answer to --help.
var errHelp = errors.New("help was asked for")

const (
	statusUsage = 2
	statusPipe  = 128 + int(syscall.SIGPIPE)
)

// Names are the tools, sorted.
func Names() []string {
	var names []string
	for name := range tools() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Main runs the tool that args[0] names, as the process's only business. ok is
// false when that is no tool.
func Main(args []string) (status int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	name := filepath.Base(args[0])
	if name == "plumb" { // the usual start, which need not look at the tools
		return 0, false
	}
	// A login shell is called by its name with a dash in front.
	if _, ok := tools()[strings.TrimPrefix(name, "-")]; !ok {
		return 0, false
	}
	c := &Call{
		Args: append([]string{strings.TrimPrefix(name, "-")}, args[1:]...), Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, own: true, interrupted: &atomic.Pointer[context.CancelFunc]{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan int, 1)
	go func() { done <- Run(ctx, c) }()
	for {
		select {
		case status = <-done:
			return status, true
		case s := <-signals:
			if s == syscall.SIGINT && c.interrupt() {
				continue
			}
			return c.ended(s, cancel, done), true
		}
	}
}

// ended makes an end after a signal. The kernel gives the first process of a container no
// default action; what the tool has started is told first.
func (c *Call) ended(s os.Signal, cancel context.CancelFunc, done <-chan int) int {
	cancel()
	select {
	case <-done:
	case <-time.After(grace):
	}
	return 128 + int(s.(syscall.Signal))
}

// grace is how long what a tool has started may take to end after a signal. A
// runtime that stops a stage waits longer than that before it kills.
const grace = time.Second

// Run runs the tool that c.Args[0] names and returns its exit status.
func Run(ctx context.Context, c *Call) int {
	t, ok := tools()[c.Args[0]]
	if !ok {
		fmt.Fprintf(c.Stderr, "%s: no such tool\n", c.Args[0])
		return 127
	}
	err := t.run(ctx, c)
	if c.buffer != nil {
		if flushed := c.buffer.Flush(); err == nil || isExit(err) && flushed != nil {
			err = errors.Join(flushed, err)
		}
	}
	var status exit
	var usage usageError
	switch {
	case err == nil:
		return c.status
	case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return statusPipe
	case errors.Is(err, errHelp):
		fmt.Fprint(c.Stdout, Help(c.Args[0]))
		return 0
	case errors.As(err, &status):
		return int(status)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return 128 + int(syscall.SIGTERM)
	}
	c.say(err)
	if errors.As(err, &usage) {
		fmt.Fprintf(c.Stderr, "Try '%s --help'.\n", c.Args[0])
		return statusUsage
	}
	return max(t.fail, 1)
}

func isExit(err error) bool {
	var e exit
	return errors.As(err, &e)
}

// Help is what a tool's --help prints: its usage, and what it does not support.
func Help(name string) string {
	t, ok := tools()[name]
	if !ok {
		return ""
	}
	text := strings.TrimRight("usage: "+name+" "+t.usage, " ") + "\n"
	if t.lacks != "" {
		text += "Not supported: " + t.lacks + ".\n"
	}
	return text
}

// say writes an error to standard error behind the tool's name. That this fails
// has nobody to be told to.
func (c *Call) say(err error) { fmt.Fprintf(c.Stderr, "%s: %v\n", c.Args[0], plain(err)) }

// warn says an error that is not the end: the status will be 1.
func (c *Call) warn(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	c.say(err)
	c.status = max(c.status, 1, tools()[c.Args[0]].fail)
	return nil
}

// plain is a file's error without the name of the system call.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && error(p) == err {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

// path is where a name of the command line is.
func (c *Call) path(name string) string {
	if c.Dir == "" || filepath.IsAbs(name) || name == "" {
		return name
	}
	if name == "." {
		return c.Dir
	}
	// Not cleaned: "link/.." is above what the link points to.
	return c.Dir + "/" + name
}

// getenv is a variable of the call's environment; the last one of a name counts.
func (c *Call) getenv(name string) string {
	for _, v := range slices.Backward(c.Env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
