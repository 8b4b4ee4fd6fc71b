package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/engine"
)

// TestDiffOfTablesThatAreNone has the whole answer, and then the error: what asks for
// tables ends with 2, in every form of output.
func TestDiffOfTablesThatAreNone(t *testing.T) {
	s := newSite(t)
	dir := s.pipeline("p", "image \"sh\" { builtin = \"toolbox\" }\nstage \"s\" {\n  image = image.sh\n  inputs = [\"a.csv\", \"b.parquet\"]\n  command = \"cat a.csv > out\"\n  outputs = { out = \"out\" }\n}\n")
	s.put(dir, "a.csv", "x,y\n1,2\n")
	s.put(dir, "b.parquet", "this is text\n")
	s.want(0, dir, "run")
	s.put(dir, "a.csv", "x,y\n1,2,3\n")
	s.want(0, dir, "run")
	r := s.want(2, dir, "diff")
	if !strings.Contains(r.out, "+1,2,3") || !strings.Contains(r.err, "a.csv is not what its name says") || !strings.Contains(r.err, "--no-data") {
		t.Error(r)
	}
	s.put(dir, "b.parquet", "this is other text\n")
	s.put(dir, "a.csv", "x,y\n1,3,3\n")
	s.want(0, dir, "run")
	if r := s.want(2, dir, "diff"); !strings.Contains(r.err, "2 files are not what their names say: a.csv, b.parquet") {
		t.Error(r)
	}
	var doc engine.DiffDoc
	r = s.want(2, dir, "diff", "--json")
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Malformed) != 2 || len(doc.Causes) != 2 {
		t.Errorf("%+v", doc)
	}
	page := filepath.Join(dir, "page.html")
	s.want(2, dir, "diff", "--html", page)
	if _, err := os.Stat(page); err != nil {
		t.Error(err)
	}
	s.want(2, dir, "diff", "--html", page, "--quiet")
	s.want(0, dir, "diff", "--no-data")
}
