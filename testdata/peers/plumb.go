package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// plumb is the program that all this is about, with a store of its own.
type plumb struct {
	exe  string
	home string
	as   *syscall.Credential // nil for who calls this
}

// idle keeps the agent from leaving while a slow peer has its turn.
const idle = "PLUMB_IDLE=6h"

func (p plumb) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.exe, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PLUMB_HOME="+p.home, idle)
	if p.as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	}
	return cmd
}

// run is what is measured most: the whole command, as a person sees it.
func (p plumb) run(ctx context.Context, dir string, args ...string) (time.Duration, error) {
	return timed(p.command(ctx, dir, append([]string{"run"}, args...)...), "")
}

func (p plumb) version(ctx context.Context) (string, error) {
	out, err := output(p.command(ctx, "/", "version"))
	return strings.TrimSpace(out), err
}

// stop ends the agent, when there is one, and waits for its end.
func (p plumb) stop(ctx context.Context) error {
	_, err := output(p.command(ctx, "/", "agent", "stop", "--quiet"))
	return err
}

// status is what the agent says of itself.
type status struct {
	Running bool  `json:"running"`
	PID     int   `json:"pid"`
	Memory  int64 `json:"memory"`
}

func (p plumb) status(ctx context.Context) (status, error) {
	var s status
	err := p.document(ctx, "/", &s, "agent", "status")
	if err == nil && !s.Running {
		err = errors.New("no agent is running")
	}
	return s, err
}

// counts is how the stages of a run ended.
type counts struct {
	Ran    int `json:"ran"`
	Cached int `json:"cached"`
	Failed int `json:"failed"`
}

// last tells how the stages of the newest run of a project ended.
func (p plumb) last(ctx context.Context, dir string) (counts, error) {
	var doc struct {
		Runs []struct {
			Counts counts `json:"counts"`
		} `json:"runs"`
	}
	if err := p.document(ctx, dir, &doc, "runs", "--limit", "1"); err != nil {
		return counts{}, err
	}
	if len(doc.Runs) != 1 {
		return counts{}, fmt.Errorf("project %q has %d newest runs", dir, len(doc.Runs))
	}
	return doc.Runs[0].Counts, nil
}

// did is an error unless the newest run executed exactly so many stages.
func (p plumb) did(ctx context.Context, dir string, ran, cached int) error {
	got, err := p.last(ctx, dir)
	if err != nil {
		return err
	}
	if want := (counts{Ran: ran, Cached: cached}); got != want {
		return fmt.Errorf("plumb run in %q: %d stages ran and %d were cached (%d failed), and %d and %d should have", dir, got.Ran, got.Cached, got.Failed, ran, cached)
	}
	return nil
}

func (p plumb) document(ctx context.Context, dir string, into any, args ...string) error {
	out, err := output(p.command(ctx, dir, append([]string{"--json"}, args...)...))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("reading what plumb %s printed: %w", strings.Join(args, " "), err)
	}
	return nil
}

// fact is what is read of an event.
type fact struct {
	Event   string    `json:"event"`
	Time    time.Time `json:"time"`
	Stage   string    `json:"stage"`
	Attempt *struct {
		Class   string    `json:"class"`
		Started time.Time `json:"started"`
		Seconds float64   `json:"seconds"`
	} `json:"attempt"`
}

// stageTimes are the moments of one executed stage, by plumb's own account.
type stageTimes struct {
	wall     time.Duration // of the command, from outside
	command  time.Duration // from the start of the container to its exit
	whole    time.Duration // from the start of the run, before the container was created, to when its result was on the disk
	recorded time.Duration // from the exit of the container to when its result was on the disk
}

// force runs one stage that is up to date again, and reads its times from the events.
func (p plumb) force(ctx context.Context, dir, stage string, args ...string) (stageTimes, error) {
	cmd := p.command(ctx, dir, append([]string{"--json", "run", "--force", stage}, args...)...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return stageTimes{}, fmt.Errorf("plumb run --force %s: %w: %s", stage, err, tail(diag.String()))
	}
	t, err := readTimes(out.Bytes(), stage)
	t.wall = wall
	return t, err
}

func readTimes(events []byte, stage string) (stageTimes, error) {
	var t stageTimes
	var begun time.Time
	for dec := json.NewDecoder(bytes.NewReader(events)); dec.More(); {
		var f fact
		if err := dec.Decode(&f); err != nil {
			return t, fmt.Errorf("reading the events of plumb run: %w", err)
		}
		if f.Event == "run_started" {
			begun = f.Time
		}
		if f.Event != "attempt" || f.Stage != stage || f.Attempt == nil {
			continue
		}
		if f.Attempt.Class != "ok" {
			return t, fmt.Errorf("stage %q ended with %q", stage, f.Attempt.Class)
		}
		t.command = time.Duration(f.Attempt.Seconds * float64(time.Second))
		t.whole = f.Time.Sub(begun)
		t.recorded = f.Time.Sub(f.Attempt.Started.Add(t.command))
	}
	if t.command <= 0 || begun.IsZero() {
		return t, fmt.Errorf("the events of plumb run tell of no attempt of stage %q", stage)
	}
	return t, nil
}

// peak is the most memory that a process or one of its children ever had
// resident. The agent's first process only waits for the second, in which
// everything happens.
func peak(pid int) (int64, error) {
	most, err := highWater(filepath.Join("/proc", strconv.Itoa(pid)))
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "task", strconv.Itoa(pid), "children"))
	if err != nil {
		return 0, fmt.Errorf("looking for children of process %d: %w", pid, err)
	}
	for _, c := range strings.Fields(string(children)) {
		n, err := highWater(filepath.Join("/proc", c))
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return most, nil
}

func highWater(proc string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a process: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%q tells no peak memory", proc)
}
