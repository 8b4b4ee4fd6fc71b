package cmd

import (
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"

	"plumb/cmd/view"
)

// Env is everything a command has from outside, so that tests run the commands in
// their own process.
type Env struct {
	Stdin          *os.File // nil for none
	Stdout, Stderr io.Writer
	Environ        []string
	Dir            string // working directory, absolute
	Now            func() time.Time
	Width          func() int      // columns of the terminal on Stderr, 0 when it is none
	OutWidth       func() int      // columns of the terminal on Stdout, 0 when it is none
	Height         func() int      // rows of the terminal on Stderr, 0 when it is none; nil is none
	Executable     string          // started as the agent
	Again          func()          // from now on the next signal kills
	Parent         func() *os.File // where a starting agent tells how it went; nil when nobody asks
}

// Process is the Env of a real process. again gives signals their usual effect
// back, so that a second Ctrl-C ends at once.
func Process(again func()) *Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	return &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Dir: dir, Now: time.Now,
		Width: func() int { return width(os.Stderr) }, OutWidth: func() int { return width(os.Stdout) },
		Height:     func() int { return height(os.Stderr) },
		Executable: exe, Again: again, Parent: agentPipe,
	}
}

func width(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return w
}

func height(f *os.File) int {
	_, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return h
}

// size is that of the terminal that people watch, as it is now.
func (e *Env) size() (columns, rows int) {
	if e.Height != nil {
		rows = e.Height()
	}
	return e.Width(), rows
}

// getenv looks a variable up; the last of several wins, as everywhere.
func (e *Env) getenv(name string) string {
	value := ""
	for _, kv := range e.Environ {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			value = kv[len(name)+1:]
		}
	}
	return value
}

// style says how text may be dressed: NO_COLOR, a dumb terminal and a pipe get
// plain text.
func (e *Env) style(columns func() int) view.Style {
	w := columns()
	fancy := w > 0 && e.getenv("TERM") != "dumb" && e.getenv("TERM") != "" && e.getenv("CI") == ""
	return view.Style{Live: fancy, Color: fancy && e.getenv("NO_COLOR") == "", Width: w}
}

// logger writes to standard error what happens behind the scenes.
func (e *Env) logger(verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(e.Stderr, &slog.HandlerOptions{Level: level}))
}
