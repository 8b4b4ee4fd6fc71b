package toolbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// A shell whose commands are typed at a terminal: each is run when it is complete, and
// an error of one does not end it. Lines are edited, and the arrow keys bring back
// earlier ones, as golang.org/x/term has it. Ctrl-C drops the line that is typed, or ends
// the command that runs.

// isTerminal says whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive runs what is typed until the end of input or exit.
func (c *Call) interactive(ctx context.Context, r *interp.Runner) error {
	in := c.Stdin.(*os.File)
	lines := term.NewTerminal(keyboard{in, c.Stderr}, "")
	var typed strings.Builder
	for {
		line, err := readLine(in, lines, c.prompt(r, typed.Len() > 0))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, errDropped) {
			typed.Reset()
			continue
		}
		if err != nil {
			return err
		}
		typed.WriteString(line + "\n")
		file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(typed.String()), "sh")
		if syntax.IsIncomplete(err) {
			continue
		}
		typed.Reset()
		if err != nil {
			c.say(err)
			continue
		}
		if exited, err := c.runTyped(ctx, r, file); exited || err != nil {
			return err
		}
	}
}

// prompt is the name of the directory, as people expect it where they look around.
func (c *Call) prompt(r *interp.Runner, more bool) string {
	if more {
		return "> "
	}
	return filepath.Base(r.Dir) + "$ "
}

// runTyped runs what stands in one line; only exit makes its status the shell's. It
// makes one statement after the other: a whole file would run the trap of EXIT.
func (c *Call) runTyped(ctx context.Context, r *interp.Runner, file *syntax.File) (exited bool, err error) {
	mine, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.interrupted != nil {
		c.interrupted.Store(&cancel)
		defer c.interrupted.Store(nil)
	}
	for _, statement := range file.Stmts {
		err := r.Run(mine, statement)
		var status interp.ExitStatus
		switch {
		case ctx.Err() != nil:
			return true, ctx.Err()
		case mine.Err() != nil: // the runner takes that for an end, which it is not
			return false, nil
		case r.Exited() && errors.As(err, &status):
			return true, exit(status)
		case r.Exited():
			return true, err
		case err != nil && !errors.As(err, &status):
			c.say(err)
		}
	}
	return false, nil
}

// interrupt ends the command that was typed; false when there is none to be ended.
func (c *Call) interrupt() bool {
	cancel := c.interrupted.Load()
	if cancel == nil {
		return false
	}
	(*cancel)()
	return true
}

var errDropped = errors.New("the line was dropped")

// readLine has the terminal for itself while a line is edited; commands find it as it
// was.
func readLine(in *os.File, lines *term.Terminal, prompt string) (string, error) {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(fd, before) //nolint:errcheck // then it is gone, and reading says so
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		lines.SetSize(width, height) //nolint:errcheck // it only lays the line out
	}
	lines.SetPrompt(prompt)
	line, err := lines.ReadLine()
	if strings.HasSuffix(line, dropped) {
		return "", errDropped
	}
	return line, err
}

// dropped stands at the end of a line at which Ctrl-C was typed.
const dropped = "^C"

// keyboard makes of Ctrl-C the end of a line that is not run: for the editor it would be
// the end of input.
type keyboard struct {
	in  io.Reader
	out io.Writer
}

func (k keyboard) Read(p []byte) (int, error) {
	// A key may become four bytes.
	n, err := k.in.Read(p[:max(1, len(p)/4)])
	const endOfLine, interrupt = "\x05", "\x03"
	replaced := bytes.ReplaceAll(p[:n:n], []byte(interrupt), []byte(endOfLine+dropped+"\r"))
	return copy(p, replaced), err
}

func (k keyboard) Write(p []byte) (int, error) { return k.out.Write(p) }
