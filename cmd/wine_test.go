package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"plumb/engine/apt"
	"plumb/hcl"
)

// TestWine is the README's first command, with a real Python in an image of the
// machine's own mirror: the same lock, image and model in two directories, in two
// stores and in two environments.
func TestWine(t *testing.T) {
	if all, err := apt.MachineSources("/"); err != nil || len(apt.ForSuite(all, "bookworm")) == 0 {
		t.Skip("this machine has no apt sources for bookworm")
	}
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	t.Parallel()
	one, other := newWine(t, "one"), newWine(t, "other")
	committed := one.lock()
	first := one.plumb(one.dir, "run")
	if first.code == exitMachine && strings.Contains(first.err, "has left the mirror") {
		// A security fix has come: the example's own lock is a commit away.
		t.Logf("the lock of the example is old: %s", first.err)
		one.must("lock", "--update", "python")
		committed = nil
		first = one.plumb(one.dir, "run")
	}
	if first.code != 0 || !strings.Contains(first.err, "succeeded: 3 ran") {
		t.Fatalf("plumb run: %v", first)
	}
	if again := one.must("run"); !strings.Contains(again, "nothing to do: 3 stages unchanged") {
		t.Errorf("the second run: %s", again)
	}
	if committed != nil && !bytes.Equal(committed, one.lock()) {
		t.Error("the run changed the lock")
	}

	// Elsewhere, pinned anew, by someone with other habits.
	other.env = append(other.env, "TZ=Pacific/Auckland", "LANG=tr_TR.UTF-8", "PYTHONHASHSEED=7", "SOURCE_DATE_EPOCH=1", "USER=other")
	if err := os.Remove(filepath.Join(other.dir, hcl.LockFile)); err != nil {
		t.Fatal(err)
	}
	other.must("lock")
	if committed == nil || samePins(t, committed, other.lock()) {
		if a, b := one.lock(), other.lock(); !bytes.Equal(a, b) {
			t.Errorf("two locks of the same packages:\n%s\n%s", a, b)
		}
	} else {
		t.Log("the mirror has come out anew since the example's lock; locks are not compared")
	}
	other.must("run")
	a, b := one.model(), other.model()
	if a != b {
		t.Errorf("the model is %s in one store and %s in another", a, b)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, []byte(a)) {
		t.Errorf("the model is %s, and the README does not say so", a)
	}
	var all outcomes
	all.add(places[0], one.outcome())
	t.Run("in", func(t *testing.T) {
		for _, p := range places[1:] {
			if p.wine == never || p.wine == onRequest && os.Getenv("PLUMB_TEST_EVERYWHERE") != "all" {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				one.elsewhere(t, p, &all)
			})
		}
	})
	all.compare(t)
}

// elsewhere makes image and model once more, of the packages that were downloaded.
func (w wine) elsewhere(t *testing.T, p place, all *outcomes) {
	began := time.Now()
	s := p.site(t, "wine")
	s.limit = w.limit
	mine := wine{s, filepath.Join(s.root, filepath.Base(w.dir))}
	const debs = "downloads/debs"
	err := errors.Join(
		os.CopyFS(filepath.Join(s.store, debs), os.DirFS(filepath.Join(w.store, debs))),
		os.CopyFS(mine.dir, os.DirFS(w.dir)), os.RemoveAll(filepath.Join(mine.dir, "models")))
	if err != nil {
		t.Fatal(err)
	}
	s.give(s.root)
	if p.oneID {
		s.want(3, mine.dir, "run", "--locked").wantSays(t, "subordinate ids", "plumb doctor says how")
		return
	}
	mine.must("run", "--locked") // the lock has the image's digest
	all.add(p, mine.outcome())
	t.Logf("%s took %v", p.name, time.Since(began).Round(100*time.Millisecond))
}

// outcome is what its newest run came to.
func (w wine) outcome() outcome {
	w.t.Helper()
	of := outcome{map[string]string{}, map[string]string{"model": w.model()}}
	of.collect(w.site, w.dir)
	return of
}

// wine is a copy of the example in a place of its own.
type wine struct {
	*site
	dir string
}

func newWine(t *testing.T, name string) wine {
	t.Helper()
	s := makeSite(t)
	s.limit = 10 * time.Minute // a real image, on a machine that does other things besides
	w := wine{s, filepath.Join(s.root, name)}
	if err := os.CopyFS(w.dir, os.DirFS("../examples/wine")); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"models", "report.txt"} { // by whoever tried the example before
		if err := os.RemoveAll(filepath.Join(w.dir, made)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w wine) must(args ...string) string {
	w.t.Helper()
	r := w.plumb(w.dir, args...)
	if r.code != 0 {
		w.t.Fatalf("plumb %v: %v", args, r)
	}
	return r.err + r.out
}

func (w wine) lock() []byte {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, hcl.LockFile))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// model is the digest of the model that the newest run made.
func (w wine) model() string {
	w.t.Helper()
	var doc struct{ Digest string }
	if err := json.Unmarshal([]byte(w.plumb(w.dir, "--json", "get", "train.model", "-o", filepath.Join(w.root, "model")).out), &doc); err != nil {
		w.t.Fatal(err)
	}
	return doc.Digest
}

// packageLine is also the date of the archive, which is that of the files that an image
// has by being made: an archive comes out anew though none of these packages did.
var packageLine = regexp.MustCompile(`(?m)^package .*$|\bdate = "[^"]*"`)

// samePins says whether two locks are of the same packages, of an archive of the same day.
func samePins(t *testing.T, a, b []byte) bool {
	t.Helper()
	pins := func(lock []byte) string { return strings.Join(packageLine.FindAllString(string(lock), -1), "\n") }
	if pins(a) == "" {
		t.Error("the lock has no packages")
	}
	return pins(a) == pins(b)
}
