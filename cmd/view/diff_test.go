package view

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"plumb/engine"
	"plumb/engine/compare"
	"plumb/engine/event"
	"plumb/engine/inventory"
	"plumb/engine/plan"
	tables "plumb/engine/table"
	"plumb/store"
)

// hostile is what people could put into any text, and what must come out as text.
const hostile = `<script>alert("x")</script>`

func text(s string) *string { return &s }

func part(v float64) *float64 { return &v }

// diffDoc has one of everything.
func diffDoc() *engine.DiffDoc {
	at := time.Date(2026, 11, 17, 9, 0, 0, 0, time.UTC)
	reason := func(kind plan.ReasonKind, name, old, new, detail string) engine.Change {
		return engine.Change{Reason: plan.Reason{Kind: kind, Name: name, Old: old, New: new, Detail: detail}}
	}
	csv := reason(plan.ReasonInput, "rows.csv", "file sha256:aa", "file sha256:bb", "")
	csv.Table = &tables.Diff{
		Form: "csv", A: tables.Size{Rows: 10, Bytes: 2000}, B: tables.Size{Rows: 11, Bytes: 2100},
		Columns: tables.Columns{Added: []tables.Column{{Name: "new", Type: "text"}}, Retyped: []tables.Retype{{Name: "price", Old: "integer", New: "double"}}},
		Rows: tables.Rows{
			Added: 1, Changed: 7, Key: "id",
			FirstChanged: []tables.RowChange{{NumberA: 2, NumberB: 2, Key: "17", Cells: []tables.CellChange{{Column: "price", Old: text("20"), New: text("21.5")}, {Column: "note", Old: nil, New: text("")}}}},
			FirstAdded:   []tables.Row{{Number: 11, Cells: []tables.Value{{Column: "id", Text: text("99")}, {Column: "note", Text: text(hostile)}}}},
		},
		Shifts: []tables.ColumnShift{{Name: "price", Measure: "ks", Shift: 0.31, Size: "large", A: tables.Distribution{Mean: part(20)}, B: tables.Distribution{Mean: part(21.25)}}, {Name: "id", Measure: "ks", Size: "none"}},
	}
	code := reason(plan.ReasonInput, "src", "tree sha256:aa", "tree sha256:bb", "")
	code.Entries = []engine.Entry{{Path: "new.py", Change: "added"}, {Path: "train.py", Change: "changed", Diff: []string{"@@ -1,1 +1,1 @@", "-a", "+" + hostile}}}
	image := reason(plan.ReasonImage, "python", "sha256:aa", "sha256:bb", "")
	image.Packages = []inventory.PackageChange{{Change: "changed", Name: "numpy", Old: "1.26", New: "2.0"}, {Change: "added", Name: "scipy", New: "1.13"}}
	command := reason(plan.ReasonCommand, "", `["/bin/sh","-eu","-c","a"]`, `["/bin/sh","-eu","-c","b"]`, "")
	command.Diff = []string{"@@ -1,1 +1,1 @@", "-a", "+b"}
	return &engine.DiffDoc{
		Schema: 1, Equal: 3, Notes: []string{"a note " + hostile},
		A: engine.DiffRun{Run: "20261117-090000-aaaa", Status: "succeeded", Started: at, Seconds: 12, Version: "1.0.0", Origin: &store.Origin{Git: &store.Git{Commit: "0123456789abcdef", Branch: "main"}}},
		B: engine.DiffRun{Run: "20261118-090000-bbbb", Status: "failed", Started: at.AddDate(0, 0, 1), Seconds: 15, Version: "1.0.0", Origin: &store.Origin{Git: &store.Git{Commit: "fedcba9876543210", Branch: hostile, Dirty: true}}},
		Causes: []engine.Difference{
			{Change: reason(plan.ReasonParam, "greeting", `"hello"`, `"`+hostile+`"`, ""), Stages: []string{"a", "b", "c", "d", "e", "f"}, OldFrom: "default", NewFrom: "command line"},
			{Change: csv, Stage: "a", Stages: []string{"a"}},
			{Change: code, Stage: "b", Stages: []string{"b"}},
			{Change: reason(plan.ReasonInput, "b.txt", "a.txt", "b.txt", plan.Renamed), Stages: []string{"b"}},
			{Change: reason(plan.ReasonInput, "c.txt", "", "file sha256:cc", "added"), Stages: []string{"b"}},
			{Change: image, Stages: []string{"a", "b"}, OldFrom: "python:3.12", NewFrom: "python:3.13"},
			{Change: command, Stages: []string{"a"}},
			{Change: reason(plan.ReasonEnv, "TEXT", strings.Repeat("long ", 20), "short", ""), Stages: []string{"a"}},
			{Change: reason(compare.Stages, "g", "", "", "added"), Stages: []string{"g"}},
			{Change: reason(compare.Config, "stage.a.timeout", "", "3m0s", "added"), Stages: []string{"a"}},
		},
		Consequences: []engine.Difference{
			{Change: reason(compare.Output, "model", "file sha256:aa", "file sha256:bb", "changed"), Stage: "a", Stages: []string{"a"}},
			{Change: reason(compare.Output, "log", "file sha256:aa", "file sha256:aa", "equal"), Stage: "a", Stages: []string{"a"}, Equal: true},
			{Change: reason(compare.Duration, "", "2", "3", ""), Stage: "a", Stages: []string{"a"}, Relative: part(0.5)},
			{Change: reason(compare.Metric, "accuracy", "0.93", "0.95", ""), Stage: "a", Stages: []string{"a"}, Relative: part(0.02150537)},
			{Change: reason(compare.Metric, "recall", "", "0.5", "run 20261117-090000-aaaa has none"), Stage: "a", Stages: []string{"a"}},
			{Change: reason(plan.ReasonUpstream, "a b", "", "", "it reads from a, b"), Stage: "evaluate", Stages: []string{"evaluate"}},
			{Change: reason(compare.Duration, "", "2", "2.01", ""), Stage: "evaluate", Stages: []string{"evaluate"}, Relative: part(0.005)},
			{Change: reason(compare.Status, "", "ran", "failed", hostile), Stage: "f", Stages: []string{"f"}},
		},
		Unknown: []engine.Difference{{Change: reason(compare.Unknown, "", "", "", "what it was in run 20261117-090000-aaaa is not kept any more"), Stage: "old", Stages: []string{"old"}}},
		Files:   []engine.FileChange{{Path: "plumb.hcl", Change: "changed", Diff: []string{"@@ -1,1 +1,1 @@", "-# " + hostile, "+# x"}}},
	}
}

// golden compares with a file below testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("PLUMB_UPDATE") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestDiff(t *testing.T) {
	var b bytes.Buffer
	Diff(&b, Style{}, diffDoc(), true)
	golden(t, "diff.txt", b.Bytes())
	var same bytes.Buffer
	Diff(&same, Style{}, &engine.DiffDoc{Same: true, Equal: 2, A: engine.DiffRun{Run: "a", Status: "succeeded"}, B: engine.DiffRun{Run: "b", Status: "succeeded"}}, false)
	if d := cmp.Diff("run a (succeeded) → run b (succeeded)\n\nNothing differs: all 2 stages are the same.\n", same.String()); d != "" {
		t.Error(d)
	}
}

// TestDiffPage holds the page: always the same bytes, nothing from elsewhere, nothing
// that runs, and whatever people wrote as text.
func TestDiffPage(t *testing.T) {
	var b, again bytes.Buffer
	if err := DiffPage(&b, diffDoc()); err != nil {
		t.Fatal(err)
	}
	if err := DiffPage(&again, diffDoc()); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("the same document gave two pages, %v", err)
	}
	golden(t, "diff.html", b.Bytes())
	root, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	elements := map[string]int{}
	var words strings.Builder
	for n := range root.Descendants() {
		switch n.Type {
		case html.TextNode:
			words.WriteString(n.Data)
		case html.ElementNode:
			elements[n.Data]++
			for _, a := range n.Attr {
				if a.Key == "src" || a.Key == "href" || a.Key == "style" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
				}
			}
		}
	}
	for _, name := range []string{"script", "link", "img", "iframe", "object", "base"} {
		if elements[name] > 0 {
			t.Errorf("the page has %d <%s>", elements[name], name)
		}
	}
	if strings.Contains(b.String(), "url(") || strings.Contains(b.String(), "@import") || strings.Contains(b.String(), "://") {
		t.Error("the page names something elsewhere")
	}
	if elements["details"] == 0 || elements["h2"] != 4 {
		t.Errorf("elements %v", elements)
	}
	// In the param, the row, the entry, the branch, the status, the note and the file.
	if n := strings.Count(words.String(), hostile); n != 7 {
		t.Errorf("what people wrote is there %d times, want 7", n)
	}
}

func TestSizesOfTables(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b tables.Size
		want string
	}{
		"equal":                     {tables.Size{Rows: 1, Bytes: 10}, tables.Size{Rows: 1, Bytes: 10}, "1 row, 10 B"},
		"a value":                   {tables.Size{Rows: 178, Bytes: 11288}, tables.Size{Rows: 178, Bytes: 11290}, "178 rows, 11288 → 11290 B"},
		"rows":                      {tables.Size{Rows: 1, Bytes: 10}, tables.Size{Rows: 2, Bytes: 2048}, "1 → 2 rows, 10 B → 2.0 KiB"},
		"a row for others, as long": {tables.Size{Rows: 3, Bytes: 10}, tables.Size{Rows: 2, Bytes: 10}, "3 → 2 rows, 10 B"},
	} {
		if got := sizes(&tables.Diff{A: tt.a, B: tt.b}); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestNumbersSideBySide(t *testing.T) {
	for name, tt := range map[string]struct {
		values []float64
		want   []string
	}{
		"six digits will do":  {[]float64{0.1234567, 1.5}, []string{"0.123457", "1.5"}},
		"the seventh differs": {[]float64{0.9123456, 0.9123457}, []string{"0.9123456", "0.9123457"}},
		"the last bit":        {[]float64{math.Nextafter(0.3, 1), 0.3}, []string{"0.30000000000000004", "0.3"}},
		"equal ones":          {[]float64{1.23456789, 1.23456789, math.NaN(), math.NaN()}, []string{"1.23457", "1.23457", "NaN", "NaN"}},
		"one of many":         {[]float64{1000001, 2, 1000002}, []string{"1000001", "2", "1000002"}},
		"none":                {nil, []string{}},
	} {
		if d := cmp.Diff(tt.want, apart(tt.values...)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	doc := &engine.DiffDoc{Consequences: []engine.Difference{{Change: engine.Change{Reason: plan.Reason{Kind: compare.Metric, Name: "acc", Old: "0.9123456", New: "0.9123457"}}, Stage: "a", Stages: []string{"a"}}}}
	var b bytes.Buffer
	Diff(&b, Style{}, doc, false)
	Compared(&b, Style{}, &engine.CompareDoc{Runs: []engine.RunRow{{}, {}, {}}, Rows: []engine.CompareRow{{Kind: "metric", Name: "acc", Cells: []engine.Cell{{Number: part(0.9123456)}, {Lacking: true}, {Number: part(0.9123457)}}}}})
	metrics(&b, Style{}, []event.Stage{{Name: "a", Metrics: map[string]float64{"acc": 0.9123457}, Previous: map[string]float64{"acc": 0.9123456}}})
	for _, want := range []string{"acc  0.9123456 → 0.9123457", "metric acc  0.9123456  –  0.9123457", "a.acc  0.9123457  was 0.9123456"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in:\n%s", want, b.String())
		}
	}
}

func TestOutcomes(t *testing.T) {
	difference := func(kind plan.ReasonKind, name, oldName string, equal bool) engine.Difference {
		return engine.Difference{Change: engine.Change{Reason: plan.Reason{Kind: kind, Name: name, Old: "1", New: "1.01"}}, Stage: "a", Equal: equal, OldName: oldName}
	}
	for name, tt := range map[string]struct {
		of   []engine.Difference
		want string
	}{
		"outputs with other names": {[]engine.Difference{difference(compare.Output, "rep", "report", true), difference(compare.Output, "new", "old", false)}, "output rep is what report was; output new is not what old was"},
		"nothing but the time":     {[]engine.Difference{difference(compare.Duration, "", "", false)}, "took as long as before"},
		"the time and a metric":    {[]engine.Difference{difference(compare.Duration, "", "", false), difference(compare.Metric, "m", "", false)}, "metric m  1 → 1.01"},
	} {
		var b bytes.Buffer
		Diff(&b, Style{}, &engine.DiffDoc{Consequences: tt.of}, false)
		if !strings.Contains(b.String(), "\n  a  "+tt.want+"\n") {
			t.Errorf("%s: want %q in:\n%s", name, tt.want, b.String())
		}
	}
}
