package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is started in the container of a job stays there, sees what is shared, and is
// gone with it.
func TestJob(t *testing.T) {
	shared := t.TempDir()
	var root string
	t.Run("while it is there", func(t *testing.T) {
		j := NewJob(t, JobOptions{Shared: []string{shared}})
		root = j.Root()
		if out, err := j.Command(shared, []string{"WORD=said"}, "sh", "-c", `echo "$WORD" > f; sleep 600 >&- 2>&- & exit 7`).CombinedOutput(); err == nil || err.Error() != "exit status 7" {
			t.Errorf("its exit status: %v\n%s", err, out)
		}
		if b, err := os.ReadFile(filepath.Join(shared, "f")); err != nil || string(b) != "said\n" {
			t.Errorf("it wrote %q, %v", b, err)
		}
		if all, err := j.Processes(); err != nil || len(all) != 1 || !strings.Contains(all[0], "sleep 600") {
			t.Errorf("processes: %q, %v", all, err)
		}
		if _, err := os.Stat(filepath.Join(root, "var/lib")); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(root); root != "" && err == nil {
		t.Error("the container is there after its test")
	}
}
