package cmd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/engine"
)

// bigAndSmall makes 8 MiB that are not kept, and reads them twice.
const bigAndSmall = `
param "trees" { default = "1" }
stage "features" {
  command = "mkdir features; dd of=features/big bs=1024 count=16384; echo 1 > features/small"
  outputs = { all = { path = "features/", retain = "none" } }
}
stage "train" {
  inputs  = [stage.features.all]
  command = "wc -c features/big > model; echo ${param.trees} >> model"
  outputs = { model = "model" }
}
stage "stats" {
  inputs  = [stage.features.all]
  command = "cat features/small > stats"
  outputs = { stats = "stats" }
}
`

// onDisk is how many bytes the files of the store's results take, each once.
func (s *site) onDisk() (n int64) {
	s.t.Helper()
	seen := []os.FileInfo{}
	for _, dir := range []string{"blobs", "placed", "tmp"} {
		err := filepath.WalkDir(filepath.Join(s.store, dir), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			for _, other := range seen {
				if os.SameFile(other, info) {
					return nil
				}
			}
			seen = append(seen, info)
			n += info.Size()
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return n
}

// TestNotKept: what is on the disk, what hits, what is made again.
func TestNotKept(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", bigAndSmall)
	const little = 6 << 20 // the image is an archive of the project, which a run keeps
	s.want(0, dir, "run")
	eventually(t, "the bytes are gone", func() bool { return s.onDisk() < little })
	if r := s.want(0, dir, "run"); !strings.Contains(r.err, "nothing to do: 3 stages unchanged") {
		t.Errorf("the second run: %v", r)
	}
	before := s.made(dir)
	s.want(0, dir, "gc", "--keep-age", "0s")
	s.want(0, "", "agent", "stop")
	if r := s.want(0, dir, "plan", "--param", "trees=2"); !strings.Contains(r.out, "features  run      its output all is not kept, and stage train needs it") {
		t.Errorf("plan: %v", r)
	}
	e := finished(t, s.want(0, dir, "run", "--json", "--param", "trees=2"))
	for _, st := range e.Stages {
		if want := map[string]string{"features": "ran", "train": "ran", "stats": "cached"}[st.Name]; st.Status != want {
			t.Errorf("stage %s: %s, want %s", st.Name, st.Status, want)
		}
	}
	if after := s.made(dir); after["features.all"] != before["features.all"] || after["features"] != before["features"] {
		t.Errorf("what was made again differs: %v, %v", before, after)
	}
	eventually(t, "the bytes are gone again", func() bool { return s.onDisk() < little })
	to := filepath.Join(t.TempDir(), "features")
	if r := s.want(exitInvalid, dir, "get", "features.all", "-o", to); !strings.Contains(r.err, "plumb run --keep features makes it again and keeps it") {
		t.Errorf("get: %v", r)
	}
	if r := s.want(0, dir, "show"); !strings.Contains(r.out, "not kept") {
		t.Errorf("show: %v", r)
	}
	s.want(0, dir, "run", "--keep", "features", "features")
	s.want(0, dir, "get", "features.all", "-o", to)
	if fi, err := os.Stat(filepath.Join(to, "big")); err != nil || fi.Size() != 16<<20 {
		t.Errorf("got %v, %v", fi, err)
	}
	var doc engine.ShowDoc
	s.document(&doc, dir, "show", "--json")
	if o := doc.Stages[0].Outputs["all"]; o.Dropped || o.Size < 8<<20 {
		t.Errorf("shown %+v", o)
	}
}

// TestNotKeptAndKilled kills the agent while results are recorded and dropped: no result
// seems damaged afterwards.
func TestNotKeptAndKilled(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", bigAndSmall)
	for round := range 6 {
		trees := "trees=" + strings.Repeat("i", round+1)
		p := s.start(dir, "run", "--json", "--param", trees)
		p.says(`"stage":"train","state":"succeeded"`)
		kill(t, s.agentPID(), false)
		if r := p.wait(); r.code != 0 {
			t.Fatalf("round %d: the client did not go on: %v", round, r)
		}
		r := s.want(0, dir, "run", "--json", "--param", trees)
		if e := finished(t, r); e.Counts.Cached != 3 || strings.Contains(r.out, `"event":"warning"`) {
			t.Errorf("round %d: %+v, %v", round, e.Counts, r)
		}
	}
	s.want(0, dir, "run")
	s.want(0, dir, "gc", "--keep-age", "0s", "--keep-runs", "20")
	if n := s.onDisk(); n > 6<<20 {
		t.Errorf("%d bytes are left", n)
	}
}
