package cmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb/engine"
	"plumb/store"
)

// outside is where stages have their effects: it listens on loopback, and counts.
type outside struct {
	addr     string
	mu       sync.Mutex
	began    map[string]int // by key
	over     map[string]int
	at       map[string]int // under way
	together []string       // keys of which two were under way at once
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{addr: l.Addr().String(), began: map[string]int{}, over: map[string]int{}, at: map[string]int{}}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			served.Go(func() { o.serve(c) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return o
}

// serve takes one effect. It is under way until whoever has it says that it is over, or
// is dead.
func (o *outside) serve(c net.Conn) {
	defer c.Close()
	lines := bufio.NewReader(c)
	line, err := lines.ReadString('\n')
	if err != nil {
		return // it came no further than to connect
	}
	key, _, _ := strings.Cut(line, " ")
	o.mu.Lock()
	o.began[key]++
	if o.at[key]++; o.at[key] > 1 {
		o.together = append(o.together, key)
	}
	o.mu.Unlock()
	if _, err := c.Write([]byte("k")); err == nil {
		line, err = lines.ReadString('\n')
		if err == nil && line == "over\n" {
			o.mu.Lock()
			o.over[key]++
			o.mu.Unlock()
			_, err = lines.ReadByte()
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			panic(err)
		}
	}
	o.mu.Lock()
	o.at[key]--
	o.mu.Unlock()
}

// load is a pipeline whose one stage has an effect of so many milliseconds.
func (o *outside) load(ms int, more string) string {
	return fmt.Sprintf(`
param "day" { default = "1" }
stage "load" {
  network = true
  effect  = true
  grace   = "1s"
  command = "echo begun; probe-effect %s %d; echo ${param.day} > receipt"
  outputs = { receipt = "receipt" }
  retry {
    exit      = 5
    preempted = 5
  }
%s
}
`, o.addr, ms, more)
}

func (o *outside) counts(key string) (began, over int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.began[key], o.over[key]
}

// planned is what plumb plan says of stage load.
func (s *site) planned(dir string, args ...string) engine.PlannedStage {
	s.t.Helper()
	var doc engine.PlanDoc
	s.document(&doc, dir, append([]string{"plan", "--json"}, args...)...)
	for _, st := range doc.Stages {
		if st.Name == "load" {
			return st
		}
	}
	s.t.Fatal("no stage load")
	return engine.PlannedStage{}
}

func TestEffectOnce(t *testing.T) {
	s := newSite(t)
	o := newOutside(t)
	dir := s.project("p", o.load(10, ""))
	st := s.planned(dir)
	if !st.Effect || st.Decision != "run" {
		t.Errorf("plan %+v", st)
	}
	if r := s.want(0, dir, "plan"); !strings.Contains(r.out, "(effect) never run before") {
		t.Errorf("plan: %v", r)
	}
	s.want(0, dir, "run")
	if r := s.want(0, dir, "run"); !strings.Contains(r.err, "nothing to do: 1 stage unchanged") {
		t.Errorf("the second run: %v", r)
	}
	s.want(0, dir, "gc", "--keep-runs", "0", "--keep-age", "0s")
	s.want(0, "", "agent", "stop")
	s.want(0, dir, "run")
	if r := s.want(exitStage, dir, "run", "--force", "load"); !strings.Contains(r.err, "its effect is done already, by run ") || !strings.Contains(r.err, "--repeat-effect load") {
		t.Errorf("forced: %v", r)
	}
	if began, over := o.counts(st.Key.Hex()); began != 1 || over != 1 {
		t.Errorf("it began %d times and was over %d times", began, over)
	}
	s.want(0, dir, "run", "--force", "load", "--repeat-effect", "load")
	s.want(0, dir, "run", "--param", "day=2")
	if began, _ := o.counts(st.Key.Hex()); began != 2 {
		t.Errorf("when it was allowed it began %d times", began)
	}
	if r := s.want(exitInvalid, dir, "run", "--repeat-effect", "lod"); !strings.Contains(r.err, `did you mean "load"?`) {
		t.Errorf("a stage that is not there: %v", r)
	}
}

// TestEffectOfTwoClients: both want it at once.
func TestEffectOfTwoClients(t *testing.T) {
	s := newSite(t)
	o := newOutside(t)
	dir := s.project("p", o.load(500, ""))
	key := s.planned(dir).Key.Hex()
	a, b := s.start(dir, "run"), s.start(dir, "run")
	if ra, rb := a.wait(), b.wait(); ra.code != 0 || rb.code != 0 {
		t.Errorf("clients: %v\n%v", ra, rb)
	}
	if began, over := o.counts(key); began != 1 || over != 1 {
		t.Errorf("it began %d times and was over %d times", began, over)
	}
}

// TestFaultEffect kills the agent at random moments of a run. Whatever the moment, the
// effect of a key succeeds at most once, never happens twice at once, and is not tried
// again when it may have begun: the run that meets it says so instead. And when the
// outside saw nothing of it the user can go on.
func TestFaultEffect(t *testing.T) {
	random := chance(t)
	s := newSite(t)
	o := newOutside(t)
	dir := s.project("p", o.load(60, ""))
	began := time.Now()
	s.want(0, dir, "run", "--param", "day=undisturbed")
	s.want(0, "", "agent", "stop")
	took := time.Since(began)
	ends := map[string]int{}
	for round := range 6 * *faults {
		param := fmt.Sprintf("day=r%d", round)
		key := s.planned(dir, "--param", param).Key.Hex()
		after := time.Duration(random.Int64N(int64(took) * 3 / 2))
		p := s.start(dir, "run", "--param", param)
		time.Sleep(after)
		if pid := s.pidFile(); pid != 0 {
			kill(t, pid, random.IntN(2) == 0)
		}
		r := p.wait()
		began, over := o.counts(key)
		how := s.effectEnded(r, dir, param, began)
		t.Logf("round %d: killed after %v: %s; outside it began %d times and was over %d times", round, after, how, began, over)
		ends[how]++
		if began > 1 || over > 1 {
			t.Fatalf("round %d: %v", round, r)
		}
		s.want(0, dir, "run", "--param", param, "--repeat-effect", "load")
		s.want(0, dir, "run", "--param", param)
		if again, _ := o.counts(key); again > began+1 || how == "done" && again != began {
			t.Fatalf("round %d: it began %d times", round, again)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.together) > 0 {
		t.Errorf("two were under way at once: %v", o.together)
	}
	t.Logf("ends: %v", ends)
}

// effectEnded says how a disturbed run ended, and requires that the next one agrees: done,
// or refused when it may have begun.
func (s *site) effectEnded(r result, dir, param string, began int) string {
	s.t.Helper()
	st := s.planned(dir, "--param", param)
	switch r.code {
	case 0:
		if st.Decision != "hit" || began != 1 {
			s.t.Errorf("after a success the plan says %+v, and it began %d times", st, began)
		}
		return "done"
	case exitStage:
		if st.Decision != "refused" || !strings.Contains(r.err, "PLUMB_KEY="+st.Key.Hex()) || !strings.Contains(r.err, "its effect may have happened") {
			s.t.Errorf("refused by %v; the plan says %+v", r, st)
		}
		before := st.Reasons[0]
		if next := s.want(exitStage, dir, "run", "--param", param); !strings.Contains(next.err, "attempt 1 of run "+before.Name) {
			s.t.Errorf("the next run does not name %s: %v", before.Name, next)
		}
		return "refused"
	}
	s.t.Fatalf("the client ended with %v%s", r, s.agentLog())
	return ""
}

// TestKilledIdempotentEffect: it is repeated until it succeeded, and never twice at once.
func TestKilledIdempotentEffect(t *testing.T) {
	s := newSite(t)
	o := newOutside(t)
	dir := s.project("p", o.load(400, "  idempotent = true"))
	st := s.planned(dir)
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	eventually(t, "it began", func() bool { began, _ := o.counts(st.Key.Hex()); return began == 1 })
	kill(t, s.agentPID(), false)
	if r := p.wait(); r.code != 0 {
		t.Fatalf("the client did not go on: %v", r)
	}
	if began, over := o.counts(st.Key.Hex()); began != 2 || over != 1 {
		t.Errorf("it began %d times and was over %d times", began, over)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.together) > 0 {
		t.Error("two were under way at once")
	}
}

// TestPreemptedEffect is ended from outside, which is retried by default elsewhere.
func TestPreemptedEffect(t *testing.T) {
	s := newSite(t)
	o := newOutside(t)
	dir := s.project("p", o.load(60_000, ""))
	key := s.planned(dir).Key.Hex()
	p := s.start(dir, "run", "--json")
	eventually(t, "it began", func() bool { began, _ := o.counts(key); return began == 1 })
	s.killStages()
	r := p.wait()
	e := finished(t, r)
	if r.code != exitStage || e.Stages[0].Error.Class != store.ClassPreempted || e.Stages[0].Attempts != 1 {
		t.Errorf("ended as %+v: %v", e.Stages[0].Error, r)
	}
	refused := finished(t, s.want(exitStage, dir, "run", "--json"))
	if f := refused.Stages[0].Error; f.Class != store.ClassEffect {
		b, err := json.Marshal(f)
		t.Errorf("the next run: %s, %v", b, err)
	}
	if began, _ := o.counts(key); began != 1 {
		t.Errorf("it began %d times", began)
	}
}
