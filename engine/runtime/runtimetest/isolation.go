package runtimetest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
)

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// tree makes files and answers their directory. Names that end in / are
// directories.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testMounts is what a stage can do with its inputs and its workspace.
func (b *bench) testMounts(t *testing.T) {
	host := tree(t, map[string]string{"in/a": "input\n", "in/sub/b": "deep\n", "file": "alone\n", "work/": "", "work2/in/x": "old\n"})
	ro := func(source, target string) runtime.Mount {
		return runtime.Mount{Source: filepath.Join(host, source), Target: target, ReadOnly: true}
	}
	rw := func(source, target string) runtime.Mount {
		return runtime.Mount{Source: filepath.Join(host, source), Target: target}
	}
	mounts := func(all ...runtime.Mount) func(*runtime.Spec) {
		return func(s *runtime.Spec) { s.Mounts = all }
	}
	b.tell(t, []told{
		{name: "read", change: mounts(ro("in", "/in"), ro("file", "/f")), script: "cat /in/a /in/sub/b /f", want: "input\ndeep\nalone\n"},
		{name: "write to an input", needs: []Lack{Mounts}, change: mounts(ro("in", "/in")), script: "touch /in/new || true; sh -c 'echo x > /in/a' || true; rm -f /in/a || true; cat /in/a", want: `
			touch: open /in/new: read-only file system
			open /in/a: read-only file system
			rm: remove /in/a: read-only file system
			input
		`},
		{name: "remount an input", change: mounts(ro("in", "/in")), script: "probe-remount /in", want: "/in EPERM\n"},
		{name: "workspace", change: mounts(rw("work", "/workspace"), ro("in", inside("data")), ro("file", inside("deep/er/file"))), script: `
			cd /workspace; cat data/a deep/er/file; echo out > result; mkdir dir; echo two > dir/two; stat . result`, want: `
			input
			alone
			755 0 0 4096 .
			644 0 0 4 result
		`},
		{name: "workspace with an input", needs: []Lack{Mounts}, change: mounts(rw("work", "/workspace"), ro("in", inside("data")), ro("file", inside("deep/er/file"))), script: `
			cd /workspace; touch data/x || true; touch deep/x`, want: `
			touch: open data/x: read-only file system
		`},
		{name: "workspace of another user", needs: []Lack{ManyIDs}, image: Image{User: "worker"}, change: mounts(rw("work2", "/workspace"), ro("in", inside("in"))), script: `
			cd /workspace; echo mine > mine; cat in/a; stat . mine`, want: `
			input
			755 1000 1000 4096 .
			644 1000 1000 5 mine
		`},
	})
	t.Run("on the host", func(t *testing.T) {
		b.need(t, ManyIDs)
		got := map[string]string{}
		for _, name := range []string{"work/result", "work/dir/two", "work2/mine", "work2/in/x", "in/a"} {
			b, err := os.ReadFile(filepath.Join(host, name))
			if err != nil {
				t.Error(err)
			}
			got[name] = string(b)
		}
		want := map[string]string{"work/result": "out\n", "work/dir/two": "two\n", "work2/mine": "mine\n", "work2/in/x": "old\n", "in/a": "input\n"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("link in the workspace", func(t *testing.T) { b.testLinkInWorkspace(t) })
}

// testLinkInWorkspace mounts over a name that is a link to a directory of the host.
func (b *bench) testLinkInWorkspace(t *testing.T) {
	host := tree(t, map[string]string{"outside/": "", "work/": "", "in/a": "input\n"})
	symlink(t, filepath.Join(host, "outside"), filepath.Join(host, "work/data"))
	s := b.spec(t, ToolImage(), "cat /workspace/data/deep/a")
	s.Mounts = []runtime.Mount{
		{Source: filepath.Join(host, "work"), Target: "/workspace"},
		{Source: filepath.Join(host, "in"), Target: "/workspace/data/deep", ReadOnly: true},
	}
	if c, err := b.rt.Create(t.Context(), s); err == nil {
		if err := c.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(host, "outside"))
	if err != nil || len(left) > 0 {
		t.Errorf("the host's directory has %v, %v", left, err)
	}
}

// testIsolation tries to get out.
func (b *bench) testIsolation(t *testing.T) {
	secret := filepath.Join(tree(t, map[string]string{"secret": "secret\n"}), "secret")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	b.tell(t, []told{
		{name: "network", needs: []Lack{Alone}, script: "probe-names; probe-connect " + address + " 192.0.2.1:80 [2001:db8::1]:80", want: fmt.Sprintf(`
			lo true
			%s refused: dial tcp %s: connect: connection refused
			192.0.2.1:80 refused: dial tcp 192.0.2.1:80: connect: network is unreachable
			[2001:db8::1]:80 refused: dial tcp [2001:db8::1]:80: connect: network is unreachable
		`, address, address)},
		{name: "host's network when asked for", change: func(s *runtime.Spec) { s.Network = true }, script: "probe-connect " + address, want: address + " connected\n"},
		{name: "files of the host", script: "cat " + secret + " 2>&1 | sed 's,/.*:,:,'; ls /work /var /home", want: `
			cat: open : no such file or directory
			ls: lstat /work: no such file or directory
		`, code: 1},
		{name: "privileges", needs: []Lack{Alone}, script: "grep '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\t' ' '", want: `
			CapInh: 0000000000000000
			CapPrm: 00000000000000fb
			CapEff: 00000000000000fb
			CapBnd: 00000000000000fb
			CapAmb: 0000000000000000
			NoNewPrivs: 1
			Seccomp: 2
		`},
		{name: "privileges of a user", needs: []Lack{ManyIDs, Alone}, image: Image{User: "worker"}, script: "grep '^(CapEff|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\t' ' '", want: `
			CapEff: 0000000000000000
			NoNewPrivs: 1
			Seccomp: 2
		`},
		{name: "ids", needs: []Lack{OtherIDs}, script: "awk '{ print $1, ($2 > 65536), $3 }' /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups", want: "0 1 65536\n0 1 65536\nallow\n"},
		{name: "processes", needs: []Lack{Alone}, script: "ls /proc | grep -c '^[0-9]+$'; cat /proc/1/comm", want: "3\nsh\n"},
		{name: "open files", needs: []Lack{Alone}, change: func(s *runtime.Spec) { s.Args = []string{"probe-files"} }, want: "0 /dev/null\n1 pipe\n2 pipe\n"},
		{name: "masked", needs: []Lack{Alone}, script: `
			for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /sys/firmware; do
				if [ -e $f ] && [ "$(cat $f 2>/dev/null; ls $f 2>/dev/null)" != "" ] && [ "$(ls $f)" != $f ]; then echo $f is open; fi
			done
			sh -c 'echo 1 > /proc/sys/kernel/pid_max' || true
			sh -c 'echo b > /proc/sysrq-trigger' 2>/dev/null || echo refused
			sh -c 'echo x > /sys/kernel/profiling' 2>/dev/null || echo refused`, want: `
			open /proc/sys/kernel/pid_max: read-only file system
			refused
			refused
		`},
		{name: "devices", script: "ls /dev; echo x > /dev/null; head -1 /dev/zero >/dev/null 2>&1 & sleep 0.1; kill $! 2>/dev/null || true", want: `
			core
			fd
			full
			mqueue
			null
			ptmx
			pts
			random
			shm
			stderr
			stdin
			stdout
			tty
			urandom
			zero
		`},
		{name: "devices of its own", needs: []Lack{Mounts}, script: "touch /dev/x || true", want: "touch: open /dev/x: read-only file system\n"},
		{name: "devices of the image", image: Image{Files: []File{{Path: "dev/plumb0", Mode: 0o666, Device: true}}}, script: "test -e /dev/plumb0 || echo none", want: "none\n"},
		{name: "system calls", script: "probe-syscall " + strings.Join(refused(), " "), want: strings.Join(refused(), " EPERM\n") + " EPERM\n"},
		{name: "system calls unknown", script: "probe-syscall clone3 future", want: "clone3 ENOSYS\nfuture ENOSYS\n"},
		{name: "system calls allowed", needs: []Lack{Alone}, script: "probe-syscall socket-unix socket-inet personality-get", want: "socket-unix ok\nsocket-inet ok\npersonality-get ok\n"},
		{name: "another user", needs: []Lack{ManyIDs}, script: "probe-syscall setuid", want: "setuid ok\n"},
	})
}

// refused are calls of the tool program's probe-syscall that must end in EPERM.
func refused() []string {
	return []string{
		"unshare-user", "unshare-nothing", "mount", "umount", "pivot_root", "keyctl", "add_key", "bpf", "perf_event_open", "userfaultfd",
		"io_uring_setup", "setns", "reboot", "clone-newuser", "personality-aslr", "socket-vsock", "socket-alg", "mknod", "chroot",
		"sethostname", "settime",
	}
}
