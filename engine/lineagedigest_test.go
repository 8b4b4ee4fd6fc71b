package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"plumb/store"
)

// twins are two texts whose digests begin with the same six digits.
func twins() (a, b string) {
	seen := map[string]string{}
	for i := 0; ; i++ {
		b = fmt.Sprint("twin ", i)
		digits := store.Sum([]byte(b)).Hex()[:fewestDigits]
		if a = seen[digits]; a != "" && strings.Trim(digits, "0123456789") != "" {
			return a, b
		}
		seen[digits] = b
	}
}

func TestLineageOfDigitsOfSeveral(t *testing.T) {
	a, b := twins()
	r := newRig(t, `stage "s" {
  inputs  = ["a.txt", "b.txt"]
  command = ["copy", "a.txt", "o.txt"]
  outputs = { o = "o.txt" }
}
`)
	r.write("a.txt", a)
	r.write("b.txt", b)
	r.mustRun()
	digits := store.Sum([]byte(a)).Hex()
	for _, name := range []string{digits[:6], "sha256:" + digits[:6]} {
		_, err := r.lineage(func(q *LineageRequest) { q.Name = name })
		var e *Error
		if !errors.As(err, &e) || e.Message != fmt.Sprintf("%q is the beginning of several digests", name) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, text := range []string{a, b} {
			if want := store.Sum([]byte(text)).String()[:len("sha256:")+12]; !strings.Contains(e.Hint, want) {
				t.Errorf("%q does not name %s", e.Hint, want)
			}
		}
	}
	for _, name := range []string{digits[:20], "sha256:" + digits[:20], digits} {
		if doc := r.mustLineage(func(q *LineageRequest) { q.Name = name }); doc.Of.Digest.Hex() != digits {
			t.Errorf("%s is taken for %+v", name, doc.Of)
		}
	}
	// What a run is called begins with digits too, and comes first.
	day := string(r.latest())[:8]
	if doc := r.mustLineage(func(q *LineageRequest) { q.Name = day }); doc.Of.Kind != "run" {
		t.Errorf("%s is taken for %+v", day, doc.Of)
	}
	// So does a tag, whatever it looks like, and one that is near is thought of.
	if _, err := r.Annotate(t.Context(), AnnotateRequest{Dir: r.dir, Run: "latest", Tags: []string{"facade.1"}}); err != nil {
		t.Fatal(err)
	}
	if doc := r.mustLineage(func(q *LineageRequest) { q.Name = "facade.1" }); doc.Of.Kind != "run" {
		t.Errorf("the tag is taken for %+v", doc.Of)
	}
	var e *Error
	if _, err := r.lineage(func(q *LineageRequest) { q.Name = "facade.2" }); !errors.As(err, &e) || e.Hint != "did you mean facade.1?" {
		t.Errorf("near a tag: %v", err)
	}
}
