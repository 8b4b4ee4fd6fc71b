package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

// A record that names what is not in the project is refused, and nothing is written,
// wherever that would be.
func TestRestoreStaysInTheProject(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n inputs = [\"data/raw.csv\"]\n command = [\"print\", \"x\"]\n}\n")
	r.write("data/raw.csv", "1")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := contents(t, r.dir)
	id := r.lastRun()
	sound, err := r.store.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../evil.csv", "../../evil.csv", "data/../../evil.csv", "/tmp/evil.csv", "..", ".", "./data/raw.csv", "data//raw.csv", "data/raw.csv/", "data/./raw.csv", "", "data/raw.csv\x00"} {
		for _, c := range []struct {
			name   string
			change func(*store.Run)
		}{
			{"place", func(run *store.Run) { run.Places[0].Path = path }},
			{"place that is not kept", func(run *store.Run) { run.Places[0].Path, run.Places[0].Dropped = path, true }},
			{"file of the pipeline", func(run *store.Run) { run.Files[0].Path = path }},
			{"listed file", func(run *store.Run) {
				run.Files = append(run.Files, store.RunFile{Path: path, Role: store.RoleListed})
			}},
		} {
			t.Run(c.name+" "+strings.ReplaceAll(path, "/", "|"), func(t *testing.T) {
				run := *sound
				run.Places, run.Files = slices.Clone(run.Places), slices.Clone(run.Files)
				c.change(&run)
				if err := r.store.PutRun(&run); err != nil {
					t.Fatal(err)
				}
				top := t.TempDir()
				_, _, err = r.restore(func(q *RestoreRequest) { q.To = filepath.Join(top, "a", "b") })
				var e *Error
				if !errors.As(err, &e) || e.Kind != Machine || !strings.Contains(e.Message, "is no path of a project") {
					t.Errorf("the error is %v", err)
				}
				if entries, err := os.ReadDir(top); err != nil || len(entries) > 0 {
					t.Errorf("%v is there, %v", entries, err)
				}
			})
		}
	}
	if diff := cmp.Diff(before, contents(t, r.dir)); diff != "" {
		t.Errorf("the project changed\n%s", diff)
	}
}
