package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/event"
	"plumb/engine/runtime/runtimetest"
	"plumb/store"
)

// deed is what a stage does that means no good, or leaves behind that is no output.
type deed struct {
	name    string // the line of the manual's table
	command string // in the image of the tool program; OUT is a path of its own
	more    string // of the stage's block
	class   store.Class
	want    []string // in what the stage printed, or in what is said of its failure
	never   string   // in neither
}

// deeds runs all of them in one pipeline, each a stage, and looks at what came of
// each. The manual's table below heading must have the same lines, and those of the
// tests named beside.
func (s *site) deeds(heading string, all []deed, beside ...string) (dir string, run *event.Event) {
	s.t.Helper()
	names := make([]string, 0, len(all)+len(beside))
	var pipeline strings.Builder
	for _, d := range all {
		names = append(names, d.name)
		own := strings.NewReplacer("OUT", "out-"+stageName(d.name)) // outputs of a pipeline are at different places
		fmt.Fprintf(&pipeline, "stage %q {\n  command = %s\n  %s\n}\n", stageName(d.name), quoteHCL(own.Replace(d.command)), own.Replace(d.more))
	}
	if diff := cmp.Diff(runtimetest.TableLines(s.t, "../README.md", heading), append(names, beside...)); diff != "" {
		s.t.Errorf("lines of the manual without a test (-), tests without a line (+):\n%s", diff)
	}
	dir = s.project("p", pipeline.String())
	for name, text := range map[string]string{"in.txt": "input\n", "dir/sub/in.txt": "deep\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	r := s.plumb(dir, "run", "--json", "--keep-going", "--jobs", "4")
	e := finished(s.t, r)
	printed := printedBy(s.t, r)
	for _, d := range all {
		s.t.Run(d.name, func(t *testing.T) { d.check(t, e, printed[stageName(d.name)]) })
	}
	return dir, &e
}

func (d deed) check(t *testing.T, run event.Event, said string) {
	t.Helper()
	for _, st := range run.Stages {
		if st.Name != stageName(d.name) {
			continue
		}
		var class store.Class
		if st.Error != nil {
			class = st.Error.Class
			said += st.Error.Message + "\n" + st.Error.Hint + "\n"
		}
		if class != d.class || (class == "") != (st.Status == "ran") {
			t.Errorf("it is %s of class %q, want %q:\n%s", st.Status, class, d.class, said)
		}
		for _, w := range d.want {
			if !strings.Contains(said, w) {
				t.Errorf("nothing says %q:\n%s", w, said)
			}
		}
		if d.never != "" && strings.Contains(said, d.never) {
			t.Errorf("something says %q:\n%s", d.never, said)
		}
		return
	}
	t.Error("the run has no such stage")
}

func stageName(line string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(line))
}

func quoteHCL(s string) string { return strings.ReplaceAll(strconv.Quote(s), "${", "$${") }

// printedBy is what the stages of a run printed, by their names.
func printedBy(t *testing.T, r result) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(r.out) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.Type == event.StageLog {
			all[e.Stage] += e.Line + "\n"
		}
	}
	return all
}

// TestHostileStages tries what the manual says that comes of it.
func TestHostileStages(t *testing.T) {
	s := newSite(t)
	_, run := s.deeds("### What a stage tries", []deed{
		{name: "forks without end", command: "probe-bomb", more: "timeout = \"1500ms\"\n grace = \"300ms\"\n resources { pids = 40 }", class: store.ClassTimeout, want: []string{"not done after its timeout"}},
		{name: "takes all memory", command: "probe-memory 512; exit 0", more: "resources { memory = \"64MiB\" }", class: store.ClassOOM, want: []string{"the limit was 64 MiB"}},
		{name: "takes all memory by files in /dev/shm", command: "exec probe-fill /dev/shm/x", more: "resources { memory = \"64MiB\" }", class: store.ClassOOM, want: []string{"the limit was 64 MiB"}},
		{name: "ignores SIGTERM", command: "exec probe-stubborn", more: "timeout = \"500ms\"\n grace = \"300ms\"", class: store.ClassTimeout, want: []string{"stays", "not done after its timeout"}},
		{name: "stops itself", command: "exec probe-stop", more: "timeout = \"500ms\"\n grace = \"300ms\"", class: store.ClassTimeout},
		{name: "leaves processes behind", command: "probe-daemon 600; probe-daemon 601; echo done > OUT", more: `outputs = { out = "OUT" }`},
		{name: "kills the first process of its container", command: "kill -9 1 || true; echo still here"},
		{name: "closes what it prints to", command: "echo before; exec probe-silent", want: []string{"before"}},
		{name: "prints binary", command: "probe-binary", want: []string{"\x1b[2J\uFFFD"}},
		{name: "prints a line without end", command: "awk 'BEGIN { for (i = 0; i < 300000; i++) printf \"xxxxxxxxxx\" }'", want: []string{strings.Repeat("x", 16<<10) + "\n"}},
		{name: "mounts, or makes namespaces", command: "probe-syscall mount umount pivot_root fsopen unshare-user unshare-mount clone-newuser setns chroot", want: []string{"mount EPERM", "fsopen EPERM", "unshare-user EPERM", "clone-newuser EPERM", "setns EPERM", "chroot EPERM"}, never: " ok"},
		{name: "traces processes", command: "probe-trace; ls /proc | grep -c '^[0-9]+$'", want: []string{"a process of its own: ok", "\n4\n"}},
		{name: "opens raw sockets", command: "probe-syscall socket-raw socket-packet socket-vsock socket-alg", never: " ok", want: []string{"socket-raw EPERM", "socket-packet EPERM"}},
		{name: "uses kernel keyrings", command: "probe-syscall add_key request_key keyctl; probe-readable /proc/keys", never: " ok", want: []string{"add_key EPERM", "request_key EPERM", "keyctl EPERM", "/proc/keys empty"}},
		{name: "writes to /proc or /sys", command: "for f in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger /sys/kernel/profiling /sys/power/state; do sh -c \"echo 1 > $f\" 2>&1 || echo no; done", want: []string{"core_pattern: read-only file system\nno\n", "drop_caches: read-only file system\nno\n", "no such file or directory\nno\n", "profiling: read-only file system\nno\n"}},
		{name: "looks for open files of the agent", command: "probe-files; for p in /proc/[0-9]*; do readlink $p/fd/3 $p/fd/4 $p/fd/5 2>/dev/null || true; done", want: []string{"0 /dev/null\n1 pipe\n2 pipe\n"}, never: "agent"},
		{name: "looks for the agent's socket", command: "find / 2>/dev/null | grep -c agent.sock || true; grep -c agent.sock /proc/net/unix || true", want: []string{"0\n0\n"}, never: "/agent.sock"},
		{name: "changes an input", command: "echo x > in.txt || echo one; rm -f in.txt || echo two; mv in.txt out || echo three; ln -f in.txt out2 || echo four; probe-remount /workspace/in.txt; cat in.txt", more: `inputs = ["in.txt"]`,
			want: []string{"one\n", "two\n", "three\n", "four\n", "/workspace/in.txt EPERM\n", "input\n"}},
		{name: "puts a link in the place of an input's directory", command: "mv dir other; cat other/sub/in.txt; rm -r other/sub || echo held; ln -s /etc dir", more: "inputs = [\"dir/sub/in.txt\"]\n outputs = { out = \"dir/passwd\" }",
			class: store.ClassOutput, want: []string{"deep\n", "held\n", `"dir" is not a directory`}},
		{name: "puts a link in the place of an output's directory", command: "rm -r made; ln -s /etc made; ls made > /dev/null", more: `outputs = { out = "made/passwd" }`, class: store.ClassOutput, want: []string{`"made" is not a directory`}},
		{name: "swaps an output for a link until it is killed", command: "echo x > OUT; ln -s /etc/passwd link; probe-swap 400 OUT link & probe-swap 60000 OUT link || true", more: "outputs = { out = \"OUT\" }\n timeout = \"1s\"\n grace = \"0s\"", class: store.ClassTimeout},
		{name: "makes its workspace unreadable", command: "echo x > OUT; chmod 000 OUT .", more: `outputs = { out = "OUT" }`},
		{name: "exits with 137", command: "exit 137", class: store.ClassExit, want: []string{"exit status 137"}},
	}, "fills the disk")
	t.Run("nothing is left of them", func(t *testing.T) {
		eventually(t, "no process is in a container", func() bool { return !s.containers() })
		for _, st := range run.Stages {
			if st.Seconds > 20 {
				t.Errorf("stage %s took %v s", st.Name, st.Seconds)
			}
		}
	})
	s.want(0, filepath.Join(s.root, "p"), "logs", "prints_binary")
}

// TestFillsTheDisk has a stage write until the disk of the store is full: that is the
// stage's failure, and the store works again as soon as the stage is over.
func TestFillsTheDisk(t *testing.T) {
	s, _ := mounted(t, "192m")
	dir := s.project("p", `
stage "before" {
  command = "echo before > out"
  outputs = { out = "out" }
}
stage "workspace" {
  command = "probe-fill full > /dev/shm/said; rm full; cat /dev/shm/said; exit 3"
  outputs = { out = "full" }
}
stage "scratch" {
  command = "probe-fill /tmp/x > /dev/shm/said; rm /tmp/x; cat /dev/shm/said; exit 4"
}
stage "after" {
  command = "echo after > after"
  outputs = { out = "after" }
}
stage "log" {
  command = "probe-fill full; echo one more line"
}
`)
	s.want(0, dir, "run", "before")
	for stage, status := range map[string]string{"workspace": "exit status 3", "scratch": "exit status 4"} {
		r := s.want(1, dir, "run", "--json", stage)
		if st := finished(t, r).Stages; st[0].Error == nil || !strings.Contains(st[0].Error.Message, status) {
			t.Errorf("stage %s: %+v", stage, st)
		}
		if got := printedBy(t, r)[stage]; got != "ENOSPC\n" {
			t.Errorf("stage %s printed %q", stage, got)
		}
	}
	if r := s.want(exitMachine, dir, "run", "log"); !strings.Contains(r.err, "writing the log") || !strings.Contains(r.err, "no space left on device") {
		t.Errorf("it does not say what is wrong: %v", r)
	}
	if got := s.want(0, dir, "get", "before.out", "-o", "-").out; got != "before\n" {
		t.Errorf("what was there before is %q", got)
	}
	s.want(0, dir, "run", "after")
}
