package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

const shownPipeline = `
param "lr" { default = 0.1 }
param "password" {
  type      = string
  sensitive = true
}
source "unkept" {
  path = "unkept.txt"
  keep = false
}
stage "first" {
  inputs  = ["in.txt", source.unkept]
  command = ["copy", "in.txt", "first.txt"]
  outputs = { out = "first.txt" }
}
stage "train" {
  inputs  = [stage.first.out]
  command = ["copy", "first.txt", "train.txt"]
  outputs = { out = "train.txt" }
  env     = { LR = param.lr, PW = param.password }
  seed    = 7
}
`

// What a run records of a stage is shown: all that is in its key, its inputs by digest,
// and the paths that restore brings back. What is sensitive is not.
func TestShowIngredients(t *testing.T) {
	r := newRig(t, shownPipeline)
	r.write("in.txt", "hello")
	r.write("unkept.txt", "not kept")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"password": "hunter2"} }); err != nil {
		t.Fatal(err)
	}
	doc, err := r.Show(t.Context(), ShowRequest{Dir: r.dir, Stage: "train"})
	if err != nil {
		t.Fatal(err)
	}
	hello := store.Sum([]byte("hello"))
	var got []string
	for _, f := range doc.Stages[0].Fields {
		switch f.Kind {
		case "env", "seed", "input", "command":
			got = append(got, strings.TrimSpace(string(f.Kind)+" "+f.Name)+" "+f.Value)
		}
	}
	want := []string{`command ["copy","first.txt","train.txt"]`, "env LR 0.1", "env PW (sensitive)", "input first.txt file " + hello.String(), "seed 7"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]ShownInput{{Path: "first.txt", Kind: store.KindFile, Digest: hello, From: "stage.first.out"}}, doc.Stages[0].Inputs); d != "" || len(doc.Stages) != 1 {
		t.Errorf("inputs (-want +got):\n%s", d)
	}
	kept := map[string]bool{}
	for _, p := range doc.Places {
		if p.Role == store.PlaceInput {
			kept[p.Path+" "+p.Digest.String()] = p.Kept
		}
	}
	if d := cmp.Diff(map[string]bool{"in.txt " + hello.String(): true, "unkept.txt " + store.Sum([]byte("not kept")).String(): false}, kept); d != "" {
		t.Errorf("places (-want +got):\n%s", d)
	}
	var e *Error
	if _, err := r.Show(t.Context(), ShowRequest{Dir: r.dir, Stage: "trian"}); !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Hint, `"train"`) {
		t.Errorf("a stage that it has not: %+v", err)
	}
}
