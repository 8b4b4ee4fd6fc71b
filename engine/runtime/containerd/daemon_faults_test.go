package containerd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/runtimetest"
)

// What cannot be used is told apart, each with what to do.
func TestDaemonUnusable(t *testing.T) {
	t.Parallel() // one of them waits
	dir := tempDir(t)
	listen := func(name string, answer func(net.Conn)) string {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() }) //nolint:errcheck // it is the test's end
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				answer(conn)
			}
		}()
		return path
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	needDaemon(t)
	_, noSnapshots := startDaemon(t, "", "io.containerd.snapshotter.v1.overlayfs")
	for _, c := range []struct{ name, socket, what, remedy string }{
		{"none", filepath.Join(dir, "none"), "there is no socket", "systemctl start containerd"},
		{"a file", plain, "is no socket", "name the socket"},
		{"nobody", dead, "nobody answers", "systemctl start containerd"},
		{"somebody else", listen("http", func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) // who may be gone
			c.Close()                                                  //nolint:errcheck // likewise
		}), "does not answer as a containerd does", "name the socket of a containerd"},
		{"silence", listen("mute", func(net.Conn) {}), "does not answer as a containerd does", "look into the log"},
		{"no snapshotter", noSnapshots, `no snapshotter "overlayfs"`, "disabled_plugins"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := containerd.New(t.Context(), daemonOptions(t, tempDir(t), c.socket))
			if err == nil {
				t.Fatal("it is used", r.Close())
			}
			var unusable *containerd.Unusable
			if !errors.As(err, &unusable) || !strings.Contains(unusable.What, c.what) || !strings.Contains(unusable.Remedy, c.remedy) {
				t.Errorf("got %v, %+v", err, unusable)
			}
		})
	}
}

// A daemon that has no runc is told at the first container, and by the doctor.
func TestDaemonWithoutRunc(t *testing.T) {
	needDaemon(t)
	bin := tempDir(t)
	for _, program := range []string{"containerd", "containerd-shim-runc-v2"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, program)); err != nil {
			t.Fatal(err)
		}
	}
	_, socket := startDaemon(t, bin)
	o := daemonOptions(t, tempDir(t), socket)
	r, err := containerd.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	img := runtimetest.ToolImage().Source(t)
	if err := r.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if err := cycle(t.Context(), r, trivial(1, img)); err == nil || !strings.Contains(err.Error(), "does not find runc") {
		t.Errorf("a container gives %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestProbeDaemon(t *testing.T) {
	_, socket := startDaemon(t, "")
	found := map[string]containerd.Finding{}
	for _, f := range containerd.ProbeDaemon(t.Context(), socket, tempDir(t)) {
		if found[f.Name] = f; !f.OK {
			t.Errorf("%+v", f)
		}
	}
	for name, want := range map[string]string{"containerd": socket, "snapshots": "overlayfs in ", "runtime": "runc 1."} {
		if !strings.Contains(found[name].Detail, want) {
			t.Errorf("%s: %+v", name, found[name])
		}
	}
}

// running starts a container that does not end by itself.
func running(t *testing.T, r *containerd.Runtime) runtime.Container {
	t.Helper()
	img := runtimetest.ToolImage().Source(t)
	if err := r.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	s := trivial(1, img)
	s.Args = []string{"sleep", "600"}
	c, err := r.Create(t.Context(), s)
	if err == nil {
		err = c.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A daemon goes away under a container, or only hangs: who waits is told, and when it
// is back all goes on, and nothing is left.
func TestDaemonGone(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, c := range []struct {
		name       string
		gone, back []string
		within     time.Duration
	}{
		{"killed", []string{"kill"}, []string{"start"}, 5 * time.Second},
		{"hanging", []string{"signal", "19"}, []string{"signal", "18"}, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, socket := startDaemon(t, "")
			do := func(words []string) {
				args := append([]string{words[0], dir}, words[1:]...)
				if words[0] == "start" {
					args = append(args, "")
				}
				ask(t, args...)
			}
			r, err := containerd.New(t.Context(), daemonOptions(t, tempDir(t), socket))
			if err != nil {
				t.Fatal(err)
			}
			left := running(t, r)
			do(c.gone)
			prepared := make(chan error, 1)
			another := runtimetest.Image{Layers: 1}.Source(t)
			go func() { prepared <- r.Prepare(t.Context(), another) }()
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			if _, err := left.Wait(ctx); err == nil || !strings.Contains(err.Error(), "went away") {
				t.Errorf("waiting gives %v", err)
			}
			if err := <-prepared; err == nil || !strings.Contains(err.Error(), "went away") {
				t.Errorf("preparing an image gives %v", err)
			}
			if c.name == "killed" { // else it takes as long again
				if err := left.Delete(t.Context()); err == nil {
					t.Error("what a daemon has that is gone was deleted")
				}
			}
			do(c.back)
			img := runtimetest.ToolImage().Source(t)
			if err := cycle(t.Context(), r, trivial(2, img)); err != nil {
				t.Errorf("when it is back: %v", err)
			}
			if err := errors.Join(left.Delete(t.Context()), r.Close()); err != nil {
				t.Error(err)
			}
			if n := ask(t, "shims", dir); n != "0" {
				t.Errorf("%s shims are left", n)
			}
		})
	}
}

// Two stores have one daemon. What one of them removes or is killed with is not the other's.
func TestDaemonOfTwo(t *testing.T) {
	dir, socket := startDaemon(t, "")
	var both [2]*containerd.Runtime
	img := runtimetest.ToolImage().Source(t)
	for i := range both {
		var err error
		if both[i], err = containerd.New(t.Context(), daemonOptions(t, tempDir(t), socket)); err != nil {
			t.Fatal(err)
		}
	}
	c := running(t, both[0])
	if err := both[1].Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(both[1].Remove(t.Context(), img.Manifest()), both[1].Close()); err != nil {
		t.Fatal(err)
	}
	if err := cycle(t.Context(), both[0], trivial(2, img)); err != nil {
		t.Errorf("the image was the other's: %v", err)
	}
	if n := ask(t, "shims", dir); n != "1" {
		t.Errorf("%s shims, want that of the first store", n)
	}
	if err := c.Kill(t.Context(), int(syscall.SIGKILL), true); err != nil {
		t.Error(err)
	}
	if exit, err := c.Wait(t.Context()); err != nil || exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("%+v, %v", exit, err)
	}
	if err := both[0].Close(); err != nil {
		t.Error(err)
	}
	if n := ask(t, "shims", dir); n != "0" {
		t.Errorf("%s shims are left", n)
	}
}
