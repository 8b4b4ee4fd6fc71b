package toolbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// The test binary is a toolbox too, so that its shell finds its tools.
func TestMain(m *testing.M) {
	if status, ok := Main(os.Args); ok {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// links makes a directory with a link to the test binary for each tool.
func links(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if err := os.Symlink(exe, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func environ(path, dir string) []string {
	return []string{"PATH=" + path, "HOME=" + dir, "LC_ALL=C.UTF-8", "TZ=UTC0", "TMPDIR=" + dir}
}

// ours runs a script in this process's shell.
func ours(t testing.TB, bin, dir, script string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	status := Run(ctx, &Call{Args: []string{"sh", "-c", script}, Env: environ(bin, dir), Dir: dir, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	if errs.Len() > 0 {
		t.Logf("standard error: %s", errs.String())
	}
	return out.String(), status
}

// theirs runs a script in dash with the tools of the machine.
func theirs(t testing.TB, dir, script string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "/bin/dash", "-c", script)
	c.Dir, c.Env = dir, environ("/usr/bin:/bin", dir)
	out, err := c.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("running dash: %v", err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// record is how a result stands in the archives: output, and a status that is not 0.
func record(out string, status int) string {
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "[no newline]\n"
	}
	if status != 0 {
		out += fmt.Sprintf("[status %d]\n", status)
	}
	return out
}

// cases calls f for each command of an archive, in a directory with its files.
func cases(t *testing.T, f func(t *testing.T, dir, script string, want []byte) []byte) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range archive.Files {
				if strings.HasPrefix(a.Name, "in/") {
					continue
				}
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					archive.Files[i].Data = f(t, unpack(t, archive), a.Name, a.Data)
				})
			}
			if os.Getenv("PLUMB_UPDATE") != "" {
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// unpack writes the archive's files that begin with "in/".
func unpack(t *testing.T, archive *txtar.Archive) string {
	dir := t.TempDir()
	for _, a := range archive.Files {
		name, ok := strings.CutPrefix(a.Name, "in/")
		if !ok {
			continue
		}
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, a.Data, 0o644), os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRecorded compares with what the tools of Debian gave when it was recorded.
func TestRecorded(t *testing.T) {
	bin := links(t)
	cases(t, func(t *testing.T, dir, script string, want []byte) []byte {
		if os.Getenv("PLUMB_UPDATE") != "" {
			return want
		}
		out, status := ours(t, bin, dir, script)
		if diff := cmp.Diff(string(want), record(out, status)); diff != "" {
			t.Errorf("%s (-recorded +ours):\n%s", script, diff)
		}
		return want
	})
}

// TestOracle compares the records with the tools of this machine, where they are
// Debian's. With PLUMB_UPDATE=1 it makes the records.
func TestOracle(t *testing.T) {
	missing := func(t *testing.T, name string) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed; the tools to compare with are Debian's", name)
	}
	if _, err := os.Stat("/bin/dash"); err != nil {
		missing(t, "dash")
	}
	cases(t, func(t *testing.T, dir, script string, want []byte) []byte {
		for _, name := range []string{"jq", "awk"} {
			if _, err := exec.LookPath(name); strings.Contains(t.Name(), "/"+name+"/") && err != nil {
				missing(t, name)
			}
		}
		out, status := theirs(t, dir, script)
		got := record(out, status)
		if os.Getenv("PLUMB_UPDATE") != "" {
			return []byte(got)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-recorded +this machine's):\n%s", script, diff)
		}
		return want
	})
}

func TestNames(t *testing.T) {
	names := Names()
	if !slices.IsSorted(names) || len(names) < 80 {
		t.Errorf("%d names, sorted: %v", len(names), slices.IsSorted(names))
	}
	for _, name := range names {
		if help := Help(name); !strings.HasPrefix(help, "usage: "+name) {
			t.Errorf("Help(%q) is %q", name, help)
		}
	}
	if _, ok := Main([]string{"/usr/bin/plumb", "run"}); ok {
		t.Error("plumb itself was taken for a tool")
	}
	if _, ok := Main(nil); ok {
		t.Error("nothing was taken for a tool")
	}
}
