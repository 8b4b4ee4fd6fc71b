package hcl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// project writes files into a new directory.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadReadsAllFiles(t *testing.T) {
	dir := project(t, map[string]string{
		"plumb.hcl":         "stage \"a\" {\n  image   = image.sh\n  command = \"true\"\n}\n",
		"images.plumb.hcl":  `image "sh" { ref = "busybox:1.36" }`,
		"plumb.lock.hcl":    "version = 1\n",
		"other.hcl":         "not a pipeline {",
		".hidden.plumb.hcl": "not a pipeline {",
	})
	p, diags := Load(dir, Options{})
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	if len(p.Stages) != 1 || p.Stages[0].Image != "sh" || p.Images[0].Range.File != "images.plumb.hcl" {
		t.Errorf("got %+v", p)
	}
}

func TestLoadWithoutPipeline(t *testing.T) {
	_, diags := Load(project(t, map[string]string{"x.plumb.hcl": ""}), Options{})
	if len(diags) != 1 || diags[0].Summary != "No pipeline here" || !strings.Contains(diags[0].Hint, "-C DIR") {
		t.Errorf("got %s", rendered(diags))
	}
}

func TestEvaluateIsDeterministic(t *testing.T) {
	for _, kind := range []string{"valid", "invalid"} {
		var files []File
		for _, name := range pipelineFiles(t, kind) {
			files = append(files, File{filepath.Base(name), readFile(t, name)})
		}
		_, first := Evaluate(filepath.Join(pipelinesDir, "project"), files, Options{})
		for range 5 {
			_, again := Evaluate(filepath.Join(pipelinesDir, "project"), files, Options{})
			if diff := cmp.Diff(first, again); diff != "" {
				t.Fatalf("%s: diagnostics differ between two evaluations:\n%s", kind, diff)
			}
		}
	}
}

func TestFingerprint(t *testing.T) {
	base := func() ([]File, Options) {
		return []File{{"a", []byte("xy")}, {"b", []byte("z")}}, Options{Params: map[string]string{"p": "1"}}
	}
	files, opts := base()
	want := Fingerprint(files, opts)
	if got := Fingerprint([]File{files[1], files[0]}, opts); got != want {
		t.Error("the order of files matters")
	}
	tests := map[string]func(*[]File, *Options){
		"content":             func(f *[]File, _ *Options) { (*f)[0].Data = []byte("xyz") },
		"bytes between files": func(f *[]File, _ *Options) { (*f)[0].Data, (*f)[1].Data = []byte("x"), []byte("yz") },
		"file name":           func(f *[]File, _ *Options) { (*f)[0].Name = "c" },
		"no file":             func(f *[]File, _ *Options) { *f = (*f)[:1] },
		"param":               func(_ *[]File, o *Options) { o.Params["p"] = "2" },
		"param and variable":  func(_ *[]File, o *Options) { o.Params, o.Environ = nil, o.Params },
		"param file":          func(_ *[]File, o *Options) { o.ParamFiles = []File{{"f", nil}} },
		"profile":             func(_ *[]File, o *Options) { o.Profile = "ci" },
		"withheld":            func(_ *[]File, o *Options) { o.Withheld = []string{"p"} },
		"version":             func(_ *[]File, o *Options) { o.Version = "1" },
	}
	seen := map[[32]byte]string{want: "the base"}
	for name, change := range tests {
		files, opts := base()
		change(&files, &opts)
		got := Fingerprint(files, opts)
		if other, taken := seen[got]; taken {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[got] = name
	}
}

func TestReadsUnchanged(t *testing.T) {
	dir := project(t, map[string]string{
		"plumb.hcl": "param \"x\" { default = \"1\" }\nimage \"sh\" { ref = \"busybox:1.36\" }\nstage \"a\" {\n  image = image.sh\n" +
			"  command = \"${file(\"note\")} ${join(\",\", fileset(\"d\", \"*.txt\"))}\"\n}\n",
		"note": "n", "d/a.txt": "", "d/b.csv": "",
	})
	p, diags := Load(dir, Options{})
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	if got := p.Stages[0].Command.Args[0].Value; got != "n a.txt" {
		t.Errorf("command is %q", got)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		name   string
		change func()
		want   bool
	}{
		{"nothing", func() {}, true},
		{"unmatched file", func() { write("d/c.csv", "") }, true},
		{"matched file", func() { write("d/c.txt", "") }, false},
		{"matched file gone", func() { os.Remove(filepath.Join(dir, "d/c.txt")) }, true},
		{"content", func() { write("note", "m") }, false},
	}
	for _, step := range steps {
		step.change()
		if got := ReadsUnchanged(dir, p); got != step.want {
			t.Errorf("after %s: unchanged is %v, want %v", step.name, got, step.want)
		}
	}
}

func TestFunctionsStayInTheProject(t *testing.T) {
	outside := project(t, map[string]string{"secret": "s"})
	dir := project(t, map[string]string{"plumb.hcl": "image \"sh\" { ref = \"busybox:1.36\" }\nstage \"a\" {\n  image = image.sh\n  command = file(\"link\")\n}\n"})
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, diags := Load(dir, Options{})
	if len(diags) != 1 || diags[0].Subject.Start.Line != 4 || !strings.Contains(diags[0].Detail, "link") {
		t.Errorf("got %s", rendered(diags))
	}
}

func FuzzEvaluate(f *testing.F) {
	for _, kind := range []string{"valid", "invalid"} {
		names, err := filepath.Glob(filepath.Join(pipelinesDir, kind, "*.hcl"))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	dir := filepath.Join(pipelinesDir, "project")
	f.Fuzz(func(t *testing.T, src []byte) {
		p, diags := Evaluate(dir, []File{{MainFile, src}}, optionsOf(src))
		if p == nil {
			t.Fatalf("no pipeline, with %s", rendered(diags))
		}
		for _, d := range append(diags, Check(dir, p)...) {
			Format(d, true)
		}
		if diags.HasErrors() {
			return
		}
		back, err := Decode(Encode(p))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, back); diff != "" {
			t.Errorf("decoded pipeline differs:\n%s", diff)
		}
	})
}
