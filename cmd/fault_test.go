package cmd

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/store"
)

// The fault suite is every test whose name begins with TestFault: things are killed,
// filled up, raced and taken away, and afterwards nothing may be wrong, lost or left.
//
//	go test -run Fault ./...                   a short round of all of it
//	go test -run Fault ./cmd ./store -faults=17   as long as in CI: 200 kills and more
//	go test -run FaultKilled ./cmd -faults=1000 -faults.seed=1
//
// A seed that is not given is made up and printed.
var (
	faults    = flag.Int("faults", 1, "how many times longer than usual the fault tests take")
	faultSeed = flag.Uint64("faults.seed", 0, "where chance begins in the fault tests; 0 for a number of their own, which they print")
)

// chance gives the numbers that a fault test draws, the same for the same seed.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-faults.seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// eight are stages of a few to a few hundred milliseconds, some side by side. Their
// outputs never differ, but each round builds them all: the param is in each key.
const eight = `
param "round" { type = string }
stage "a" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  command = ": ${param.round}; seq 1 2000 > out"
  outputs = { out = "out" }
}
stage "b" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = [stage.a.out]
  command = ": ${param.round}; sleep 0.2; mkdir tree; cp out tree/one; wc -l out > tree/two"
  outputs = { tree = "tree/" }
}
stage "c" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = { from = stage.a.out }
  command = ": ${param.round}; sleep 0.05; sha256sum out > sum"
  outputs = { sum = "sum" }
}
stage "d" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = [stage.a.out]
  command = ": ${param.round}; dd of=big bs=1024 count=3000; echo said"
  outputs = { big = "big" }
}
stage "e" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = [stage.b.tree, stage.c.sum]
  command = ": ${param.round}; cat sum tree/two > both"
  outputs = { both = "both" }
}
stage "f" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = [stage.d.big]
  command = ": ${param.round}; sleep 0.1; sha256sum big > digest; echo said"
  outputs = { digest = "digest" }
}
stage "g" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = [stage.e.both]
  command = ": ${param.round}; cp both last"
  outputs = { last = "last" }
}
stage "h" {
  retry {
    exit    = 9
    backoff = "10ms"
  }
  inputs  = [stage.f.digest, stage.g.last]
  command = ": ${param.round}; cat digest last > all"
  outputs = { all = "all" }
}
`

// TestFaultKilled kills the client, the agent, by either of its two processes, or a
// process of a stage, at random moments. What was killed goes on at the next run, and
// comes to the same.
func TestFaultKilled(t *testing.T) {
	const sites, rounds = 3, 4 // most of a round is waiting
	random := chance(t)
	for n := range sites {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		t.Run(fmt.Sprint("site ", n), func(t *testing.T) { killAtRandom(t, rounds**faults, own) })
	}
}

func killAtRandom(t *testing.T, rounds int, random *rand.Rand) {
	s := newSite(t)
	dir := s.project("p", eight)
	began := time.Now()
	want := outputs(t, s.want(0, dir, "--json", "run", "--param", "round=undisturbed"))
	took := time.Since(began)
	content := s.content(dir, want)
	for round := range rounds {
		s.killRound(dir, round, random, took)
		r := s.want(0, dir, "--json", "run", "--param", fmt.Sprintf("round=%d", round))
		if diff := cmp.Diff(want, outputs(t, r)); diff != "" {
			t.Fatalf("round %d: outputs differ from those of an undisturbed run (-want +got):\n%s", round, diff)
		}
		if round%4 == 1 {
			s.want(0, "", "agent", "stop")
			s.wantNothingLeft()
			s.wantWhole()
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	if diff := cmp.Diff(content, s.content(dir, want)); diff != "" {
		t.Errorf("content differs (-want +got):\n%s", diff)
	}
	s.wantSoundBlobs()
}

// killRound starts a run and kills something of it. A client that was not killed itself
// has to succeed all the same.
func (s *site) killRound(dir string, round int, random *rand.Rand, took time.Duration) {
	s.t.Helper()
	victim := []string{"client", "agent", "agent's inner process", "stage"}[random.IntN(4)]
	after := time.Duration(random.Int64N(int64(took)))
	what := fmt.Sprintf("round %d: the %s after %v", round, victim, after)
	p := s.start(dir, "--json", "run", "--param", fmt.Sprintf("round=%d", round))
	time.Sleep(after)
	switch pid := s.pidFile(); {
	case victim == "client":
		p.signal(syscall.SIGKILL)
		p.wait()
		return
	case victim == "stage":
		if all := s.contained(); len(all) > 0 {
			kill(s.t, all[random.IntN(len(all))], false)
		}
	case pid != 0:
		kill(s.t, pid, victim != "agent")
	}
	if r := p.wait(); r.code != 0 {
		s.t.Fatalf("%s: the client did not go on: %v%s", what, r, s.agentLog())
	}
}

// kill ends a process at once, or its first child. It may be gone already.
func kill(t *testing.T, pid int, child bool) {
	t.Helper()
	if child {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			return
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
}

// outputs are the digests of all outputs of a run, by stage and name.
func outputs(t *testing.T, r result) map[string]store.Digest {
	t.Helper()
	e := finished(t, r)
	if e.Status != "succeeded" {
		t.Fatalf("the run ended as %q: %v", e.Status, r)
	}
	all := map[string]store.Digest{}
	for _, st := range e.Stages {
		for name, o := range st.Outputs {
			all[st.Name+"."+name] = o.Digest
		}
	}
	return all
}

// content gets every output, and gives what the files hold by their paths.
func (s *site) content(dir string, names map[string]store.Digest) map[string]string {
	s.t.Helper()
	to := s.t.TempDir()
	for name := range names {
		s.want(0, dir, "get", name, "-o", filepath.Join(to, name))
	}
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(to), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(to, path))
		all[path] = string(b)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// wantWhole reads the newest runs: none is under way, and all they say of outputs
// can be got.
func (s *site) wantWhole() {
	s.t.Helper()
	const newest = 3
	for n, run := range s.runs() {
		if run.Status == "running" {
			s.t.Errorf("run %s is said to be running", run.ID)
		}
		if n >= newest {
			continue
		}
		var doc engine.ShowDoc
		s.document(&doc, run.Project, "show", string(run.ID), "--json")
		s.wantOutputs(&doc)
	}
}

func (s *site) wantOutputs(doc *engine.ShowDoc) {
	s.t.Helper()
	for _, st := range doc.Stages {
		if st.Status != "ran" && st.Status != "cached" {
			continue
		}
		if len(st.Outputs) == 0 {
			s.t.Errorf("stage %s of run %s has no outputs", st.Name, doc.ID)
		}
		for _, o := range st.Outputs {
			to := filepath.Join(s.t.TempDir(), "artifact")
			s.want(0, doc.Project, "get", o.Digest.String(), "-o", to)
		}
		for _, a := range st.Attempts {
			if !a.Log.IsZero() {
				s.want(0, doc.Project, "logs", string(doc.ID), st.Name)
			}
		}
	}
}

// wantSoundBlobs checks every blob against its name, and that nothing unfinished
// lies about once the agent has ended.
func (s *site) wantSoundBlobs() {
	s.t.Helper()
	s.want(0, "", "agent", "stop")
	err := filepath.WalkDir(filepath.Join(s.store, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if got := store.Sum(b).Hex(); err == nil && !strings.HasPrefix(d.Name(), got) {
			s.t.Errorf("blob %s holds what has the digest %s", path, got)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	for _, dir := range []string{"tmp", "running"} {
		unfinished, err := os.ReadDir(filepath.Join(s.store, dir))
		if err != nil || len(unfinished) > 0 {
			s.t.Errorf("unfinished in %s: %v, %v", dir, unfinished, err)
		}
	}
}

// TestFaultKilledCold kills while the store, the agent and the image are being made.
func TestFaultKilledCold(t *testing.T) {
	for _, after := range []time.Duration{5, 15, 30, 60, 120, 250} {
		after *= time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			s := newSite(t)
			dir := s.project("p", "stage \"a\" {\n command = \"echo a > out\"\n outputs = { out = \"out\" }\n}\n")
			p := s.start(dir, "run")
			time.Sleep(after)
			p.signal(syscall.SIGKILL)
			if pid := s.pidFile(); pid != 0 {
				kill(t, pid, false)
			}
			s.want(0, dir, "run")
			s.wantWhole()
		})
	}
}

// TestFaultAgentKilled kills the agent while two stages run, and looks at once: their
// processes are gone with it, and the client goes on by itself.
func TestFaultAgentKilled(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", `
stage "before" {
  command = "echo once >> out"
  outputs = { out = "out" }
}
stage "long" {
  inputs  = [stage.before.out]
  command = "echo begun; probe-daemon 600; sleep 2; echo long > long"
  outputs = { long = "long" }
}
`)
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	pid := s.pidFile()
	kill(t, pid, false)
	eventually(t, "no process of the killed agent is left", func() bool { return !s.busy(pid) })
	r := p.wait()
	if r.code != 0 || !strings.Contains(r.err, "the agent is gone; starting another") {
		t.Fatalf("the client did not go on: %v", r)
	}
	got := map[string]string{}
	for _, st := range finished(t, r).Stages {
		got[st.Name] = st.Status
	}
	if diff := cmp.Diff(map[string]string{"before": "cached", "long": "ran"}, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	statuses := map[string]int{}
	for _, run := range s.runs() {
		statuses[run.Status]++
	}
	if diff := cmp.Diff(map[string]int{"canceled": 1, "succeeded": 1}, statuses); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

// busy reports whether a process or a container of the agent is there.
func (s *site) busy(pid int) bool { return alive(pid) || s.containers() }

// containers reports whether a process is in a container of the store.
func (s *site) containers() bool { return len(s.contained()) > 0 }

// contained lists the processes in containers of the store.
func (s *site) contained() (pids []int) {
	for _, dir := range s.cgroups() {
		procs, err := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range procs {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // it is gone
			}
			for _, line := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(line); err == nil && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// TestFaultSweptWithoutContainers kills an agent that has containers; the next one has
// nothing to run, and clears away what they left all the same.
func TestFaultSweptWithoutContainers(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", `
stage "quick" {
  command = "echo quick > out"
  outputs = { out = "out" }
}
stage "slow" { command = "echo begun; sleep 600" }
`)
	s.want(0, dir, "run", "quick")
	p := s.start(dir, "run", "--json", "slow")
	p.says(`"line":"begun"`)
	p.signal(syscall.SIGKILL)
	kill(t, s.agentPID(), false)
	p.wait()
	if len(s.left()) == 0 {
		t.Fatal("a killed agent left nothing: this test tests nothing")
	}
	e := finished(t, s.want(0, dir, "--json", "run", "quick"))
	if e.Counts == nil || e.Counts.Cached != 1 {
		t.Errorf("the stage was not cached: %+v", e.Counts)
	}
	if left := s.cgroups(); len(left) > 0 {
		t.Errorf("cgroups left: %v", left)
	}
	kill(t, s.agentPID(), false)
	s.want(0, "", "agent", "stop") // nobody is there: it still clears up
	s.wantNothingLeft()
}
