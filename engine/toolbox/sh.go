package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

func shTool() tool {
	return tool{
		run: sh, fail: 2,
		usage: "[-aefnuvx] [-o option] [-c script [name]] [file] [argument]…",
		lacks: "jobs as processes ($! names no pid, so that kill $! does not work; wait does), traps of signals (EXIT and ERR there are), umask, ulimit, times, file descriptors above 2 in redirections, history and completion between sessions; the grammar is bash's, a little wider than POSIX's ({a,b} and [[ mean something)",
	}
}

// builtinTool is a command that the shell has in itself, for those who call it
// from elsewhere.
func builtinTool(usage, lacks string) tool {
	return tool{usage: usage, lacks: lacks, run: func(ctx context.Context, c *Call) error {
		if len(c.Args) == 2 && c.Args[1] == "--help" {
			return errHelp
		}
		script := c.Args[0] + ` "$@"`
		return c.shell(ctx, shellScript{text: strings.NewReader(script), name: c.Args[0], params: append([]string{"--"}, c.Args[1:]...)})
	}}
}

type shellScript struct {
	text   io.Reader
	name   string
	params []string // as for set: options, --, arguments
}

// sh reads its own options, since -c may stand among them.
func sh(ctx context.Context, c *Call) error {
	args := c.Args[1:]
	s := shellScript{name: "sh", text: c.Stdin}
	command := false
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		word := args[0]
		args = args[1:]
		if word == "--" {
			break
		}
		if word == "--help" {
			return errHelp
		}
		for _, f := range word[1:] {
			switch {
			case f == 'c':
				command = true
			case f == 's' || f == 'l' || f == 'i' || f == 'h' || f == 'B':
				// What they ask for is so anyway.
			case f == 'o':
				if len(args) == 0 {
					return usageError("-o needs the name of an option")
				}
				s.params, args = append(s.params, word[:1]+"o", args[0]), args[1:]
			case strings.ContainsRune("aefnuvx", f):
				s.params = append(s.params, word[:1]+string(f))
			default:
				return usageError(fmt.Sprintf("unknown option '%c%c'", word[0], f))
			}
		}
	}
	switch {
	case command && len(args) == 0:
		return usageError("-c needs a script")
	case command:
		s.text, args = strings.NewReader(args[0]), args[1:]
		if len(args) > 0 {
			s.name, args = args[0], args[1:]
		}
	case len(args) > 0:
		f, err := c.open(args[0])
		if err != nil {
			c.say(err)
			return exit(127)
		}
		defer f.Close() // was only read
		s.text, s.name, args = f, args[0], args[1:]
	}
	s.params = append(append(s.params, "--"), args...)
	return c.shell(ctx, s)
}

// shell interprets a script.
func (c *Call) shell(ctx context.Context, s shellScript) error {
	typed := s.text == c.Stdin && isTerminal(c.Stdin) && isTerminal(c.Stderr)
	if s.text == c.Stdin && !typed {
		// The whole of it is read before any of it runs: what the script's commands
		// read from standard input is not the rest of the script.
		data, err := io.ReadAll(s.text)
		if err != nil {
			return err
		}
		s.text = strings.NewReader(string(data))
	}
	var file *syntax.File
	var err error
	if !typed {
		// The interpreter knows export and readonly only as bash's grammar has them.
		if file, err = syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(s.text, s.name); err != nil {
			return err
		}
	}
	dir := c.Dir
	if dir == "" {
		if dir, err = os.Getwd(); err != nil {
			return err
		}
	}
	x := &executor{self: self(), interrupted: c.interrupted}
	r, err := interp.New(
		interp.StdIO(c.Stdin, c.Stdout, c.Stderr), interp.Dir(dir), interp.Env(expand.ListEnviron(c.Env...)), interp.Params(s.params...),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return x.exec }), interp.CallHandler(x.call),
	)
	if err != nil {
		return usageError(err.Error())
	}
	if typed {
		return c.interactive(ctx, r)
	}
	err = r.Run(ctx, file)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var status interp.ExitStatus
	if errors.As(err, &status) {
		return exit(status)
	}
	return err
}

// self is this binary, by which a link to it is known. It is nil where that cannot
// be told; then all tools are processes.
func self() os.FileInfo {
	info, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil
	}
	return info
}

// executor is what the interpreter asks to run commands.
type executor struct {
	self        os.FileInfo
	interrupted *atomic.Pointer[context.CancelFunc]
}

// call ends a builtin that writes into a pipe without a reader as SIGPIPE would
// end a process: the interpreter takes no notice of what its echo could not write,
// and a loop of it would have no end.
func (x *executor) call(ctx context.Context, args []string) ([]string, error) {
	hc := interp.HandlerCtx(ctx)
	switch args[0] {
	case "echo", "printf", "pwd":
		if f, ok := hc.Stdout.(*os.File); ok && unread(f) {
			return []string{"exit", fmt.Sprint(statusPipe)}, nil
		}
	}
	switch args[0] {
	case "kill", "printf":
		// The interpreter has the name of kill, but not the command, and a printf
		// without a precision.
		c := &Call{Env: []string{"PATH=" + hc.Env.Get("PATH").String()}, Dir: hc.Dir}
		if path, err := c.lookup(args[0]); err == nil {
			return append([]string{path}, args[1:]...), nil
		}
	}
	return args, nil
}

// unread says whether a file is a pipe whose reader has gone.
func unread(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n == 1 && fds[0].Revents&unix.POLLERR != 0
	})
	return err == nil && gone
}

// exec runs a command that the shell does not have in itself.
func (x *executor) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	var env []string
	hc.Env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.IsSet() && v.Kind == expand.String {
			env = append(env, name+"="+v.Str)
		}
		return true
	})
	// A command's own assignments come after the variables they hide.
	env = lastOfEach(env)
	c := &Call{Args: args, Env: env, Dir: hc.Dir, Stdin: hc.Stdin, Stdout: hc.Stdout, Stderr: hc.Stderr, interrupted: x.interrupted}
	status := c.execute(ctx, x.self)
	if err := ctx.Err(); err != nil {
		return err
	}
	if status != 0 {
		return interp.ExitStatus(status)
	}
	return nil
}

func lastOfEach(env []string) []string {
	seen := map[string]bool{}
	out := env[:0:0]
	for _, v := range slices.Backward(env) {
		name, _, _ := strings.Cut(v, "=")
		if !seen[name] {
			seen[name] = true
			out = append(out, v)
		}
	}
	slices.Reverse(out)
	return out
}

// execute runs the command c.Args: here when it is a tool of this binary, else as a
// process.
func (c *Call) execute(ctx context.Context, self os.FileInfo) int {
	path, err := c.lookup(c.Args[0])
	if err != nil {
		fmt.Fprintln(c.Stderr, err)
		if errors.Is(err, os.ErrPermission) {
			return 126
		}
		return 127
	}
	name := filepath.Base(path)
	t, ok := tools()[name]
	if ok && self != nil && !(t.process != nil && t.process(c)) {
		if info, err := os.Stat(path); err == nil && os.SameFile(info, self) {
			return Run(ctx, &Call{Args: append([]string{name}, c.Args[1:]...), Env: c.Env, Dir: c.Dir, Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, interrupted: c.interrupted})
		}
	}
	return c.start(ctx, path)
}

// start runs a process and returns its status. When ctx ends it is told by SIGTERM,
// and killed some time later.
func (c *Call) start(ctx context.Context, path string) int {
	cmd := exec.CommandContext(ctx, path)
	cmd.Args, cmd.Env, cmd.Dir = c.Args, c.Env, c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if errors.Is(err, syscall.ENOEXEC) {
		// A script without a first line that says by what: the shell's.
		again := *c
		again.Args = append([]string{"sh", path}, c.Args[1:]...)
		return Run(ctx, &again)
	}
	var failed *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &failed):
		if ws, ok := failed.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return failed.ExitCode()
	}
	fmt.Fprintf(c.Stderr, "%s: %v\n", c.Args[0], err)
	return 126
}
