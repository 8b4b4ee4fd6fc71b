package toolbox

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errPipe error = syscall.EPIPE

// A flag that a tool does not have is status 2 and says so, for every tool.
func TestUnknownFlag(t *testing.T) {
	// These take what looks like a flag for text, or for a signal.
	others := []string{"[", "echo", "expr", "false", "true", "test", "printf", "pwd", "sync", "tty", "find", "kill", "env", "timeout"}
	for _, name := range Names() {
		if slices.Contains(others, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var errs bytes.Buffer
			status := Run(t.Context(), &Call{Args: []string{name, "--nosuch"}, Dir: t.TempDir(), Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs})
			if status != statusUsage || !strings.Contains(errs.String(), "unknown op") {
				t.Errorf("status %d: %s", status, errs.String())
			}
		})
	}
}

func TestBadUsage(t *testing.T) {
	bin := links(t)
	for name, c := range map[string]struct {
		script string
		status int
	}{
		"cut without list": {"cut a", 2}, "cut with two": {"cut -f1 -c1 a", 2}, "cut field 0": {"cut -f0 a", 2},
		"tr without sets": {"tr", 2}, "rm of nothing": {"rm", 2}, "mode": {"chmod zzz a", 2}, "find word": {"find . -bogus", 2}, "find end": {"find . -exec echo", 2},
		"sort key": {"sort -k0 a", 2}, "tar way": {"tar -f x", 2}, "grep of nothing": {"grep", 2}, "sed of nothing": {"sed", 2}, "date words": {"date -d yesterday", 2},
		"grep -P": {"grep -P x a", 2}, "sed e": {"sed e", 1}, "shuf without seed": {"shuf", 2}, "env command": {"env nosuchcommand", 127}, "env flag": {"env --nosuch", 125},
		"awk program": {"awk '{'", 2}, "jq filter": {"jq '.['", 3}, "job": {"kill g1", 1}, "xz": {"tar cJf x .", 2}, "sh option": {"sh --nosuch", 2},
	} {
		t.Run(name, func(t *testing.T) {
			if _, status := ours(t, bin, t.TempDir(), c.script); status != c.status {
				t.Errorf("%s: status %d, want %d", c.script, status, c.status)
			}
		})
	}
}

func TestShell(t *testing.T) {
	bin := links(t)
	for name, c := range map[string]struct{ script, want string }{
		"closed reader":        {"yes | head -n 1; echo $?", "y\n0\n"},
		"closed, pipefail":     {"set -o pipefail; yes | head -n 1; echo $?", "y\n141\n"},
		"closed loop of echo":  {"(while :; do echo y; done) | head -n 1", "y\n"},
		"closed loop, printf":  {"while :; do printf 'y\\n'; done | head -n 1; echo after", "y\nafter\n"},
		"closed twice":         {"yes | tr y n | head -n 2", "n\nn\n"},
		"pipefail takes last":  {"set -o pipefail; (exit 3) | (exit 4) | true; echo $?", "4\n"},
		"cd is the shell's":    {"mkdir d; cd d; echo x > f; cat f; (cd ..; ls); ls", "x\nd\nf\n"},
		"tools see cd":         {"mkdir d; cd d; touch g; find . -type f; tar cf t.tar g; tar tf t.tar", "./g\ng\n"},
		"assignments":          {"A=1 env | grep ^A=; env | grep -c ^A= || echo none", "A=1\n0\nnone\n"},
		"export":               {"export B=2; env | grep ^B=; sh -c 'echo $B'", "B=2\n2\n"},
		"external program":     {"/bin/sh -c 'echo $0 $PWD' x | sed 's: .*: dir:'", "x dir\n"},
		"external is piped":    {"seq 3 | /bin/cat | wc -l", "3\n"},
		"script without line":  {"printf 'echo $1 $#\\nexit 4' > s; chmod +x s; ./s a b; echo $?", "a 2\n4\n"},
		"not executable":       {"echo > s; ./s; echo $?", "126\n"},
		"not there":            {"nosuch; echo $?", "127\n"},
		"killed child":         {"/bin/sh -c 'kill -9 $$'; echo $?", "137\n"},
		"background":           {"(sleep 0.05; echo b) & wait; echo a", "b\na\n"},
		"wait has status":      {"(exit 5) & wait $!; echo $?", "5\n"},
		"parallel, own dirs":   {"mkdir x y; (cd x; sleep 0.02; pwd) | sed 's:.*/::' & (cd y; pwd) | sed 's:.*/::'; wait", "y\nx\n"},
		"large through pipes":  {"seq 200000 | sort -rn | tail -n 1; seq 300000 | cat | wc -c", "1\n1988895\n"},
		"help":                 {"sed --help | head -n 1 | cut -c1-10", "usage: sed\n"},
		"errexit in pipeline":  {"set -e; false | cat; echo on; true | false; echo off", "on\n"},
		"xargs runs tools":     {"seq 4 | xargs -n2 -P2 echo | sort", "1 2\n3 4\n"},
		"timeout of a tool":    {"timeout 0.05 sleep 5; echo $?", "124\n"},
		"timeout of a process": {"timeout 0.05 /bin/sleep 5; echo $?", "124\n"},
		"awk in another dir":   {"mkdir d; cd d; echo z > f; awk '{print $1}' f", "z\n"},
		"wc in a loop":         {"for i in 1 2 3; do echo $i | wc -l; done | paste -sd+ -", "1+1+1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := ours(t, bin, t.TempDir(), c.script)
			if diff := cmp.Diff(c.want, out); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.script, diff)
			}
		})
	}
}

// A shell ends at SIGTERM with status 143, and what it started is told.
func TestTerm(t *testing.T) {
	bin := links(t)
	for name, script := range map[string]string{
		"tool":           "echo ready; sleep 30",
		"process":        "echo ready; /bin/sleep 30",
		"pipeline":       "(echo ready; sleep 30) | cat",
		"waiting":        "echo ready; sleep 30 & wait",
		"loop":           "echo ready; while :; do :; done",
		"nested":         "echo ready; sh -c 'sleep 30'",
		"reading":        "echo ready; cat",
		"child is told":  "echo ready; /bin/dash -c 'trap \"exit 0\" TERM; sleep 30 & wait'",
		"child is stiff": "echo ready; /bin/dash -c 'trap \"\" TERM; read x'",
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.Command(filepath.Join(bin, "sh"), "-c", script)
			c.Env = environ(bin, t.TempDir())
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 6)
			if _, err := io.ReadFull(out, buf); err != nil || string(buf) != "ready\n" {
				t.Fatalf("read %q: %v", buf, err)
			}
			start := time.Now()
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			c.Wait() // the status tells
			if code := c.ProcessState.ExitCode(); code != 143 {
				t.Errorf("status %d, want 143", code)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// An archive does not lead out of the directory it is unpacked in.
func TestTarStaysInside(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"dots":     {{Name: "../evil", Typeflag: tar.TypeReg}},
		"inner":    {{Name: "a/../../evil", Typeflag: tar.TypeReg}},
		"absolute": {{Name: "/evil", Typeflag: tar.TypeReg}},
		"link":     {{Name: "l", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"hardlink": {{Name: "h", Linkname: "../secret", Typeflag: tar.TypeLink}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(top, "secret"), []byte("s"), 0o600); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range headers {
				h.Mode = 0o644
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			Run(t.Context(), &Call{Args: []string{"tar", "x"}, Dir: dir, Stdin: &b, Stdout: io.Discard, Stderr: io.Discard})
			entries, err := os.ReadDir(top)
			if err != nil || len(entries) != 2 {
				t.Errorf("outside are %v, %v", entries, err)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "h")); err == nil && string(data) == "s" {
				t.Error("a file from outside was linked in")
			}
		})
	}
}

func BenchmarkPipeline(b *testing.B) {
	bin := links(b)
	dir := b.TempDir()
	for b.Loop() {
		var out bytes.Buffer
		status := Run(context.Background(), &Call{Args: []string{"sh", "-euc", "seq 100 | sort -rn | head -n 3 | sed s/0/x/ | awk '{print $1}' | wc -l"},
			Env: environ(bin, dir), Dir: dir, Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard})
		if status != 0 {
			b.Fatal(status)
		}
	}
}
