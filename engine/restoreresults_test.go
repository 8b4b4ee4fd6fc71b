package engine

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

// Which results are not kept any more is said, and what a limit of size took is not called
// lost.
func TestRestoreAfterALimitOfSize(t *testing.T) {
	r := newRig(t, `
stage "a" {
  inputs  = ["in.txt"]
  command = ["big", "a.bin", "x"]
  outputs = { out = "a.bin" }
}
stage "b" {
  command = ["write", "b.txt", "y"]
  outputs = { out = "b.txt" }
}
`)
	r.day = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	r.write("in.txt", "data")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, _, err := r.restore(func(*RestoreRequest) {})
	if err != nil || len(doc.Reruns) != 0 {
		t.Fatalf("%+v, %v", doc, err)
	}
	r.day = r.day.AddDate(0, 0, 10)
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 1, KeepSize: 1}); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, _, err := r.restore(func(*RestoreRequest) {}); !errors.As(err, &e) || e.Kind != Machine || !strings.Contains(e.Message, "in.txt (input): gc dropped it on 2026-11-11 (size: only 1 B are kept)") {
		t.Fatalf("the error is %v", err)
	}
	r.write("again/in.txt", "data") // which brings it back, and no result
	sc, err := r.scanners.of(r.store, r.dir)
	if err != nil {
		t.Fatal(err)
	}
	b := r.store.NewBatch()
	for _, path := range []string{"again/in.txt", "image"} {
		if _, err := sc.IngestInto(t.Context(), path, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.store.Commit(t.Context(), b), b.Close()); err != nil {
		t.Fatal(err)
	}
	doc, _, err = r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	const why = "its result was removed by gc on 2026-11-11 (size: what was used later fills the 1 B that are kept)"
	if diff := cmp.Diff([]Rerun{{"a", why}}, doc.Reruns); diff != "" {
		t.Errorf("to run again (-want +got)\n%s", diff)
	}
	status, err := r.again(doc)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran", "b": "cached"})
}

// What fsck found to be lost is called that.
func TestRestoreOfWhatFsckFoundLost(t *testing.T) {
	r := newMonth(t)
	text := strings.Repeat("lost\n", 5000)
	r.write("image/blobs/layer", text)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	path, ok := r.store.BlobFile(store.Artifact{Kind: store.KindFile, Digest: store.Sum([]byte(text)), Size: int64(len(text))})
	if !ok {
		t.Fatal("it is in no file")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, repair := range []bool{false, true} {
		rep, err := r.store.Fsck(t.Context(), store.FsckOptions{Repair: repair})
		if err != nil || len(rep.Findings) != 1 || !strings.HasPrefix(rep.Findings[0].Object, `image "image" of run `) {
			t.Errorf("repair %v: %+v, %v", repair, rep, err)
		}
	}
	var e *Error
	if _, _, err := r.restore(func(*RestoreRequest) {}); !errors.As(err, &e) || e.Kind != Machine || !strings.Contains(e.Message, "image (image): it is lost, as fsck found on ") {
		t.Errorf("the error is %v", err)
	}
}

// A run that only looks takes no archive in, and does not say that it kept it.
func TestRestoreOfARunThatOnlyLooked(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.write("image/extra", "which is of no image")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.ExpectCached = true }); err != nil {
		t.Fatal(err)
	}
	doc, told, err := r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Lacking) != 1 || doc.Lacking[0].Path != "image" || !slices.ContainsFunc(told, func(s string) bool {
		return strings.Contains(s, "image, which image x is made of, was not kept by a run that only looked")
	}) {
		t.Errorf("lacking %+v, told %q", doc.Lacking, told)
	}
	if rep, err := r.store.Fsck(t.Context(), store.FsckOptions{}); err != nil || !rep.OK {
		t.Errorf("%+v, %v", rep, err)
	}
}
