package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/store"
)

// layered has an output that is a large file, one that is executable, a tree and small
// ones, and stages that read each of them.
const layered = `
stage "make" {
  command = "seq 1 20000 > large; seq 1 9000 > prog; chmod +x prog; mkdir tree; seq 1 30000 > tree/big; echo tiny > tree/small; echo little > little; seq 1 5"
  outputs = { large = "large", prog = "prog", tree = "tree", little = "little" }
}
stage "use" {
  inputs  = [stage.make.large, stage.make.prog, stage.make.tree, stage.make.little]
  command = "cat large prog tree/big tree/small little | sha256sum > sum"
  outputs = { sum = "sum" }
}
`

// spoil flips a bit of a file in the store; with keep, its time stays as it was.
func spoil(t *testing.T, path string, keep bool) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[(len(b)-1)/2] ^= 1
	if err := errors.Join(os.Chmod(path, 0o600), overwrite(path, b), os.Chmod(path, fi.Mode())); err != nil {
		t.Fatal(err)
	}
	if keep {
		if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

// overwrite keeps the inode, which may have other names.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Close())
}

// fsck gives the findings, and requires the exit status.
func (s *site) fsck(code int, args ...string) engine.FsckDoc {
	s.t.Helper()
	r := s.want(code, "", append([]string{"fsck", "--json"}, args...)...)
	return fsckDoc(s.t, r)
}

func (s *site) find(pattern string) string {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.store, pattern))
	names = slices.DeleteFunc(names, func(name string) bool {
		fi, err := os.Lstat(name)
		return err == nil && !fi.Mode().IsRegular()
	})
	if err != nil || len(names) == 0 {
		s.t.Fatalf("no file matches %q: %v", pattern, err)
	}
	return names[len(names)/2]
}

// TestBitFlips flips a bit in a file of each kind in a store, with and without an agent
// that has it open. Fsck says so. The next run gives what it always gave, or says that
// it cannot, and after a repair and a run all is as it was.
func TestBitFlips(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", layered)
	first := s.want(0, dir, "run", "--json")
	want := outputs(t, first)
	blob := func(output string) string {
		hex := want[output].Hex()
		return "blobs/sha256/" + hex[:2] + "/" + hex
	}
	for _, tt := range []struct {
		name, pattern string
		want          store.FindingKind // "" where it need not be found
		stopped       bool              // only without an agent: it has the file open, or holds it in memory
	}{
		{"a file", blob("make.large"), store.FoundDamagedBlob, false},
		{"an executable", blob("make.prog") + ".x", store.FoundDamagedBlob, false},
		{"a table of records", "meta/*.sst", store.FoundDamagedRecords, true},
		{"the list of tables", "meta/MANIFEST", store.FoundDamagedRecords, true},
		{"the registry of keys", "meta/KEYREGISTRY", "", true},
		{"the value log", "meta/*.vlog", "", true},
		{"what was found of tables", "meta/TABLES", "", true},
		{"a cache", "cache/*", store.FoundDamagedCache, true},
		{"a placed file", "placed/*/*", store.FoundDamagedPlaced, false},
		{"the format", "format", store.FoundDamagedFormat, true},
		{"the lock", "lock", "", true},
		{"a layer of an image", "containerd/io.containerd.content.v1.content/blobs/sha256/*", store.FoundDamagedOther, true},
	} {
		for _, keep := range []bool{false, true} {
			if keep && tt.stopped {
				continue // what is read when it is opened is read whole
			}
			t.Run(tt.name+map[bool]string{false: "", true: ", its time as before"}[keep], func(t *testing.T) {
				part := s.in(t)
				if tt.stopped {
					part.want(0, "", "agent", "stop")
				}
				part.damageAndMend(flipping{dir, tt.pattern, tt.want, keep, want})
			})
		}
	}
}

type flipping struct {
	dir, pattern string
	kind         store.FindingKind
	keep         bool
	want         map[string]store.Digest
}

func (s *site) damageAndMend(f flipping) {
	t := s.t
	path := s.find(f.pattern)
	spoil(t, path, f.keep)
	if f.kind != "" {
		doc := s.fsck(exitMachine)
		if !slices.ContainsFunc(doc.Findings, func(x store.Finding) bool { return x.Kind == f.kind }) {
			t.Errorf("fsck finds %+v", doc.Findings)
		}
	}
	// Everything that reads says what is so, or that it cannot.
	for _, name := range []string{"make.large", "make.prog", "make.little", "use.sum"} {
		r := s.plumb(f.dir, "get", name, "-o", "-")
		if got := store.Sum([]byte(r.out)); r.code == 0 && got != f.want[name] {
			t.Errorf("plumb get %s gives %s, which is wrong", name, got)
		} else if r.code != 0 && !strings.Contains(r.err, "plumb run") && !strings.Contains(r.err, "plumb fsck") {
			t.Errorf("plumb get %s: %v", name, r)
		}
	}
	tree := filepath.Join(t.TempDir(), "tree")
	if r := s.plumb(f.dir, "get", "make.tree", "-o", tree); r.code == 0 {
		if b, err := os.ReadFile(filepath.Join(tree, "big")); err != nil || bytes.Count(b, []byte("\n")) != 30000 {
			t.Errorf("plumb get of a tree: %d bytes, %v", len(b), err)
		}
	}
	// A run that goes through gives what it always gave. Forced, it reads all inputs.
	for _, args := range [][]string{{"run", "--json"}, {"run", "--json", "--force", "use"}} {
		if r := s.plumb(f.dir, args...); r.code == 0 {
			if diff := cmp.Diff(f.want, outputs(t, r)); diff != "" {
				t.Errorf("plumb %q gives something else (-want +got):\n%s", args, diff)
			}
		} else if !strings.Contains(r.out+r.err, "plumb fsck") {
			t.Errorf("plumb %q fails and does not say why: %v", args, r)
		}
	}
	s.want(0, "", "agent", "stop")
	doc := s.fsckRepairing()
	for _, x := range doc.Findings {
		if !x.Repaired && x.Kind != store.FoundDamagedOther {
			t.Errorf("not repaired: %+v", x)
		}
		if x.Kind == store.FoundDamagedOther {
			spoil(t, path, false) // the bit back: a runtime lets go of its image itself
		}
	}
	if doc := s.fsck(0); len(doc.Findings) > 0 {
		t.Errorf("after the repair: %+v", doc.Findings)
	}
	r := s.want(0, f.dir, "run", "--json", "--force", "use")
	if diff := cmp.Diff(f.want, outputs(t, r)); diff != "" {
		t.Errorf("after the repair the outputs are others (-want +got):\n%s", diff)
	}
	s.wantWhole()
}

func (s *site) fsckRepairing() engine.FsckDoc {
	s.t.Helper()
	r := s.plumb("", "fsck", "--json", "--repair")
	if r.code != 0 && r.code != exitMachine {
		s.t.Fatalf("plumb fsck --repair: %v", r)
	}
	return fsckDoc(s.t, r)
}

func fsckDoc(t *testing.T, r result) (doc engine.FsckDoc) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
		t.Fatalf("plumb fsck --json: %v: %v", err, r)
	}
	return doc
}
