package engine

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"plumb/engine/event"
)

// A run is found by its id, or the beginning of it, from another project, and when its own
// is gone; by nothing else that names it at home.
func TestRunsOfOtherProjects(t *testing.T) {
	r := newMonth(t)
	r.day = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Annotate(t.Context(), AnnotateRequest{Dir: r.dir, Run: "latest", Tags: []string{"v1"}}); err != nil {
		t.Fatal(err)
	}
	project := contents(t, r.dir)
	home, elsewhere := r.dir, t.TempDir()
	id := string(first.ID)
	place := Project{Dir: elsewhere}

	gitIn(t, elsewhere, "init", "-q")
	_, err = r.Restore(t.Context(), RestoreRequest{Dir: elsewhere, Run: id, InPlace: true}, func(event.Event) {})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, "is of the project "+`"`+home+`"`) {
		t.Errorf("in place of another project: %v", err)
	}
	if err := os.RemoveAll(home); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{id, id[:8], id[:len(id)-1]} {
		doc, _, err := r.restore(func(q *RestoreRequest) { q.Dir, q.Run = elsewhere, name })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := contents(t, doc.To)["code/train.py"]; got != project["code/train.py"] {
			t.Errorf("%s: code/train.py is %q", name, got)
		}
	}
	if doc, err := r.Show(t.Context(), ShowRequest{Dir: elsewhere, Run: id}); err != nil || doc.ID != first.ID {
		t.Errorf("show: %v", err)
	}
	if doc, err := r.Lineage(t.Context(), LineageRequest{Request: Request{Project: place}, Name: id}); err != nil || doc.Run == nil || doc.Run.ID != first.ID {
		t.Errorf("lineage: %v", err)
	}
	if _, err := r.Diff(t.Context(), DiffRequest{Request: Request{Project: place}, A: id, B: id}); err != nil {
		t.Errorf("diff: %v", err)
	}
	pin := true
	if doc, err := r.Annotate(t.Context(), AnnotateRequest{Dir: elsewhere, Run: id, Pinned: &pin}); err != nil || doc.Run != first.ID || !doc.Pinned {
		t.Errorf("pin: %v", err)
	}
	for _, name := range []string{id[len(id)-4:], "v1", "latest", ""} {
		if _, err := r.Show(t.Context(), ShowRequest{Dir: elsewhere, Run: name}); !errors.As(err, &e) || e.Kind != Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}

	second := *first
	second.ID, second.Project = first.ID+"b", "/another"
	if err := r.store.PutRun(&second); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Show(t.Context(), ShowRequest{Dir: elsewhere, Run: id[:8]}); !errors.As(err, &e) || !strings.Contains(e.Message, "several runs of other projects") || e.Hint != "name one of: "+string(second.ID)+", "+id {
		t.Errorf("an ambiguous one: %v", err)
	}
	if doc, err := r.Show(t.Context(), ShowRequest{Dir: elsewhere, Run: id}); err != nil || doc.ID != first.ID {
		t.Errorf("one whose id another begins with: %v", err)
	}
}

// A run that gc dropped is told from one that never was.
func TestRunThatGCDropped(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	r := newMonth(t)
	r.day = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.day = r.day.AddDate(0, 2, 0)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.day = r.day.AddDate(0, 2, 0)
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 1}); err != nil {
		t.Fatal(err)
	}
	const says = " is not kept any more: gc dropped it on 2027-03-01"
	var e *Error
	for _, name := range []string{string(first.ID), string(first.ID[:15])} {
		for _, dir := range []string{r.dir, t.TempDir()} {
			_, err := r.Show(t.Context(), ShowRequest{Dir: dir, Run: name})
			if !errors.As(err, &e) || e.Kind != Invalid || e.Message != "run "+string(first.ID)+says || !strings.Contains(e.Hint, "plumb pin") {
				t.Errorf("show %s: %v", name, err)
			}
		}
		if _, err := r.Lineage(t.Context(), LineageRequest{Request: Request{Project: Project{Dir: r.dir}}, Name: name}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("lineage %s: %v", name, err)
		}
	}
	for _, name := range []string{"20261101-090001-aaaa", "20261101"} {
		if _, err := r.Show(t.Context(), ShowRequest{Dir: r.dir, Run: name}); !errors.As(err, &e) || strings.Contains(e.Message, "gc") {
			t.Errorf("show %s: %v", name, err)
		}
	}
}
