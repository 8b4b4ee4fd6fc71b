package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plumb/engine"
	"plumb/hcl"
)

// secretTime is how long a command may take to give a secret.
const secretTime = 30 * time.Second

// wantedSecrets lists the secrets that a run was refused for the want of, without
// those that were sent already.
func wantedSecrets(err error, sent map[string]engine.Secret) []string {
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != engine.Wanting {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.Secrets), func(name string) bool { _, ok := sent[name]; return ok })
}

// addSecrets looks up the values of secrets where the pipeline says, read here: what
// an agent says is nothing to open files or start programs by.
func (e *Env) addSecrets(ctx context.Context, project engine.Project, have map[string]engine.Secret, names []string) (map[string]engine.Secret, error) {
	pl, diags := load(project)
	if diags.HasErrors() {
		return nil, diags.WithSnippets(project.Dir)
	}
	all := maps.Clone(have)
	if all == nil {
		all = map[string]engine.Secret{}
	}
	total := 0
	for _, name := range names {
		at := slices.IndexFunc(pl.Secrets, func(s hcl.Secret) bool { return s.Name == name })
		if at < 0 {
			return nil, &engine.Error{Kind: engine.Invalid, Message: fmt.Sprintf("the pipeline has no secret %q any more", name), Hint: "run again"}
		}
		value, err := e.secret(ctx, project.Dir, &pl.Secrets[at])
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			all[name] = engine.Secret{Missing: err.Error()}
		default:
			all[name] = engine.Secret{Value: value}
		}
		if total += len(value); total > engine.MaxSecrets {
			return nil, &engine.Error{Kind: engine.Invalid, Message: fmt.Sprintf("the secrets of this run are larger than %d MiB together", engine.MaxSecrets>>20)}
		}
	}
	return all, nil
}

// secret looks one up: a variable and a file as they are, what a command prints
// without the line break at its end.
func (e *Env) secret(ctx context.Context, dir string, s *hcl.Secret) (value []byte, err error) {
	what := ""
	switch {
	case s.Env != "":
		what = fmt.Sprintf("the variable %s", s.Env)
		value, err = e.secretVariable(s.Env)
	case s.File != "":
		what = fmt.Sprintf("the file %q", s.File)
		value, err = e.secretFile(dir, s.File)
	default:
		what = fmt.Sprintf("what the command %q prints", strings.Join(s.Command, " "))
		value, err = e.secretCommand(ctx, dir, s.Command)
	}
	switch {
	case err != nil:
		return nil, err
	case len(value) == 0:
		return nil, fmt.Errorf("%s is empty", what)
	case len(value) > engine.MaxSecret:
		return nil, fmt.Errorf("%s is larger than %d MiB", what, engine.MaxSecret>>20)
	}
	return value, nil
}

func (e *Env) secretVariable(name string) ([]byte, error) {
	if !slices.ContainsFunc(e.Environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
		return nil, fmt.Errorf("the variable %s is not set", name)
	}
	return []byte(e.getenv(name)), nil
}

func (e *Env) secretFile(dir, name string) (value []byte, err error) {
	path := absolute(dir, name)
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		path = filepath.Join(e.getenv("HOME"), rest)
	}
	f, err := os.Open(path)
	if err == nil {
		value, err = io.ReadAll(io.LimitReader(f, engine.MaxSecret+1))
		err = errors.Join(err, f.Close())
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path is said once, as it is written
	}
	if err != nil {
		return nil, fmt.Errorf("the file %q cannot be read: %w", name, err)
	}
	return value, nil
}

// secretCommand runs a program of the user, in the user's environment and the
// project's directory. What it says on standard error is for the user to see.
func (e *Env) secretCommand(ctx context.Context, dir string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	program := args[0]
	if strings.Contains(program, "/") {
		program = absolute(dir, program)
	}
	out := &limited{left: engine.MaxSecret + 2} // its line break, and one byte to see that it is too large
	c := exec.CommandContext(ctx, program, args[1:]...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, e.Environ, out, e.Stderr
	c.WaitDelay = time.Second // for what it left running with its output open
	var exit *exec.ExitError
	switch err := c.Run(); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("the command %q was not done after %s", args[0], secretTime)
	case errors.As(err, &exit):
		return nil, fmt.Errorf("the command %q ended with %w", args[0], err)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("the command %q cannot be run: %w", args[0], err)
	}
	return bytes.TrimSuffix(out.kept, []byte("\n")), nil
}

// limited keeps the first bytes of what is written to it, and takes the rest.
type limited struct {
	kept []byte
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.kept = append(l.kept, p[:n]...)
	return len(p), nil
}
