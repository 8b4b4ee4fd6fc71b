package funcs

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestFunctionsAreDescribedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All(nil) {
		if seen[f.Name] {
			t.Errorf("function %s is there twice", f.Name)
		}
		seen[f.Name] = true
		if f.Description == "" {
			t.Errorf("function %s has no description", f.Name)
		}
	}
	for _, name := range []string{"env", "timestamp", "uuid", "bcrypt"} {
		if seen[name] {
			t.Errorf("function %s is not deterministic", name)
		}
	}
}

func TestGlob(t *testing.T) {
	files := fstest.MapFS{}
	names := []string{"a.csv", "b.txt", ".hidden.csv", "d/a.csv", "d/e/a.csv", "d/e/b.csv", "d/.git/a.csv", "x1/y.csv", "x2/y.csv"}
	for _, name := range names {
		files[name] = &fstest.MapFile{}
	}
	tests := map[string][]string{
		"*.csv":             {"a.csv"},
		".*.csv":            {".hidden.csv"},
		"**/*.csv":          {"a.csv", "d/a.csv", "d/e/a.csv", "d/e/b.csv", "x1/y.csv", "x2/y.csv"},
		"d/**":              {"d/a.csv", "d/e/a.csv", "d/e/b.csv"},
		"**/e/*":            {"d/e/a.csv", "d/e/b.csv"},
		"x?/y.csv":          {"x1/y.csv", "x2/y.csv"},
		"x[13]/y.csv":       {"x1/y.csv"},
		"{a,b}.{csv,txt}":   {"a.csv", "b.txt"},
		"d/{a,e/{a,b}}.csv": {"d/a.csv", "d/e/a.csv", "d/e/b.csv"},
		"d":                 nil,
		"none/*":            nil,
	}
	for pattern, want := range tests {
		t.Run(pattern, func(t *testing.T) {
			got, err := Glob(files, pattern)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			matched := map[string]bool{}
			for _, name := range got {
				matched[name] = true
			}
			for _, name := range names {
				if Match(pattern, name) != matched[name] {
					t.Errorf("Match(%q) is %v and Glob says %v", name, !matched[name], matched[name])
				}
			}
		})
	}
	if _, err := Glob(files, "[a"); err == nil {
		t.Error("a broken pattern was accepted")
	}
	if _, err := Glob(brokenFS{}, "*"); err == nil {
		t.Error("an unreadable directory was accepted")
	}
}

type brokenFS struct{}

func (brokenFS) Open(string) (fs.File, error) { return nil, fs.ErrPermission }
