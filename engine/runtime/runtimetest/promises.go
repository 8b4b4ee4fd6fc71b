package runtimetest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// Promises tries from inside of a container each line of the table of the manual's
// section "Isolation", which says what a stage has and docker run has beside it. A
// line without a test here is an error, as is a test without a line: what the manual
// promises is what was tried. Without a manual that is not looked at.
func Promises(t *testing.T, newRuntime New, manual string, lacks ...Lack) {
	b := &bench{rt: newRuntime(t), lacks: lacks}
	all := b.promises(t)
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	if manual == "" {
		t.Log("there is no manual here to hold the tests against")
	} else if diff := cmp.Diff(TableLines(t, manual, "### Isolation"), names); diff != "" {
		t.Errorf("lines of %q without a test (-), tests without a line (+):\n%s", manual, diff)
	}
	b.tell(t, all)
}

// TableLines are the first cells of the first table below a heading of a text.
func TableLines(tb testing.TB, file, heading string) (names []string) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		tb.Fatalf("%q has no heading %q", file, heading)
	}
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "|") {
			names = append(names, strings.TrimSpace(strings.Split(line, "|")[1]))
		} else if len(names) > 0 {
			break
		}
	}
	if len(names) < 3 {
		tb.Fatalf("%q has no table below %q", file, heading)
	}
	return names[2:] // behind the head and the rule
}

// refuses is a script of system calls that must all end in EPERM.
func refuses(name string, calls ...string) told {
	return told{name: name, script: "probe-syscall " + strings.Join(calls, " "), want: strings.Join(calls, " EPERM\n") + " EPERM\n"}
}

func (b *bench) promises(t *testing.T) []told {
	return slices.Concat(b.identity(t), b.surroundings(t), b.views(), b.bounds(t))
}

// tool is the tool program.
func tool(t *testing.T) string {
	t.Helper()
	program, err := buildTool()
	if err != nil {
		t.Fatal(err)
	}
	return string(program)
}

// identity is who a stage is, and what it may do.
func (b *bench) identity(t *testing.T) []told {
	return []told{
		{name: "user ids", needs: []Lack{OtherIDs}, script: "awk '{ print $1, ($2 > 65536), $3 }' /proc/self/uid_map /proc/self/gid_map", want: "0 1 65536\n0 1 65536\n"},
		{name: "capabilities", script: "grep '^Cap(Bnd|Eff|Inh|Amb)' /proc/self/status | tr '\t' ' '", want: `
			CapInh: 0000000000000000
			CapEff: 00000000000000fb
			CapBnd: 00000000000000fb
			CapAmb: 0000000000000000
		`},
		{name: "setuid programs", needs: []Lack{ManyIDs},
			image:  Image{User: "worker", Files: []File{{Path: "bin/as-root", Data: tool(t), Mode: 0o4755}}},
			script: "grep NoNewPrivs /proc/self/status | tr '\t' ' '; stat /bin/as-root | cut -d' ' -f1; as-root ls /root || true", want: `
			NoNewPrivs: 1
			4755
			ls: open /root: permission denied
		`},
		{name: "system calls", script: "grep '^Seccomp:' /proc/self/status | tr '\t' ' '; probe-syscall bpf perf_event_open userfaultfd io_uring_setup open_by_handle_at acct quotactl swapon future clone3", want: `
			Seccomp: 2
			bpf EPERM
			perf_event_open EPERM
			userfaultfd EPERM
			io_uring_setup EPERM
			open_by_handle_at EPERM
			acct EPERM
			quotactl EPERM
			swapon EPERM
			future ENOSYS
			clone3 ENOSYS
		`},
		refuses("new namespaces", "unshare-user", "unshare-mount", "unshare-net", "clone-newuser", "setns"),
		refuses("mounting", "mount", "umount", "pivot_root", "fsopen", "move_mount", "chroot"),
		refuses("kernel", "init_module", "finit_module", "delete_module", "kexec_load", "reboot", "syslog"),
		refuses("keyrings", "add_key", "request_key", "keyctl"),
		refuses("clock", "settime", "settimeofday", "adjtimex"),
		{name: "tracing", script: "probe-trace; ls /proc | grep -c '^[0-9]+$'", want: "a process of its own: ok\n4\n"},
	}
}

// surroundings is what a stage finds beside itself.
func (b *bench) surroundings(t *testing.T) []told {
	host := tree(t, map[string]string{"secret": "secret\n", "in/a": "input\n"})
	abstract := fmt.Sprintf("plumb-test-%d", os.Getpid())
	for network, address := range map[string]string{"unix": "@" + abstract, "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() }) //nolint:errcheck // of a test that is over
		if network == "tcp" {
			t.Setenv("PLUMB_TEST_ADDRESS", l.Addr().String()) // which no container may see, besides
		}
	}
	queue, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := unix.SysvShmCtl(queue, unix.IPC_RMID, nil); err != nil {
			t.Error(err)
		}
	})
	address := os.Getenv("PLUMB_TEST_ADDRESS")
	return []told{
		{name: "processes", script: "ls /proc | grep -c '^[0-9]+$'; cat /proc/1/comm", want: "3\nsh\n"},
		{name: "IPC", script: "cat /proc/sysvipc/shm | wc -l | tr -d ' '; ls /dev/mqueue", want: "1\n"},
		{name: "host name", script: "cat /proc/sys/kernel/hostname; probe-syscall sethostname setdomainname", want: "plumb\nsethostname EPERM\nsetdomainname EPERM\n"},
		{name: "network", script: "probe-names; probe-connect " + address + " 192.0.2.1:80; probe-abstract " + abstract, want: fmt.Sprintf(`
			lo true
			%s refused: dial tcp %s: connect: connection refused
			192.0.2.1:80 refused: dial tcp 192.0.2.1:80: connect: network is unreachable
			refused
		`, address, address)},
		{name: "sockets", script: "probe-syscall socket-unix socket-inet port-8080 port-80 socket-raw socket-packet socket-vsock socket-alg", want: `
			socket-unix ok
			socket-inet ok
			port-8080 ok
			port-80 EACCES
			socket-raw EPERM
			socket-packet EPERM
			socket-vsock EPERM
			socket-alg EPERM
		`},
		{name: "host files", script: "cat " + host + "/secret 2>/dev/null || echo none; ls / | tr '\n' ' '", want: "none\nbin dev etc home proc root sys tmp usr "},
		{name: "mounted directories", change: func(s *runtime.Spec) {
			s.Mounts = []runtime.Mount{{Source: filepath.Join(host, "in"), Target: "/in", ReadOnly: true}}
		}, script: "cat /in/a; touch /in/b || true; probe-remount /in; probe-mounts | grep '^/in '  | sed 's, [a-z0-9]* , ,'", want: `
			input
			touch: open /in/b: read-only file system
			/in EPERM
			/in ro,nosuid,nodev
		`},
		{name: "environment", script: "env", want: "HOME=/home/stage\n" + "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
		{name: "file descriptors", change: func(s *runtime.Spec) { s.Args = []string{"probe-files"} }, want: "0 /dev/null\n1 pipe\n2 pipe\n"},
		{name: "standard input", script: "cat; readlink /proc/self/fd/0", want: "/dev/null\n"},
	}
}
