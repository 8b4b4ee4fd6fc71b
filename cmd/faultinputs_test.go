package cmd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFaultInputsStandStill edits, replaces, deletes and adds files of the project
// while a stage reads them, and before another one begins that will: nothing of that
// gets into the run. The next run sees it all.
func TestFaultInputsStandStill(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", `
source "data" { path = "data" }
source "large" { path = "large" }
stage "first" {
  inputs  = [source.data, source.large, "alone"]
  command = <<-EOT
    cat data/* alone > before; sha256sum large >> before
    echo begun
    sleep 2
    cat data/* alone > out; sha256sum large >> out
    [ "$(cat before)" = "$(cat out)" ]
  EOT
  outputs = { out = "out" }
}
stage "second" {
  inputs  = [stage.first.out, source.data, "alone", "late"]
  command = "cat data/* alone late > out2"
  outputs = { out = "out2" }
}
`)
	large := strings.Repeat("large", 1<<20)
	files := map[string]string{
		"data/edited": "edited\n", "data/in-place": "in place\n", "data/replaced": "replaced\n", "data/deleted": "deleted\n",
		"data/cut": "cut\n", "alone": "alone\n", "late": "late\n", "large": large,
	}
	for name, text := range files {
		s.put(dir, name, text)
	}
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	change := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	f, err := os.OpenFile(at("data/in-place"), os.O_RDWR, 0)
	change(err)
	_, err = f.WriteAt([]byte("IN PLACE"), 0)
	change(errors.Join(err, f.Close()))
	fi, err := os.Stat(at("data/edited"))
	change(err)
	change(os.WriteFile(at("data/edited"), []byte("EDITED\n"), 0o644))
	change(os.Chtimes(at("data/edited"), fi.ModTime(), fi.ModTime())) // as if nothing had been
	change(os.WriteFile(at("new"), []byte("REPLACED\n"), 0o644))
	change(os.Rename(at("new"), at("data/replaced")))
	change(os.Remove(at("data/deleted")))
	change(os.Truncate(at("data/cut"), 0))
	change(os.WriteFile(at("data/added"), []byte("ADDED\n"), 0o644))
	change(os.RemoveAll(at("alone")))
	change(os.Mkdir(at("alone"), 0o755))
	change(os.WriteFile(at("late"), []byte("LATE\n"), 0o644))
	change(os.WriteFile(at("large"), []byte(large[1:]), 0o644))
	r := p.wait()
	if r.code != 0 {
		t.Fatalf("the run: %v", r)
	}
	got := map[string]string{}
	for _, st := range finished(t, r).Stages {
		got[st.Name] = s.want(0, dir, "get", st.Outputs["out"].Digest.String(), "-o", "-").out
	}
	tree := "cut\ndeleted\nedited\nin place\nreplaced\n"
	if !strings.HasPrefix(got["first"], tree+"alone\n") || !strings.HasSuffix(got["first"], "  large\n") {
		t.Errorf("the first stage read %q", got["first"])
	}
	if diff := cmp.Diff(tree+"alone\nlate\n", got["second"]); diff != "" {
		t.Errorf("the second stage read (-want +got):\n%s", diff)
	}
	change(os.RemoveAll(at("alone")))
	change(os.WriteFile(at("alone"), []byte("alone\n"), 0o644))
	time.Sleep(20 * time.Millisecond) // older than its hash
	for _, st := range finished(t, s.want(0, dir, "run", "--json")).Stages {
		if st.Status != "ran" {
			t.Errorf("the next run took stage %s for unchanged", st.Name)
		}
	}
	if diff := cmp.Diff("ADDED\nEDITED\nIN PLACE\nREPLACED\nalone\nLATE\n", s.want(0, dir, "get", "second.out", "-o", "-").out); diff != "" {
		t.Errorf("the next run read (-want +got):\n%s", diff)
	}
}

// put writes a file of a project.
func (s *site) put(dir, name, text string) {
	s.t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}
