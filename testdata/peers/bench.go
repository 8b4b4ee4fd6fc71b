package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// mib is what sizes are counted in.
const mib = 1 << 20

// bench is one run of this command: where it works, with what, and what came out.
type bench struct {
	options
	dir   string // temporary
	plumb plumb
	image image
	table *table
	log   io.Writer
	built map[int]string // projects by their size, with everything recorded
}

// newBench builds plumb and the image.
func newBench(ctx context.Context, o options, log io.Writer) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "plumb-peers-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary directory: %w", err)
	}
	b := &bench{options: o, dir: dir, table: newTable(), log: log, built: map[int]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	// Containers are another user on the host, and have to get to what they run.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	b.say("building plumb and an image")
	if b.plumb, err = makePlumb(ctx, o.plumb, dir); err != nil {
		return nil, err
	}
	if b.image, err = makeImage(ctx, filepath.Join(dir, "image")); err != nil {
		return nil, err
	}
	b.table.Plumb, err = b.plumb.version(ctx)
	return b, err
}

// makePlumb builds the program, unless there is one to be measured.
func makePlumb(ctx context.Context, exe, dir string) (plumb, error) {
	p := plumb{exe: filepath.Join(dir, "plumb"), home: filepath.Join(dir, "store")}
	if exe == "" {
		return p, goBuild(ctx, p.exe, "plumb", "")
	}
	abs, err := filepath.Abs(exe) // it is run in other directories
	p.exe = abs
	return p, err
}

// goBuild builds a package of this module. It works from wherever in the module
// it is called. cgo is "0" or "1", or empty for what the environment says.
func goBuild(ctx context.Context, to, pkg, cgo string) error {
	root, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "plumb"))
	if err != nil {
		return fmt.Errorf("looking for the module %q: %w", "plumb", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, pkg)
	cmd.Dir = strings.TrimSpace(root)
	cmd.Env = os.Environ()
	if cgo != "" {
		cmd.Env = append(cmd.Env, "CGO_ENABLED="+cgo)
	}
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("building %q: %w", pkg, err)
	}
	return nil
}

// measure goes through the sections. One that goes wrong does not keep the others
// from being measured.
func (b *bench) measure(ctx context.Context) error {
	b.table.Machine = machine()
	var errs []error
	for _, s := range sections() {
		if len(b.only) > 0 && !slices.Contains(b.only, s.name) {
			continue
		}
		b.table.section = s.name
		if err := s.measure(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("measuring %q: %w", s.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// close ends the agent and removes everything. It has to work when the run was
// interrupted, so it has a time limit of its own.
func (b *bench) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := b.plumb.stop(ctx)
	if b.keep {
		b.say("left: %s", b.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// say tells who waits what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// path is a place in the temporary directory.
func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

// machine says what the figures were taken on, and how busy it was with other
// things at the start.
func machine() string {
	return fmt.Sprintf("%d cores, %s/%s, kernel %s, %s, load %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		firstWord("/proc/sys/kernel/osrelease"), runtime.Version(), firstWord("/proc/loadavg"))
}

func firstWord(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return word
}
