package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/cmd/openlineage"
)

// catalogue is a server of OpenLineage that takes what it is sent.
type catalogue struct {
	*httptest.Server
	mu     sync.Mutex
	events []openlineage.Event
	broken bool
}

func newCatalogue(t *testing.T) *catalogue {
	c := &catalogue{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.broken || r.URL.Path != "/api/v1/lineage" || r.Header.Get("Authorization") != "Bearer hidden-key" {
			http.Error(w, "not so", http.StatusForbidden)
			return
		}
		var e openlineage.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		c.events = append(c.events, e)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(c.Close)
	return c
}

// taken gives the events since the last time, as lines.
func (c *catalogue) taken() (lines, ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		line := e.EventType + " " + e.Job.Name
		for _, d := range e.Inputs {
			line += " <" + filepath.Base(d.Name)
		}
		for _, d := range e.Outputs {
			line += " >" + filepath.Base(d.Name)
		}
		lines, ids = append(lines, line), append(ids, e.Run.ID)
	}
	c.events = nil
	return lines, ids
}

// soon waits for n events.
func (c *catalogue) soon(t *testing.T, n int) []string {
	t.Helper()
	for range 300 {
		c.mu.Lock()
		got := len(c.events)
		c.mu.Unlock()
		if got >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	lines, _ := c.taken()
	return lines
}

// Runs are told of when they end, whatever way they end, and the server's troubles are not
// theirs.
func TestRunsAreInOpenLineage(t *testing.T) {
	s := newSite(t)
	c := newCatalogue(t)
	s.env = append(s.env, "OPENLINEAGE_URL="+c.URL, "OPENLINEAGE_API_KEY=hidden-key")
	const good = `
stage "a" {
  inputs  = ["in.txt"]
  command = "cat in.txt > a.txt"
  outputs = { out = "a.txt" }
}
stage "b" {
  inputs  = [stage.a.out]
  command = "cat a.txt > b.txt"
  outputs = { out = "b.txt" }
}
`
	dir := s.project("p", good)
	if err := os.WriteFile(filepath.Join(dir, "in.txt"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	told := []string{"START p", "START p/a", "COMPLETE p/a <in.txt >a.out", "START p/b", "COMPLETE p/b <a.out >b.out", "COMPLETE p"}
	s.want(0, dir, "run")
	lines, first := c.taken()
	if d := cmp.Diff(told, lines); d != "" {
		t.Errorf("a run (-want +got)\n%s", d)
	}
	s.want(0, dir, "run")
	lines, second := c.taken()
	if d := cmp.Diff(told, lines); d != "" {
		t.Errorf("a run of what is cached (-want +got)\n%s", d)
	}
	if slices.ContainsFunc(second, func(id string) bool { return slices.Contains(first, id) }) {
		t.Errorf("two runs share ids: %q and %q", first, second)
	}
	// Told again later, it is the same run.
	s.want(0, dir, "lineage", "--format", "openlineage", "-o", filepath.Join(s.root, "events"))
	lines, third := c.taken()
	if d := cmp.Diff(second, third[:len(second)]); d != "" {
		t.Errorf("told again, after %q (-want +got)\n%s", lines, d)
	}
	s.writePipeline(dir, strings.Replace(good, "cat a.txt > b.txt", "exit 3", 1))
	s.want(1, dir, "run")
	lines, _ = c.taken()
	if d := cmp.Diff([]string{"START p", "START p/a", "COMPLETE p/a <in.txt >a.out", "START p/b", "FAIL p/b <a.out", "FAIL p"}, lines); d != "" {
		t.Errorf("a run that fails (-want +got)\n%s", d)
	}
	s.writePipeline(dir, good)
	// The agent tells of what nobody waits for.
	s.want(0, dir, "run", "--detach", "--force", "b")
	if d := cmp.Diff(told, c.soon(t, len(told))); d != "" {
		t.Errorf("a detached run (-want +got)\n%s", d)
	}
	c.mu.Lock()
	c.broken = true
	c.mu.Unlock()
	r := s.want(0, dir, "run")
	if text := fmt.Sprint(r); !strings.Contains(text, "the run is not in OpenLineage: sending event 1 of 6 to OpenLineage: the server answers 403 Forbidden: not so") || strings.Contains(text, "hidden-key") {
		t.Errorf("it says %s", text)
	}
	s.want(3, dir, "lineage", "--format", "openlineage")
}

// A restore that is killed leaves no project, and what it leaves the next one removes.
func TestKilledRestore(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", "stage \"a\" {\n  inputs  = [\"data\"]\n  command = \"ls data | wc -l > n\"\n  outputs = { n = \"n\" }\n}\n")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		if err := os.WriteFile(filepath.Join(dir, "data", fmt.Sprint(i)), []byte(strings.Repeat(fmt.Sprint(i), 100_000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.want(0, dir, "run")
	to := filepath.Join(s.root, "to", "restored")
	p := s.start(dir, "restore", "latest", to)
	eventually(t, "a restore under way", func() bool {
		begun, err := filepath.Glob(filepath.Join(s.root, "to", ".plumb-restore-*", "new", ".plumb-*"))
		return err == nil && len(begun) > 0 || isThere(to)
	})
	s.killAgent()
	p.wait()
	if isThere(to) {
		t.Skip("it was done before it could be killed")
	}
	s.want(0, dir, "restore", "latest", to)
	left, err := os.ReadDir(filepath.Join(s.root, "to"))
	if err != nil || len(left) != 1 {
		t.Errorf("there is %v, %v", left, err)
	}
	s.want(0, to, "run", "--expect-cached")
}
