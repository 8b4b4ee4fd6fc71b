package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"plumb/engine"
	"plumb/engine/event"
)

// Six steps, each of which the next attempt does not do again. What is not whole is not
// found: a step is a rename.
const steps = `
param "lr" { default = "1" }
stage "train" {
  grace      = "1s"
  checkpoint = "state/ckpt"
  command    = <<-EOT
    : ${param.lr}
    n=0
    if [ -e state/ckpt/n ]; then n=$(cat state/ckpt/n); fi
    echo "from $n"
    while [ "$n" -lt 6 ]; do
      n=$((n + 1))
      mkdir -p state/ckpt/deep
      echo "$n" > state/ckpt/deep/new
      mv state/ckpt/deep/new state/ckpt/n
      echo "step $n"
      sleep 0.3
    done
    cp state/ckpt/n out
  EOT
  outputs = { out = "out" }
}
`

// from are the steps from which the attempts of a run went on.
func from(t *testing.T, r result) (steps []int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`"line":"from (\d+)"`).FindAllStringSubmatch(r.out, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, n)
	}
	return steps
}

func resumed(t *testing.T, r result) (all []bool) {
	t.Helper()
	for line := range strings.Lines(r.out) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.Type == event.AttemptDone {
			all = append(all, e.Attempt.Resumed)
		}
	}
	return all
}

func (s *site) wantCheckpoints(n int) {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.store, "checkpoints", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	if len(names) != n {
		s.t.Errorf("checkpoints %v, want %d", names, n)
	}
}

// killStages kills all that is in containers of the store, from outside.
func (s *site) killStages() {
	s.t.Helper()
	killed := 0
	for _, dir := range s.cgroups() {
		procs, err := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range procs {
			b, err := os.ReadFile(f)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, word := range bytes.Fields(b) {
				pid, err := strconv.Atoi(string(word))
				if err != nil {
					s.t.Fatal(err)
				}
				if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
					killed++
				}
			}
		}
	}
	if killed == 0 {
		s.t.Fatal("there was nothing to kill")
	}
}

// TestCheckpoint ends a stage at its third step, in whatever way: it goes on there, and
// nobody else does.
func TestCheckpoint(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name string
		end  func(s *site, p *process)
		code int // of the run that is disturbed
	}{
		{"preempted", func(s *site, _ *process) { s.killStages() }, 0},
		{"agent killed", func(s *site, _ *process) { kill(s.t, s.agentPID(), false) }, 0},
		{"interrupted", func(_ *site, p *process) { p.signal(syscall.SIGINT) }, exitInterrupted},
		{"client killed", func(s *site, p *process) { p.signal(syscall.SIGKILL) }, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			dir := s.project(strings.ReplaceAll(c.name, " ", "-"), strings.ReplaceAll(steps, ": ${param.lr}", ": "+c.name+" ${param.lr}"))
			p := s.start(dir, "run", "--json")
			p.says(`"line":"step 3"`)
			c.end(s, p)
			r := p.wait()
			if r.code != c.code {
				t.Fatalf("exit %d, want %d: %v", r.code, c.code, r)
			}
			seen, went := from(t, r), resumedIfWhole(t, r)
			if c.code != 0 {
				s.wantCheckpoints(1)
				if f := from(t, s.want(0, dir, "run", "--json", "--param", "lr=2")); len(f) != 1 || f[0] != 0 {
					t.Errorf("another key went on from %v", f)
				}
				r = s.want(0, dir, "run", "--json")
				seen, went = append(seen, from(t, r)...), append(went, resumed(t, r)...)
			}
			if len(seen) != 2 || seen[0] != 0 || seen[1] < 3 || !went[len(went)-1] {
				t.Errorf("attempts went on from %v, resumed %v", seen, went)
			}
			if !strings.Contains(r.out, `"event":"resumed"`) {
				t.Errorf("nobody was told: %v", r)
			}
			s.wantCheckpoints(0)
			var doc engine.ShowDoc
			s.document(&doc, dir, "show", "--json")
			if a := doc.Stages[0].Attempts; !a[len(a)-1].Resumed {
				t.Errorf("recorded attempts %+v", a)
			}
			if r := s.want(0, dir, "run", "--json", "--force", "train"); len(from(t, r)) != 1 || from(t, r)[0] != 0 {
				t.Errorf("a forced stage went on from %v", from(t, r))
			}
		})
	}
}

// resumedIfWhole is resumed for a process that may have been killed in the middle of a
// line.
func resumedIfWhole(t *testing.T, r result) []bool {
	if r.code < 0 {
		return nil
	}
	return resumed(t, r)
}

// TestCheckpointInAShell is read, and cannot be written.
func TestCheckpointInAShell(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", strings.Replace(steps, `cp state/ckpt/n out`, `exit 7`, 1))
	s.want(exitStage, dir, "run")
	r := s.want(1, dir, "shell", "train", "--", "sh", "-c", "cat state/ckpt/n; echo 9 > state/ckpt/n")
	if strings.TrimSpace(r.out) != "6" || !strings.Contains(r.err, "ead-only") {
		t.Errorf("the shell saw: %v", r)
	}
	if r := s.want(exitStage, dir, "run"); !strings.Contains(r.err, "goes on from the checkpoint of attempt 1 of run ") || !strings.Contains(r.err, "from 6") {
		t.Errorf("after the shell: %v", r)
	}
	s.want(0, dir, "gc", "--keep-age", "0s")
	s.wantCheckpoints(0)
}

// TestCheckpointEverywhere kills the agent wherever stages run: the next one finds what
// they had written.
func TestCheckpointEverywhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make the places")
	}
	t.Parallel()
	for n, p := range places {
		t.Run(p.name, func(t *testing.T) {
			s := p.site(t, fmt.Sprint("checkpoint", n))
			dir := s.project("p", steps)
			run := s.start(dir, "run", "--json")
			run.says(`"line":"step 3"`)
			s.killAgent()
			r := run.wait()
			if r.code != 0 {
				t.Fatalf("the client did not go on: %v%s", r, s.agentLog())
			}
			if f := from(t, r); len(f) != 2 || f[0] != 0 || f[1] < 3 {
				t.Errorf("attempts went on from %v: %v", f, r)
			}
			s.wantCheckpoints(0)
		})
	}
}

// TestCheckpointGivesWay on a disk that is all but full: results are worth more.
func TestCheckpointGivesWay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	s, disk := mounted(t, "192m")
	dir := s.project("p", `
param "mib" { default = 1 }
stage "large" {
  command = "dd of=out bs=1048576 count=${param.mib}"
  outputs = { out = "out" }
}
stage "train" {
  checkpoint = "ckpt"
  command    = "dd of=ckpt/big bs=1048576 count=24; exit 9"
}
`)
	s.want(exitStage, dir, "run", "train")
	s.want(0, dir, "run", "large")
	s.wantCheckpoints(1)
	var free syscall.Statfs_t
	if err := syscall.Statfs(disk, &free); err != nil {
		t.Fatal(err)
	}
	s.want(0, dir, "run", "--param", fmt.Sprint("mib=", (int64(free.Bfree)*free.Bsize)>>20-10), "large")
	s.wantCheckpoints(0)
}
