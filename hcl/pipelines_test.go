package hcl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const pipelinesDir = "../testdata/pipelines"

func pipelineFiles(t *testing.T, kind string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(pipelinesDir, kind, "*.hcl"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s pipelines: %v", kind, err)
	}
	return names
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// expectation is what a comment "# ERROR: summary" asks for on its line.
type expectation struct {
	Line    int
	Summary string
}

// expected reads the ERROR comments; several on one line are separated by "; ".
func expected(src []byte) []expectation {
	var all []expectation
	scanner := bufio.NewScanner(bytes.NewReader(src))
	for line := 1; scanner.Scan(); line++ {
		_, comment, ok := strings.Cut(scanner.Text(), "# ERROR: ")
		if !ok {
			continue
		}
		for summary := range strings.SplitSeq(comment, "; ") {
			all = append(all, expectation{line, summary})
		}
	}
	return all
}

func found(diags Diagnostics) []expectation {
	var all []expectation
	for _, d := range diags {
		all = append(all, expectation{d.Subject.Start.Line, d.Summary})
	}
	return all
}

func sortExpectations(all []expectation) {
	slices.SortFunc(all, func(a, b expectation) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Summary, b.Summary)
	})
}

func TestInvalidPipelines(t *testing.T) {
	for _, name := range pipelineFiles(t, "invalid") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			src := readFile(t, name)
			_, diags := Evaluate(filepath.Join(pipelinesDir, "project"), []File{{MainFile, src}}, Options{Version: "1.2.3"})
			want, got := expected(src), found(diags)
			sortExpectations(want)
			sortExpectations(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
			checkGolden(t, strings.TrimSuffix(name, ".hcl")+".txt", rendered(diags))
		})
	}
}

func rendered(diags Diagnostics) []byte {
	var b bytes.Buffer
	for _, d := range diags {
		fmt.Fprintln(&b, Format(d, false))
	}
	return b.Bytes()
}

func TestValidPipelines(t *testing.T) {
	for _, name := range pipelineFiles(t, "valid") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			files := []File{{MainFile, readFile(t, name)}}
			opts := optionsOf(files[0].Data)
			opts.Version = "1.2.3"
			p, diags := Evaluate(filepath.Join(pipelinesDir, "project"), files, opts)
			if len(diags) > 0 {
				t.Fatalf("diagnostics:\n%s", rendered(diags))
			}
			var out bytes.Buffer
			encoder := json.NewEncoder(&out)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", " ")
			if err := encoder.Encode(p); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, strings.TrimSuffix(name, ".hcl")+".json", withoutRanges(t, out.Bytes()))
			back, err := Decode(Encode(p))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, back); diff != "" {
				t.Errorf("decoded pipeline differs (-want +got):\n%s", diff)
			}
		})
	}
}

// optionsOf reads the comments "# PROFILE: name" and "# PARAM: name=value" of a test file.
func optionsOf(src []byte) Options {
	told := func(what string) string {
		_, rest, _ := bytes.Cut(src, []byte("# "+what+": "))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		return string(line)
	}
	opts := Options{Profile: told("PROFILE")}
	if name, value, ok := strings.Cut(told("PARAM"), "="); ok {
		opts.Params = map[string]string{name: value}
	}
	return opts
}

// withoutRanges makes golden files readable: ranges are shortened to one line.
func withoutRanges(t *testing.T, data []byte) []byte {
	t.Helper()
	var v any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(shorten(v), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func shorten(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if start, ok := v["Start"].(map[string]any); ok {
			end := v["End"].(map[string]any)
			return fmt.Sprintf("%v:%v-%v:%v", start["Line"], start["Column"], end["Line"], end["Column"])
		}
		for key, x := range v {
			if v[key] = shorten(x); v[key] == nil || v[key] == "0:0-0:0" || v[key] == "" || v[key] == false || v[key] == json.Number("0") {
				delete(v, key)
			}
		}
	case []any:
		for i := range v {
			v[i] = shorten(v[i])
		}
	}
	return v
}

// checkGolden compares with a golden file; PLUMB_UPDATE=1 rewrites it.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if os.Getenv("PLUMB_UPDATE") == "1" {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(readFile(t, name)), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", filepath.Base(name), diff)
	}
}
