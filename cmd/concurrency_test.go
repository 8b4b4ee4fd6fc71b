package cmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/agent"
)

// TestAtOnce starts clients on a store that is not there yet: one agent comes of
// it, and all succeed.
func TestAtOnce(t *testing.T) {
	for _, clients := range []int{2, 8} {
		t.Run(fmt.Sprint(clients, " clients"), func(t *testing.T) {
			s := newSite(t)
			var dirs []string
			for n := range clients {
				dirs = append(dirs, s.project(fmt.Sprintf("p%d", n), fmt.Sprintf(`
stage "own" {
  command = "sleep 0.1; echo %d > out"
  outputs = { out = "out" }
}
stage "common" {
  command = "sleep 0.1; echo same > out2"
  outputs = { out = "out2" }
}
`, n)))
			}
			var all []*process
			for _, dir := range dirs {
				all = append(all, s.start(dir, "run", "--json"))
			}
			common := map[string]int{}
			for n, p := range all {
				r := p.wait()
				if r.code != 0 {
					t.Fatalf("client %d: %v%s", n, r, s.agentLog())
				}
				for _, st := range finished(t, r).Stages {
					if st.Name == "common" {
						common[st.Status]++
					}
				}
				if got := s.want(0, dirs[n], "get", "own.out", "-o", "-").out; got != fmt.Sprintln(n) {
					t.Errorf("client %d got %q", n, got)
				}
			}
			if diff := cmp.Diff(map[string]int{"ran": 1, "cached": clients - 1}, common); diff != "" {
				t.Errorf("how often the common stage ran (-want +got):\n%s", diff)
			}
			if got := len(s.runs()); got != clients {
				t.Errorf("%d runs of %d clients are recorded", got, clients)
			}
		})
	}
}

// TestSameProjectAtOnce runs one project twice at once: each stage is built once.
func TestSameProjectAtOnce(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", eight)
	first, second := s.start(dir, "run", "--json", "--param", "round=1"), s.start(dir, "run", "--json", "--param", "round=1")
	got := map[string]int{}
	for _, r := range []result{first.wait(), second.wait()} {
		if r.code != 0 {
			t.Fatal(r)
		}
		for _, st := range finished(t, r).Stages {
			got[st.Name+" "+st.Status]++
		}
	}
	want := map[string]int{}
	for _, name := range strings.Split("abcdefgh", "") {
		want[name+" ran"], want[name+" cached"] = 1, 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages of both runs (-want +got):\n%s", diff)
	}
}

// otherBuild is this plumb with another build id.
func (s *site) otherBuild() string {
	s.t.Helper()
	id, err := agent.BuildID(s.exe)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := os.ReadFile(s.exe)
	if err != nil {
		s.t.Fatal(err)
	}
	other := []byte(id)
	other[0] ^= 1
	path := filepath.Join(s.root, "other", "plumb")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(id), other), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestOtherBuild runs by another build while the agent of this one has a run under
// way: that run ends in peace, its agent leaves, and one of the other build takes
// over. Readers of both builds find their way too.
func TestOtherBuild(t *testing.T) {
	s := newSite(t)
	other := s.otherBuild()
	slow := s.project("slow", "stage \"a\" { command = \"echo begun; sleep 1.5\" }\n")
	quick := s.project("quick", "stage \"a\" { command = \"true\" }\n")
	p := s.start(slow, "run")
	p.says("begun")
	old := s.agentPID()
	q := s.startExe(other, quick, "run")
	q.says("waiting for 1 run(s) of another build of plumb")
	third := s.start(slow, "runs") // a reader does not disturb
	if r := third.wait(); r.code != 0 {
		t.Errorf("a reader meanwhile: %v", r)
	}
	if r := p.wait(); r.code != 0 {
		t.Errorf("the run of the old agent: %v", r)
	}
	if r := q.wait(); r.code != 0 {
		t.Errorf("the run of the other build: %v", r)
	}
	if now := s.agentPID(); now == old {
		t.Error("the old agent is still there")
	}
	for n, exe := range []string{s.exe, other, s.exe} {
		if r := s.startExe(exe, quick, "run").wait(); r.code != 0 {
			t.Errorf("change %d of builds: %v", n, r)
		}
	}
}
