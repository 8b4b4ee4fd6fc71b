package containerd_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

func TestJailRuntime(t *testing.T) {
	if early.Rootless() {
		o := options(tempDir(t))
		o.Chroot = true
		if _, err := containerd.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "isolation chroot takes root") {
			t.Errorf("for an ordinary user it gives %v", err)
		}
		return
	}
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime {
		o := options(tempDir(t))
		o.Chroot = true
		return newRuntimeOf(t, o)
	}, runtimetest.Mounts, runtimetest.Limits, runtimetest.OtherIDs, runtimetest.Namespaces)
}

// TestJailerKilled is a stage that kills what watches over it: nothing of it is left when
// it is taken for ended, and its workspace is where it was.
func TestJailerKilled(t *testing.T) {
	if early.Rootless() {
		t.Skip("there is no jail for an ordinary user")
	}
	o := options(tempDir(t))
	o.Chroot = true
	r, img := preparedOf(t, containerd.Alone(o))
	work := filepath.Join(tempDir(t), "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	s := trivial(1, img)
	s.Args = []string{"probe-betray", "/workspace/out"}
	s.Mounts = []runtime.Mount{{Source: work, Target: "/workspace"}}
	c, err := r.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exit, err := c.Wait(t.Context())
	if err != nil || exit.Signal != 9 {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
	inside, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range inside {
		if root, err := os.Readlink(name); err == nil && strings.HasPrefix(root, r.Root()) {
			t.Errorf("%s is still in %q", name, root)
		}
	}
	if b, err := os.ReadFile(filepath.Join(work, "out")); err != nil || string(b) != "here\n" {
		t.Errorf("it wrote %q, %v", b, err)
	}
	if err := c.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestJailAlone is the whole suite where not one namespace can be had.
func TestJailAlone(t *testing.T) {
	if early.Rootless() {
		t.Skip("there is no jail for an ordinary user")
	}
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime {
		o := options(tempDir(t))
		o.Chroot = true
		return newRuntimeOf(t, containerd.Alone(o))
	}, runtimetest.Mounts, runtimetest.Limits, runtimetest.OtherIDs, runtimetest.Namespaces, runtimetest.Alone)
}

// TestJailPrivileges looks from outside at what processes have where there is no /proc in
// their place: root keeps the capabilities of a container, another user none.
func TestJailPrivileges(t *testing.T) {
	if early.Rootless() {
		t.Skip("there is no jail for an ordinary user")
	}
	o := options(tempDir(t))
	o.Chroot = true
	r := newRuntimeOf(t, containerd.Alone(o))
	for user, want := range map[string]string{
		"":       "CapInh 0000000000000000 CapPrm 00000000000000fb CapEff 00000000000000fb CapBnd 00000000000000fb CapAmb 0000000000000000 NoNewPrivs 1 Seccomp 2",
		"worker": "CapInh 0000000000000000 CapPrm 0000000000000000 CapEff 0000000000000000 CapBnd 00000000000000fb CapAmb 0000000000000000 NoNewPrivs 1 Seccomp 2",
	} {
		t.Run("user "+user, func(t *testing.T) {
			img := runtimetest.Image{User: user}.Source(t)
			if err := r.Prepare(t.Context(), img); err != nil {
				t.Fatal(err)
			}
			began, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer began.Close()
			s := trivial(7, img)
			s.Home, s.Dir, s.Log = "/home/stage", "/home/stage", w
			s.Args = []string{"/bin/sh", "-c", "echo begun; sleep 600"}
			c, err := r.Create(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := errors.Join(c.Delete(context.WithoutCancel(t.Context())), w.Close()); err != nil {
					t.Error(err)
				}
			}()
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(began, make([]byte, len("begun"))); err != nil {
				t.Fatal(err)
			}
			if got := privilegesIn(t, r.Root()); got != want {
				t.Errorf("it has\n%s, want\n%s", got, want)
			}
		})
	}
}

// privilegesIn are those of a process whose root directory is below dir.
func privilegesIn(t *testing.T, dir string) string {
	t.Helper()
	roots, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range roots {
		if root, err := os.Readlink(name); err != nil || !strings.HasPrefix(root, dir) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(name), "status"))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for line := range strings.Lines(string(b)) {
			what, value, _ := strings.Cut(line, ":")
			if strings.HasPrefix(what, "Cap") || what == "NoNewPrivs" || what == "Seccomp" {
				all = append(all, what, strings.TrimSpace(value))
			}
		}
		return strings.Join(all, " ")
	}
	t.Fatalf("no process is in %q", dir)
	return ""
}
