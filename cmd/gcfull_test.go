package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/engine"
	"plumb/store"
)

// TestGCOnAFullDisk fills the disk to the last byte: gc and fsck work, gc makes room,
// and what it kept is whole.
func TestGCOnAFullDisk(t *testing.T) {
	s, at := mounted(t, "200m")
	dir := s.project("p", `
param "round" {
  type    = string
  default = ""
}
stage "a" {
  command = "dd of=out bs=1048576 count=4; echo ${param.round} >> out"
  outputs = { out = "out" }
}
`)
	for round := range 3 {
		s.want(0, dir, "run", "--param", fmt.Sprint("round=", round))
	}
	reserve := filepath.Join(s.store, "reserve")
	eventually(t, "the agent takes a reserve", func() bool {
		_, err := os.Stat(reserve)
		return err == nil && store.HasReserve(s.store)
	})
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprint("without an agent: ", stopped), func(t *testing.T) {
			s := s.in(t)
			s.want(0, dir, "run", "--param", "round=kept")
			if stopped {
				s.want(0, "", "agent", "stop")
			}
			s.fill(at, 0)
			would := s.gc(dir, "--keep-count", "1", "--dry-run")
			if !stopped && (would.Records != 3 || would.Bytes < 12<<20) || would.Records > 0 && !strings.HasPrefix(would.Dropped[0].Rule, "count: ") {
				t.Errorf("it would drop %+v", would)
			}
			s.want(0, dir, "fsck")
			did := s.gc(dir, "--keep-count", "1")
			if did.Records != would.Records || did.Bytes != would.Bytes {
				t.Errorf("it dropped %+v and said %+v", did, would)
			}
			if err := os.Remove(filepath.Join(at, "filler")); err != nil {
				t.Fatal(err)
			}
			s.want(0, dir, "run", "--expect-cached", "--param", "round=kept")
			s.want(0, dir, "fsck", "--repair")
			if r := s.want(0, dir, "plan", "--param", "round=0"); !strings.Contains(r.out, "removed by gc on") || !strings.Contains(r.out, "count: only the 1 results") {
				t.Errorf("a later plan does not say why: %v", r)
			}
		})
	}
	s.wantSoundBlobs()
}

func (s *site) gc(dir string, args ...string) (doc engine.GCDoc) {
	s.t.Helper()
	s.document(&doc, dir, append([]string{"gc", "--json"}, args...)...)
	return doc
}

// TestDamagedRecordsEveryVerb has records that cannot be read: every verb says so, and
// what to do; after that all is well again, and the old ones are kept.
func TestDamagedRecordsEveryVerb(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", small)
	first := s.want(0, dir, "run", "--json")
	for _, garbage := range []string{"", "garbage"} {
		s.want(0, "", "agent", "stop")
		tables, err := filepath.Glob(filepath.Join(s.store, "meta", "*.sst"))
		if err != nil || len(tables) == 0 {
			t.Fatalf("there is no table: %v", err)
		}
		if err := os.WriteFile(tables[0], []byte(garbage), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"run"}, {"plan"}, {"why", "a"}, {"runs"}, {"show"}, {"logs"}, {"get", "a.out"}, {"gc"}, {"gc", "--dry-run"}} {
			r := s.want(exitMachine, dir, args...)
			if !strings.Contains(r.err, "damaged") || !strings.Contains(r.err, "plumb fsck --repair") {
				t.Errorf("plumb %q does not say what to do: %v", args, r)
			}
		}
		s.want(exitMachine, dir, "fsck")
		s.want(0, dir, "fsck", "--repair")
		s.want(0, dir, "fsck")
		again := s.want(0, dir, "run", "--json")
		if a, b := outputs(t, first), outputs(t, again); a["a.out"] != b["a.out"] {
			t.Errorf("%v became %v", a, b)
		}
	}
	if old, err := filepath.Glob(filepath.Join(s.store, "damaged", "*meta-*", "*.sst")); err != nil || len(old) == 0 {
		t.Errorf("the damaged records are gone: %v, %v", old, err)
	}
}
