package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFaultDiskFull leaves the store's file system some room, of which nobody knows for
// how many writes it is enough. The run succeeds, or says what is wrong with exit 3;
// nothing is damaged, and with room made the same command succeeds.
func TestFaultDiskFull(t *testing.T) {
	random := chance(t)
	s, at := mounted(t, "256m")
	dir := s.project("p", eight)
	want := outputs(t, s.want(0, dir, "run", "--json", "--param", "round=undisturbed"))
	ended := map[int]int{}
	for round := range 3 * *faults {
		param := fmt.Sprint("round=", round)
		// Also with an agent that opens a store on a full disk, and has its image to make.
		if random.IntN(3) == 0 {
			s.want(0, "", "agent", "stop")
		}
		free := random.Int64N(100 << 20)
		s.fill(at, free)
		r := s.plumb(dir, "run", "--param", param)
		if ended[r.code]++; r.code != 0 && (r.code != exitMachine || !strings.Contains(r.err, "no space left on device")) {
			t.Errorf("round %d, %d KiB free: it does not say what is wrong: %v%s", round, free>>10, r, s.agentLog())
		}
		if err := os.Remove(filepath.Join(at, "filler")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, outputs(t, s.want(0, dir, "run", "--json", "--param", param))); diff != "" {
			t.Errorf("round %d, %d KiB free: outputs differ (-want +got):\n%s", round, free>>10, diff)
		}
		if round%5 == 0 {
			s.wantWhole()
		}
		s.want(0, "", "gc", "--keep-runs", "1", "--keep-age", "0s")
	}
	t.Logf("exit statuses: %v", ended)
	s.wantSoundBlobs()
}

// TestFaultStageFillsDisk has stages that fill the disk themselves. While one runs that
// leaves little, another does not begin; the first is recorded all the same. One that
// fails for it is not tried again, and it is the disk that is blamed.
func TestFaultStageFillsDisk(t *testing.T) {
	s, at := mounted(t, "256m")
	s.want(0, s.project("p", small), "run") // what the store has for itself is there then
	dir := s.project("q", `
param "mib" { type = number }
stage "fills" {
  command = "dd of=big bs=1048576 count=${param.mib}; sleep 6; rm big; echo other > out"
  outputs = { out = "out" }
}
stage "waits" {
  command = "sleep 3; echo other > out2"
  outputs = { out = "out2" }
}
stage "behind" {
  inputs  = [stage.waits.out]
  command = "cat out2 > out3"
  outputs = { out = "out3" }
}
`)
	var free syscall.Statfs_t
	if err := syscall.Statfs(at, &free); err != nil {
		t.Fatal(err)
	}
	r := s.want(0, dir, "run", "--param", fmt.Sprint("mib=", int64(free.Bavail)*free.Bsize>>20-40))
	if !strings.Contains(r.err, "stage behind waits for other stages to give room back: no space left on device") {
		t.Errorf("it does not say what it waits for: %v", r)
	}
	dir = s.project("r", `
stage "greedy" {
  command = "dd of=out bs=1048576 count=400"
  outputs = { out = "out" }
  retry { exit = 5 }
}
`)
	r = s.want(exitMachine, dir, "run")
	if !strings.Contains(r.err, "no space left on device") || strings.Contains(r.err, "trying again") {
		t.Errorf("a stage that wants more than there is: %v", r)
	}
	s.fill(at, 40<<20)
	r = s.want(exitMachine, s.project("late", strings.ReplaceAll(small, "20000", "20001")), "run")
	if !strings.Contains(r.err, "no space left on device") || !strings.Contains(r.err, "plumb gc") {
		t.Errorf("a stage for which there is no room: %v", r)
	}
	s.want(0, dir, "gc") // which is possible then, too
}

// TestFaultProjectVanishes takes the project's file system away while a run reads from
// it: stages read from the store and go on; what has to reach the project says why it
// cannot, and nothing wrong is recorded.
func TestFaultProjectVanishes(t *testing.T) {
	s := newSite(t)
	s.mountProjects(true)
	dir := s.project("p", "")
	unmount := s.mountTmpfs(dir)
	s.again(dir, `
stage "a" {
  inputs  = ["data.txt"]
  command = "echo begun; sleep 1; cat data.txt > out"
  outputs = { out = "out" }
}
stage "b" {
  inputs  = [stage.a.out, "more.txt"]
  command = "cat out more.txt > out2"
  outputs = { out = "out2" }
}
export "exported.txt" { from = stage.b.out }
`)
	for name, text := range map[string]string{"data.txt": "data\n", "more.txt": "more\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := s.start(dir, "run", "--json")
	p.says(`"line":"begun"`)
	unmount()
	r := p.wait()
	if r.code != exitMachine || !strings.Contains(r.err, "is another one than when the run began") {
		t.Errorf("the export has nowhere to go: %v", r)
	}
	got := map[string]string{}
	for _, st := range finished(t, r).Stages {
		got[st.Name] = st.Status
	}
	if diff := cmp.Diff(map[string]string{"a": "ran", "b": "ran"}, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "exported.txt")); err == nil {
		t.Error("it was exported into what lies below the lost file system")
	}
	s.want(0, dir, "plan") // of what lies below
}

// TestFaultProjectMounted mounts over a project, and unmounts again, where the agent's
// own mounts do not follow. It is not what the agent sees that counts.
func TestFaultProjectMounted(t *testing.T) {
	s := newSite(t)
	s.mountProjects(false)
	text := "stage \"a\" {\n inputs = [\"data\"]\n command = \"cat data > out\"\n outputs = { out = \"out\" }\n}\nexport \"exported\" { from = stage.a.out }\n"
	data := func(dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "data"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(dir, text string) {
		t.Helper()
		s.want(0, dir, "run")
		if b, err := os.ReadFile(filepath.Join(dir, "exported")); err != nil || string(b) != text {
			t.Errorf("exported: %q, %v; want %q", b, err, text)
		}
	}
	dir := s.project("p", text)
	data(dir, "below")
	want(dir, "below")
	before := s.agentPID()
	unmount := s.mountTmpfs(dir)
	s.again(dir, text)
	data(dir, "above")
	if r := s.want(0, dir, "plan"); !strings.Contains(r.out, "a  run") {
		t.Errorf("the plan is of what the agent saw: %v", r)
	}
	want(dir, "above")
	unmount()
	want(dir, "below")
	if after := s.agentPID(); after == before {
		t.Error("the agent that saw something else is still there")
	}
}

// mountProjects makes the directory of all projects a mount of its own, which other
// mount namespaces follow or not.
func (s *site) mountProjects(shared bool) {
	s.t.Helper()
	s.root = filepath.Join(s.root, "projects")
	err := os.Mkdir(s.root, 0o755)
	if err == nil {
		err = syscall.Mount(s.root, s.root, "", syscall.MS_BIND, "")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := syscall.Unmount(s.root, syscall.MNT_DETACH); err != nil {
			s.t.Error(err)
		}
	})
	how := uintptr(syscall.MS_PRIVATE)
	if shared {
		how = syscall.MS_SHARED
	}
	if err := syscall.Mount("", s.root, "", how, ""); err != nil {
		s.t.Fatal(err)
	}
}

// mountTmpfs mounts a file system, until the function it returns is called or the test
// ends.
func (s *site) mountTmpfs(dir string) (unmount func()) {
	s.t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		s.t.Fatal(err)
	}
	unmount = sync.OnceFunc(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(unmount)
	return unmount
}
