package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/engine/runtime/runtimetest"
)

// A signal that comes before the shell has started anything is lost on it; what it
// starts then ends with the grace.
const endless = `
stage "endless" {
  grace   = "1s"
  command = "echo begun; probe-daemon 600; sleep 600"
  outputs = { out = "out" }
}
`

// Nothing but SIGKILL ends this one.
const stubborn = `
stage "stubborn" {
  grace   = "2s"
  command = "echo begun; while true; do :; done"
}
`

// TestInterrupted signals the client once: the run ends, is recorded as canceled,
// and its containers are gone before the client is.
func TestInterrupted(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		text   string
		least  time.Duration
		most   time.Duration
	}{
		{"SIGINT", syscall.SIGINT, endless, 0, 4 * time.Second},
		{"SIGTERM", syscall.SIGTERM, endless, 0, 4 * time.Second},
		{"SIGINT and a stage that does not listen", syscall.SIGINT, stubborn, 2 * time.Second, 6 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			dir := s.project(strings.ReplaceAll(c.name, " ", "-"), c.text)
			p := s.start(dir, "run", "--json")
			p.says(`"line":"begun"`)
			began := time.Now()
			p.signal(c.signal)
			r := p.wait()
			took := time.Since(began)
			if r.code != exitInterrupted || took < c.least || took > c.most {
				t.Errorf("after %v, want %v to %v and exit %d: %v", took, c.least, c.most, exitInterrupted, r)
			}
			if e := finished(t, r); e.Status != "canceled" || len(e.Stages) != 1 || e.Stages[0].Status != "canceled" {
				t.Errorf("the run says that it ended as %q: %+v", e.Status, e.Stages)
			}
			s.wantLast(dir, "canceled")
			eventually(t, "the containers are gone", func() bool { return !s.containers() })
		})
	}
}

// in is the same site for a part of its test.
func (s *site) in(t *testing.T) *site {
	part := *s
	part.t = t
	return &part
}

// wantLast requires how the newest run of a project ended.
func (s *site) wantLast(dir, status string) {
	s.t.Helper()
	if runs := s.runs(); len(runs) == 0 || runs[0].Project != dir || runs[0].Status != status {
		s.t.Errorf("want a run of %q that is %s, have %+v", dir, status, runs)
	}
}

// TestInterruptedTwice signals the client twice: it ends at once, and the agent
// ends the run by itself.
func TestInterruptedTwice(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", stubborn)
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	p.signal(syscall.SIGINT)
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	p.signal(syscall.SIGINT)
	if r := p.wait(); r.code != -1 || time.Since(began) > time.Second {
		t.Errorf("the second SIGINT did not kill, after %v: %v", time.Since(began), r)
	}
	s.wantSettled(dir, "canceled")
}

// wantSettled waits until the newest run of a project has ended, and nothing runs.
func (s *site) wantSettled(dir, status string) {
	s.t.Helper()
	eventually(s.t, "the run has ended", func() bool { return s.runs()[0].Status != "running" })
	s.wantLast(dir, status)
	eventually(s.t, "the containers are gone", func() bool { return !s.containers() })
}

// TestInterruptedImport signals while an image is taken in; the next run starts
// from there.
func TestInterruptedImport(t *testing.T) {
	s := newSite(t)
	large := runtimetest.Image{Files: []runtimetest.File{{Path: "large", Data: strings.Repeat("plumb", 20<<20), Mode: 0o644}}}
	s.image = filepath.Join(t.TempDir(), "large")
	if err := large.Write(s.image); err != nil {
		t.Fatal(err)
	}
	dir := s.project("p", "stage \"a\" {\n command = \"wc -c /large > out\"\n outputs = { out = \"out\" }\n}\n")
	p := s.start(dir, "run", "--json")
	p.says(`"message":"image sh"`)
	p.signal(syscall.SIGINT)
	if r := p.wait(); r.code != exitInterrupted {
		t.Errorf("want exit %d: %v", exitInterrupted, r)
	}
	s.wantLast(dir, "canceled")
	s.want(0, dir, "run")
	if r := s.want(0, dir, "get", "a.out", "-o", "-"); !strings.HasPrefix(strings.TrimSpace(r.out), "104857600 ") {
		t.Errorf("the image is not whole: %v", r)
	}
}

// TestInterruptedEarly signals before the client can have been answered.
func TestInterruptedEarly(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", endless)
	for _, after := range []time.Duration{0, 3, 6, 9, 12, 15, 20, 30, 50, 80} {
		after *= time.Millisecond
		p := s.start(dir, "run")
		time.Sleep(after)
		began := time.Now()
		p.signal(syscall.SIGINT)
		// Before main the signal kills; later it cancels.
		if r := p.wait(); r.code != exitInterrupted && r.code != -1 || time.Since(began) > 5*time.Second {
			t.Errorf("signalled after %v, ended %v later: %v", after, time.Since(began), r)
		}
	}
	eventually(t, "the containers are gone", func() bool { return !s.containers() })
}

// TestAgentStopped stops the agent under a run: its client is told so.
func TestAgentStopped(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", endless)
	p := s.start(dir, "run")
	p.says("begun")
	s.want(0, "", "agent", "stop")
	s.wantNothingLeft()
	if r := p.wait(); r.code != exitInterrupted || !strings.Contains(r.err, "the run was canceled: the agent was stopped") {
		t.Errorf("want exit %d and the cause: %v", exitInterrupted, r)
	}
	s.wantLast(dir, "canceled")
}

// TestAgentLeaving starts a run while the agent waits for a stage's grace: the run
// is made by the next agent.
func TestAgentLeaving(t *testing.T) {
	s := newSite(t)
	old := s.project("old", stubborn)
	p := s.start(old, "run")
	p.says("begun")
	stop := s.start("", "agent", "stop")
	eventually(t, "the agent takes no new clients", func() bool {
		_, err := os.Stat(filepath.Join(s.store, "agent.sock"))
		return err != nil
	})
	dir := s.project("new", "stage \"a\" { command = \"true\" }\n")
	if r := s.want(0, dir, "run"); !strings.Contains(r.err, "waiting for the process that owns the store") {
		t.Errorf("it does not say what it waits for: %v", r)
	}
	if r := stop.wait(); r.code != 0 {
		t.Errorf("agent stop: %v", r)
	}
	if r := p.wait(); r.code != exitInterrupted {
		t.Errorf("the run of the agent that left, want exit %d: %v", exitInterrupted, r)
	}
}

// TestDetached leaves a run to the agent, which ends it after the client has gone;
// a client that was not detached and is killed takes its run with it.
func TestDetached(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", "stage \"a\" {\n command = \"sleep 1; echo done > out\"\n outputs = { out = \"out\" }\n}\n")
	s.want(0, dir, "run", "--detach")
	if runs := s.runs(); len(runs) > 0 && runs[0].Status != "running" {
		t.Errorf("the run was over before its client: %+v", runs)
	}
	eventually(t, "the run is there", func() bool { return len(s.runs()) > 0 })
	s.wantSettled(dir, "succeeded")

	dir = s.project("q", endless)
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	p.signal(syscall.SIGKILL)
	p.wait()
	s.wantSettled(dir, "canceled")
}

// TestFollowed reads the log of a run of another terminal while it is made.
func TestFollowed(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", "stage \"a\" { command = \"echo first; sleep 1.5; echo second\" }\n")
	p := s.start(dir, "run", "--json")
	p.says(`"line":"first"`)
	follow := s.start(dir, "logs", "-f", "latest")
	follow.says("first")
	select {
	case <-p.ended:
		t.Error("the first line came when the run was over")
	default:
	}
	if r := follow.wait(); r.code != 0 || !strings.Contains(r.out, "second") {
		t.Errorf("the log does not go on to its end: %v", r)
	}
	if r := p.wait(); r.code != 0 {
		t.Error(r)
	}
}
