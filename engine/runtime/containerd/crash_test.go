package containerd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

// victimVariable makes the test program an owner of a store that runs containers
// until it is killed: its value is the store, a layout and the image's digest.
const victimVariable = "PLUMB_TEST_VICTIM"

// victim is what the test program does then.
func victim(dir, layout string) error {
	ctx := context.Background()
	r, err := containerd.New(ctx, options(dir))
	if err != nil {
		return err
	}
	img, err := runtimetest.OpenLayout(layout)
	if err != nil {
		return err
	}
	if err := r.Prepare(ctx, img); err != nil {
		return err
	}
	for n, script := range []string{"sleep 600", "probe-daemon 600; sleep 600 & sleep 600"} {
		c, err := r.Create(ctx, runtime.Spec{ID: fmt.Sprintf("victim-%d", n), Image: img.Manifest(), Args: []string{"sh", "-c", script}})
		if err != nil {
			return err
		}
		if err := c.Start(ctx); err != nil {
			return err
		}
	}
	if _, err := r.Create(ctx, runtime.Spec{ID: "waiting", Image: img.Manifest(), Args: []string{"true"}}); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	fmt.Println("ready")
	select {}
}

// TestKilled kills an owner at its busiest, by either of its two processes.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		name string
		whom func(outer int) (int, error)
	}{
		{"from outside", func(outer int) (int, error) { return outer, nil }},
		{"from inside", child},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, layout := tempDir(t), runtimetest.ToolImage().Layout(t)
			outer := startVictim(t, dir, layout)
			if n := len(cgroupsOf(t)); n == 0 && !early.Rootless() {
				t.Fatal("the victim has no cgroups")
			}
			if left := processesOf(t); len(left) < 4 {
				t.Fatalf("the victim's processes are %q", left)
			}
			pid, err := c.whom(outer.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := kill9(pid); err != nil {
				t.Fatal(err)
			}
			if err := outer.Wait(); err == nil {
				t.Error("the victim ended well")
			}
			waitGone(t)
			r, err := containerd.New(t.Context(), options(dir))
			if err != nil {
				t.Fatal(err)
			}
			if left := cgroupsOf(t); len(left) > 0 {
				t.Errorf("cgroups left: %v", left)
			}
			img, err := runtimetest.OpenLayout(layout)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Prepare(t.Context(), img), cycle(t.Context(), r, trivial(1, img)), r.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func startVictim(t *testing.T, dir, layout string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(early.Env(os.Environ()), victimVariable+"="+dir+":"+layout)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the victim said %q, %v", line, err)
	}
	return cmd
}

func child(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	var inner int
	_, err = fmt.Sscan(string(b), &inner)
	return inner, err
}

func kill9(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

// cgroupsOf are all cgroups of containers of any runtime of this test.
func cgroupsOf(t *testing.T) (all []string) {
	t.Helper()
	for _, name := range []string{"victim-0", "victim-1", "waiting"} {
		for _, pattern := range []string{"/sys/fs/cgroup/*/plumb-*/" + name, "/sys/fs/cgroup/plumb-*/" + name} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
	}
	return all
}

// processesOf are the commands that containers of the victim run, as far as this
// process sees any.
func processesOf(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		if line := strings.ReplaceAll(string(b), "\x00", " "); strings.Contains(line, " 600") {
			all = append(all, line)
		}
	}
	return all
}

// waitGone waits until no process is left, in the cgroups or anywhere.
func waitGone(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for {
		left := strings.Join(processesOf(t), "; ")
		for _, dir := range cgroupsOf(t) {
			b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			left += strings.TrimSpace(string(b))
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes left: %q", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
