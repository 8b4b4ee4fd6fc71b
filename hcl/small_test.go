package hcl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSize(t *testing.T) {
	tests := map[string]int64{
		"1GiB": 1 << 30, "512MB": 512e6, "1.5GiB": 3 << 29, "1024": 1024, "2 KiB": 2048, "1B": 1,
		"": -1, "GiB": -1, "1G": -1, "-1MB": -1, "0": -1, "0x10": -1, "NaN": -1, "1e30TB": -1, "Inf": -1, "1_0": -1,
	}
	for text, want := range tests {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("size %q is %d, want %d (%v)", text, got, want, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	tests := map[string]time.Duration{"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "10": -1, "": -1, "1d": -1}
	for text, want := range tests {
		got, err := parseDuration(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("duration %q is %s, want %s (%v)", text, got, want, err)
		}
	}
}

func TestMeets(t *testing.T) {
	tests := []struct {
		version, constraint string
		want, bad           bool
	}{
		{"1.2.3", ">= 1.2", true, false},
		{"1.2.3", ">= 1.2, < 1.2.3", false, false},
		{"v1.2.3-rc1", "1.2.3", true, false},
		{"1.9.0", "~> 1.2", true, false},
		{"2.0.0", "~> 1.2", false, false},
		{"1.3.0", "~> 1.2.3", false, false},
		{"1.2.3", "!= 1.2.3", false, false},
		{"1.2.3", "<= 1.2.3", true, false},
		{"1.2.3", "> 1.2.3", false, false},
		{"dev", ">= 9", true, false},
		{"", "= 9", true, false},
		{"1.2.3", "latest", false, true},
		{"1.2.3", ">> 1", false, true},
		{"1.2.3", "", false, true},
		{"1.2.3", "1.2.3.4", false, true},
		{"dev", "x", false, true},
	}
	for _, test := range tests {
		got, err := meets(test.version, test.constraint)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%q meets %q: %v, %v", test.version, test.constraint, got, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"command", "inputs", "outputs", "env", "image"}
	tests := map[string]string{
		"comand": "command", "input": "inputs", "ouptuts": "outputs", "ENV": "env", "evn": "env", "xyz": "", "images": "image", "": "",
	}
	for given, want := range tests {
		if got := suggest(given, known); got != want {
			t.Errorf("for %q: %q, want %q", given, got, want)
		}
	}
}

// TestPathIndex compares the index with comparing every pair.
func TestPathIndex(t *testing.T) {
	paths := []string{"a", "a/b", "ab", "b/c/d", "b/c", "b", "c/d/e", "c/dd", "a/b/c/d", "d"}
	for size := range len(paths) + 1 {
		x := newPathIndex(size)
		for i, p := range paths[:size] {
			x.add(p, i)
		}
		for _, p := range append(paths, "b/c/d/e", "c", "e", "c/d") {
			want := false
			for _, q := range paths[:size] {
				want = want || overlaps(p, q)
			}
			if _, got := x.overlap(p); got != want {
				t.Errorf("%q among %v: %v, want %v", p, paths[:size], got, want)
			}
		}
	}
}

func TestFormatSource(t *testing.T) {
	out, diags := FormatSource(MainFile, []byte("stage \"a\" {\ncommand=\"x\"\n  image   =  image.sh # why\n}\n"))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := "stage \"a\" {\n  command = \"x\"\n  image   = image.sh # why\n}\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("formatted (-want +got):\n%s", diff)
	}
	out, diags = FormatSource(MainFile, []byte("stage \"a\" {\ncommand=\n"))
	if out != nil || !diags.HasErrors() || diags[0].Snippet == "" {
		t.Errorf("broken source gives %q and %s", out, rendered(diags))
	}
}

func TestDiagnosticJSON(t *testing.T) {
	d := Diagnostic{
		Severity: SeverityError, Summary: "Unknown image", Detail: "There is none.", Hint: "did you mean image.x?", Context: `stage "a"`,
		Subject: Range{File: "plumb.hcl", Start: Pos{2, 3, 10}, End: Pos{2, 5, 12}}, Snippet: "  image = image.y",
	}
	out, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"severity":"error","summary":"Unknown image","detail":"There is none.","hint":"did you mean image.x?","context":"stage \"a\"",` +
		`"file":"plumb.hcl","start":{"line":2,"column":3,"byte":10},"end":{"line":2,"column":5,"byte":12},"snippet":"  image = image.y"}`
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	for _, d := range []Diagnostic{d, {Severity: SeverityWarning, Summary: "x"}} {
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Diagnostic
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	}
}

func TestFormatHidesControlCharacters(t *testing.T) {
	d := Diagnostic{Severity: SeverityError, Summary: "x", Snippet: "a\x1b[31mb", Subject: Range{File: "f", Start: Pos{1, 1, 0}, End: Pos{1, 2, 1}}}
	if text := Format(d, false); strings.Contains(text, "\x1b") {
		t.Errorf("an escape sequence came through: %q", text)
	}
}

func TestCheck(t *testing.T) {
	outside := project(t, map[string]string{"secret": "s"})
	dir := project(t, map[string]string{
		"plumb.hcl": `image "sh" { ref = "busybox:1.36" }
image "tar" { archive = "images/none.tar" }
source "here" { path = "data/wine.csv" }
source "none" { path = "data/wnie.csv" }
source "glob" { path = "data/*.csv" }
source "empty" { path = "data/*.parquet" }
stage "a" {
  image   = image.sh
  command = "true"
  inputs  = [source.here, "src", "inner", "out", "way/secret", "tree"]
}
`,
		"data/wine.csv": "", "src/a.py": "", "tree/deep/file": "",
	})
	for name, target := range map[string]string{"inner": "data/wine.csv", "out": filepath.Join(outside, "secret"), "way": outside, "tree/deep/inner": "../../src", "tree/deep/out": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	p, diags := Load(dir, Options{})
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	diags = Check(dir, p)
	want := []expectation{
		{2, "Input does not exist"}, {4, "Input does not exist"}, {6, "Pattern matches nothing"},
		{10, "Link leaves the project"}, {10, "Link leaves the project"}, {10, "Link leaves the project"},
	}
	if diff := cmp.Diff(want, found(diags)); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s%s", diff, rendered(diags))
	}
	if last := diags[len(diags)-1]; !strings.Contains(last.Detail, `"tree/deep/out"`) || last.Context != `stage "a"` {
		t.Errorf("got %s", rendered(diags[len(diags)-1:]))
	}
	if diags[1].Hint != `did you mean "data/wine.csv"?` || !strings.Contains(diags[1].Snippet, "wnie") {
		t.Errorf("got %s", rendered(diags[1:2]))
	}
}

func TestSettledInputs(t *testing.T) {
	tests := []struct {
		name, inputs, command string
		want                  []string // kind:target
	}{
		{"repeated path", `["a", "a/", "./a"]`, "true", []string{"path:a"}},
		{"file below a directory", `["src", "src/a.py", "src/deep/b.py"]`, "true", []string{"path:src"}},
		{"file before its directory", `["src/a.py", "src"]`, "true", []string{"path:src"}},
		{"source wins over path", `["data/x", source.x]`, "true", []string{"source:data/x"}},
		{"file below a source", `[source.dir, "dir/a"]`, "true", []string{"source:dir"}},
		{"names survive", `{ all = "src", one = "src/a.py", two = "src/a.py" }`, "${input.all} ${input.one} ${input.two}", []string{"path:src"}},
		{"stage and output of it", `[stage.p, stage.p.out]`, "true", []string{"output:p/out"}},
		{"similar names", `["src", "src.py", "src-2"]`, "true", []string{"path:src", "path:src.py", "path:src-2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := `image "sh" { ref = "busybox:1.36" }
source "x" { path = "data/x" }
source "dir" { path = "dir/" }
stage "p" {
  image   = image.sh
  command = "true"
  outputs = ["p/out"]
}
stage "s" {
  image   = image.sh
  inputs  = ` + test.inputs + `
  command = "` + test.command + `"
}
`
			p, diags := Evaluate("", []File{{MainFile, []byte(src)}}, Options{})
			if len(diags) > 0 {
				t.Fatalf("diagnostics:\n%s", rendered(diags))
			}
			var got []string
			for _, in := range p.Stages[1].Inputs {
				got = append(got, string(in.Kind)+":"+in.Target)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("inputs (-want +got):\n%s", diff)
			}
			if test.name == "names survive" && p.Stages[1].Command.Args[0].Value != "src src/a.py src/a.py" {
				t.Errorf("command is %q", p.Stages[1].Command.Args[0].Value)
			}
		})
	}
}
