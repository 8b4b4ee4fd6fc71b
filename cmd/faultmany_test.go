package cmd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/engine/agent"
	"plumb/store"
)

// TestFaultClients has sixteen clients on one store at once: of a few projects, with a
// few params, so that most keys are wanted by several; others read, collect garbage,
// and stop the agent. All results are right, and no key is built twice.
func TestFaultClients(t *testing.T) {
	const clients, projects, params = 16, 3, 40
	random := chance(t)
	s := newSite(t)
	until := time.Now().Add(time.Duration(*faults) * 3600 * time.Millisecond)
	var dirs []string
	for n := range projects {
		dirs = append(dirs, s.project(fmt.Sprint("p", n), `
param "n" { type = string }
stage "number" {
  command = "echo ${param.n} > number"
  outputs = { out = "number" }
}
stage "twice" {
  inputs  = [stage.number.out]
  command = "cat number number > twice"
  outputs = { out = "twice" }
}
stage "own" {
  inputs  = [stage.twice.out]
  command = "cat twice; echo `+fmt.Sprint(n)+` > own; cat twice >> own"
  outputs = { out = "own" }
}
`))
	}
	var mu sync.Mutex
	ran := map[store.Key]int{} // how often each key was built, by what runs say
	did := map[string]int{}
	var all sync.WaitGroup
	for range clients {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		all.Go(func() {
			for time.Now().Before(until) && !t.Failed() {
				what := s.clientStep(dirs, own, params, func(k store.Key) {
					mu.Lock()
					defer mu.Unlock()
					ran[k]++
				})
				mu.Lock()
				did[what]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("%v; %d keys", did, len(ran))
	for k, n := range ran {
		if n != 1 {
			t.Errorf("the key %s was built %d times", k.Short(), n)
		}
	}
	if did["run"] < clients || len(ran) < 20 {
		t.Errorf("%v runs of %d keys: this tests little", did, len(ran))
	}
	s.wantWhole()
	s.wantSoundBlobs()
}

// clientStep does one thing and checks what comes of it.
func (s *site) clientStep(dirs []string, random *rand.Rand, params int, ran func(store.Key)) string {
	p := random.IntN(len(dirs))
	n := fmt.Sprint(random.IntN(params))
	switch random.IntN(10) {
	case 0:
		if r := s.plumb(dirs[p], "runs", "--json"); r.code != 0 {
			s.t.Errorf("runs: %v", r)
		}
		return "read"
	case 1:
		if r := s.plumb(dirs[p], "plan", "--param", "n="+n); r.code != 0 {
			s.t.Errorf("plan: %v", r)
		}
		return "plan"
	case 2:
		if r := s.plumb("", "gc"); r.code != 0 { // whatever was just made is kept
			s.t.Errorf("gc: %v", r)
		}
		return "gc"
	}
	r := s.plumb(dirs[p], "run", "--json", "--param", "n="+n)
	if r.code != 0 {
		s.t.Errorf("run: %v%s", r, s.agentLog())
		return "run"
	}
	for _, st := range finished(s.t, r).Stages {
		if st.Status == "ran" {
			ran(st.Key)
		}
		if st.Name != "own" {
			continue
		}
		// By digest: what the newest result of the project is depends on the others.
		got := s.plumb(dirs[p], "get", st.Outputs["out"].Digest.String(), "-o", "-")
		if want := fmt.Sprintf("%d\n%s\n%s\n", p, n, n); got.code != 0 || got.out != want {
			s.t.Errorf("run %d of n=%s gave %q, want %q: %v", p, n, got.out, want, got)
		}
	}
	return "run"
}

// TestFaultElection races two agents for one store: one owns it, the other leaves with
// a word for whoever started it.
func TestFaultElection(t *testing.T) {
	s := newSite(t)
	g := global{store: s.store}
	env := &Env{Executable: s.exe, Environ: s.env}
	starts, err := env.starter(g)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 60 * *faults {
		words := make(chan string, 2)
		var procs []*exec.Cmd
		for range 2 {
			cmd, word := s.startAgent(starts)
			procs = append(procs, cmd)
			go func() { words <- word() }()
		}
		got := map[string]int{<-words: 1}
		got[<-words]++
		if diff := cmp.Diff(map[string]int{agent.Ready: 1, agent.Taken: 1}, got); diff != "" {
			t.Fatalf("round %d: what two agents said (-want +got):\n%s", round, diff)
		}
		if round%10 == 0 {
			s.agentPID() // it answers
		}
		// The end of one comes by a signal, by being killed, or in peace.
		for n, cmd := range procs {
			sig := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[(round+n)%2]
			if err := cmd.Process.Signal(sig); err != nil && err != os.ErrProcessDone {
				t.Fatal(err)
			}
		}
		for _, cmd := range procs {
			cmd.Wait() //nolint:errcheck // it was killed
		}
		s.unowned()
	}
}

// unowned waits until nobody has the store: an agent's inner process ends a moment after
// the outer one that was killed.
func (s *site) unowned() {
	s.t.Helper()
	f, err := os.Open(filepath.Join(s.store, "lock"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	eventually(s.t, "nobody has the store", func() bool { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil })
}

// startAgent starts one as a client does, and gives what it will say.
func (s *site) startAgent(starts agent.Starter) (*exec.Cmd, func() string) {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(starts.Args[0], starts.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = starts.Env, "/", []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return cmd, func() string {
		defer r.Close()
		b := make([]byte, 4096)
		n, err := r.Read(b)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(b[:n]))
	}
}

// TestFaultCollected collects garbage, as greedily as can be, beside runs: on a disk
// that is full, and killed on the way. What runs need is never lost.
func TestFaultCollected(t *testing.T) {
	random := chance(t)
	s, at := mounted(t, "256m")
	dir := s.project("p", eight)
	want := outputs(t, s.want(0, dir, "run", "--json", "--param", "round=undisturbed"))
	did := map[string]int{}
	for round := range 6 * *faults {
		param := fmt.Sprint("round=", round/2) // every other run finds what the one before left
		p := s.start(dir, "run", "--json", "--param", param)
		var collectors []*process
		for range 1 + random.IntN(3) {
			time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
			collectors = append(collectors, s.start("", "gc", "--keep-runs", fmt.Sprint(random.IntN(2)), "--keep-age", "0s"))
		}
		switch random.IntN(3) {
		case 0:
			did["agent killed"]++
			if pid := s.pidFile(); pid != 0 {
				kill(t, pid, random.IntN(2) == 0)
			}
		case 1:
			did["collector killed"]++
			collectors[0].signal(syscall.SIGKILL)
		}
		for _, c := range collectors {
			if r := c.wait(); r.code != 0 && r.code != -1 && !strings.Contains(r.err, "the agent ended before it had answered") {
				t.Errorf("round %d: gc: %v", round, r)
			}
		}
		if r := p.wait(); r.code != 0 {
			t.Fatalf("round %d: the run: %v%s", round, r, s.agentLog())
		} else if diff := cmp.Diff(want, outputs(t, r)); diff != "" {
			t.Fatalf("round %d: outputs differ (-want +got):\n%s", round, diff)
		}
		if round%3 == 0 {
			did["disk full"]++
			s.want(0, dir, "run", "--param", param)
			s.collectFull(at)
		}
	}
	t.Logf("%v", did)
	s.want(0, dir, "run", "--param", "round=undisturbed")
	s.wantWhole()
	s.wantSoundBlobs()
}

// collectFull requires that gc works on a full disk, gives space back, and keeps what
// the newest run has.
func (s *site) collectFull(at string) {
	s.t.Helper()
	waste := filepath.Join(at, "filler")
	s.fill(at, 0)
	s.want(0, "", "gc", "--keep-runs", "1", "--keep-age", "0s")
	if err := os.Remove(waste); err != nil {
		s.t.Fatal(err)
	}
	var doc engine.ShowDoc
	s.document(&doc, filepath.Join(s.root, "p"), "show", "--json")
	s.wantOutputs(&doc)
}
