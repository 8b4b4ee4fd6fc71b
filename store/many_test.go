package store

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

var manyRuns = flag.String("many", "", "measure history over a store of 100,000 runs and 1,000,000 records, made in this directory, or kept there from before")

// fillMany makes runs of a pipeline of ten stages, of which each run does one to ten anew,
// so that there are as many records.
func fillMany(t testing.TB, s *Store, runs, records int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	const stages = 10
	keys := make([]Key, stages)
	fresh := records / runs
	made := 0
	small := mustPut(t, s, []byte("a small output"), false)
	b := s.NewBatch()
	for i := range runs {
		at = at.Add(time.Duration(1+rnd.IntN(300)) * time.Second)
		r := &Run{
			ID: RunID(idBegins(at) + "-" + strconv.FormatInt(int64(1e6+i), 36)[:4]), Project: fmt.Sprint("/home/someone/project", i%10/9), Pipeline: "wine", Status: "succeeded",
			Started: at, Seconds: rnd.Float64() * 100, Version: "1.2.3", Isolation: "container",
			Params: []RunParam{{"lr", strconv.FormatFloat(rnd.Float64(), 'g', 4, 64), "command line"}, {"model", `"small"`, "default"}, {"epochs", strconv.Itoa(rnd.IntN(50)), "default"}},
			Origin: &Origin{User: "someone", Host: Host{Name: "machine", Kernel: "6.1.0", CPU: "a processor", Cores: 8, Memory: 16 << 30}, Git: &Git{Commit: strings.Repeat("ab12", 10), Branch: "main", Checked: true}},
		}
		if rnd.IntN(20) == 0 {
			r.Status = "failed"
		}
		for n := range stages {
			st := StageResult{Name: fmt.Sprint("stage", n), Status: "cached", Image: "sha256:" + strings.Repeat("ab", 32)}
			if n >= stages-fresh {
				made++
				var k Key
				binary.BigEndian.PutUint64(k[:], uint64(made)*0x9E3779B97F4A7C15)
				keys[n], st.Status, st.Seconds = k, "ran", 1
				b.PutRecord(&Record{Key: k, Action: bytesOf(st.Name, 200), Stage: st.Name, Run: r.ID, Created: at, Outputs: []Output{{Name: "o", Path: "o", Artifact: small}}})
			}
			st.Key = keys[n]
			if n == stages-1 {
				st.Metrics = map[string]float64{"acc": rnd.Float64(), "loss": rnd.Float64()}
			}
			r.Stages = append(r.Stages, st)
		}
		b.PutRun(r)
		if i%40 == 39 || i == runs-1 {
			if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
				t.Fatal(err)
			}
			b = s.NewBatch()
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestManyRuns measures what people wait for: the first page, one run, and a filter over
// all. Without -many it does so over little, and only holds the answers.
func TestManyRuns(t *testing.T) {
	dir, runs, records := t.TempDir(), 300, 600
	if *manyRuns != "" {
		dir, runs, records = *manyRuns, 100_000, 1_000_000
	}
	_, err := os.Stat(dir + "/format")
	s := openStore(t, dir, Options{})
	if err != nil {
		began := time.Now()
		fillMany(t, s, runs, records)
		t.Logf("made in %v", time.Since(began))
	}
	const project = "/home/someone/project0"
	last, err := s.LastRun(project)
	if err != nil {
		t.Fatal(err)
	}
	letters := string(last.ID[len(last.ID)-4:])
	for _, m := range []struct {
		name  string
		bound time.Duration
		do    func() (int, error)
		want  int // at least
	}{
		{"first page", 50 * time.Millisecond, func() (int, error) { r, err := s.Runs(RunFilter{Project: project, Limit: 20}); return len(r), err }, 20},
		{"newest run with its stages", 50 * time.Millisecond, func() (int, error) { r, err := s.Run(last.ID); return len(r.Stages), err }, 10},
		{"found by id", 50 * time.Millisecond, func() (int, error) { r, _, err := s.FindRun(project, string(last.ID)); return count(r), err }, 1},
		{"found by its beginning", 50 * time.Millisecond, func() (int, error) {
			r, all, err := s.FindRun(project, string(last.ID[:17]))
			return count(r) + len(all), err
		}, 1},
		{"found by its last letters", 50 * time.Millisecond, func() (int, error) { r, all, err := s.FindRun(project, letters); return count(r) + len(all), err }, 1},
		{"one record", 50 * time.Millisecond, func() (int, error) {
			full, err := s.Run(last.ID)
			if err != nil {
				return 0, err
			}
			n := 0
			for i := range full.Stages {
				rec, _, lerr := s.Lookup(full.Stages[i].Key)
				if err = errors.Join(err, lerr); rec != nil {
					n++
				}
			}
			return n, err
		}, 2},
		{"a filter over all of one project", 2 * time.Second, func() (int, error) { return s.countWhere(RunFilter{Project: project}) }, 1},
		{"a filter over all", 2 * time.Second, func() (int, error) { return s.countWhere(RunFilter{}) }, 1},
		{"a stage that changed, over all", 2 * time.Second, func() (int, error) {
			n := 0
			err := s.Summaries(RunFilter{}, func(sum *RunSummary) (bool, error) {
				k, err := s.StageKey(sum.Table, "stage9")
				if !k.IsZero() {
					n++
				}
				return true, err
			})
			return n, err
		}, runs},
	} {
		best := time.Hour
		for range 3 {
			began := time.Now()
			n, err := m.do()
			if err != nil || n < m.want {
				t.Fatalf("%s: %d, %v", m.name, n, err)
			}
			best = min(best, time.Since(began))
		}
		t.Logf("%-40s %v", m.name, best)
		if *manyRuns != "" && best > m.bound {
			t.Errorf("%s takes %v, and may take %v", m.name, best, m.bound)
		}
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("heap in use %d MiB, from the system %d MiB", mem.HeapInuse>>20, mem.Sys>>20)
}

func count(r *Run) int {
	if r == nil {
		return 0
	}
	return 1
}

func (s *Store) countWhere(f RunFilter) (n int, err error) {
	err = s.Summaries(f, func(sum *RunSummary) (bool, error) {
		if sum.Metrics["stage9.acc"] > 0.9 && sum.Params[0].Name == "lr" {
			n++
		}
		return true, nil
	})
	return n, err
}
