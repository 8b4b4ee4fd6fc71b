package cmd

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
)

// attempts are the classes of all attempts of the newest run's stages, and under which
// limit of memory each was, in MiB.
func (s *site) attempts(dir string) map[string][]attemptLine {
	s.t.Helper()
	var doc engine.ShowDoc
	s.document(&doc, dir, "show", "--json")
	all := map[string][]attemptLine{}
	for _, st := range doc.Stages {
		for _, a := range st.Attempts {
			all[st.Name] = append(all[st.Name], attemptLine{string(a.Class), a.Signal, a.MemoryLimit >> 20})
		}
	}
	return all
}

type attemptLine struct {
	Class, Signal string
	MiB           int64
}

// TestFaultClasses ends stages in the ways that are told apart: by the kernel for want
// of memory, by themselves with the status that such an end has, and by somebody else.
func TestFaultClasses(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", `
stage "large" {
  command = "probe-memory 100; echo fits > large"
  outputs = { out = "large" }
  resources { memory = "64MiB" }
  retry {
    oom           = 2
    memory_factor = 2
    backoff       = "10ms"
  }
}
stage "pretends" {
  command = "exit 137"
  resources { memory = "64MiB" }
  retry { oom = 2 }
}
stage "taken" {
  command = "[ $PLUMB_ATTEMPT = 1 ] || { echo again > taken; exit 0; }; echo begun; probe-daemon 600; sleep 600"
  outputs = { out = "taken" }
  resources { memory = "64MiB" }
}
`)
	p := s.start(dir, "run", "--json", "taken")
	p.says(`"line":"begun"`)
	kill(t, s.contained()[0], false)
	if r := p.wait(); r.code != 0 {
		t.Errorf("a stage that was killed from outside: %v", r)
	}
	got := s.attempts(dir)
	s.want(0, dir, "run", "large")
	for stage, all := range s.attempts(dir) {
		got[stage] = all
	}
	s.want(exitStage, dir, "run", "pretends")
	for stage, all := range s.attempts(dir) {
		got[stage] = all
	}
	want := map[string][]attemptLine{
		"large":    {{"oom", "", 64}, {"ok", "", 128}}, // the shell says how its child ended
		"pretends": {{"exit", "", 64}},
		"taken":    {{"preempted", "SIGKILL", 64}, {"ok", "", 64}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}

// TestFaultPreempted tells the agent to end, as a machine does that is about to be
// taken away: the stage ends in peace and is recorded as preempted, what had finished
// is kept, and the next run goes on from there.
func TestFaultPreempted(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", `
stage "first" {
  command = "echo first > first"
  outputs = { out = "first" }
}
stage "second" {
  inputs  = [stage.first.out]
  grace   = "1s"
  command = "echo begun; probe-daemon 600; sleep 600; cat first > second"
  outputs = { out = "second" }
}
`)
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	if err := syscall.Kill(s.agentPID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := p.wait(); r.code != exitInterrupted {
		t.Errorf("the run: %v", r)
	} else {
		p.says("the run was canceled: the agent was told to end by a signal")
	}
	eventually(t, "nothing of the agent is left", func() bool { return len(s.left()) == 0 })
	want := map[string][]attemptLine{"first": {{"ok", "", 0}}, "second": {{"preempted", "", 0}}}
	got := s.attempts(dir)
	for i := range got["second"] {
		got["second"][i].Signal = "" // what comes before the shell has started anything is lost on it
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	s.writePipeline(dir, `
stage "first" {
  command = "echo first > first"
  outputs = { out = "first" }
}
`)
	if e := finished(t, s.want(0, dir, "run", "--json")); e.Counts.Cached != 1 {
		t.Errorf("what had finished was not kept: %+v", e.Counts)
	}
}
