package early_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

// The test program, started with this variable, tells what it finds.
const askVariable = "PLUMB_TEST_ASK"

func TestMain(m *testing.M) {
	switch os.Getenv(askVariable) {
	case "":
		os.Exit(m.Run())
	case "where":
		fmt.Println(early.Inside(), os.Getpid() == 1, early.OuterPID() == os.Getpid(), os.Getenv("PLUMB_NS") == "", len(os.Args))
	case "enter":
		if err := early.Enter(); err != nil {
			fmt.Println(err)
		}
		fmt.Println(early.Inside())
	case "exit":
		os.Exit(9)
	case "sleep":
		fmt.Println(early.OuterPID())
		time.Sleep(time.Minute)
	}
}

func ask(t *testing.T, what string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe, args...)
	c.Env = append(env, askVariable+"="+what)
	return c
}

func TestNamespaces(t *testing.T) {
	for _, c := range []struct {
		name, what string
		env        []string
		want       string
	}{
		{"outside", "where", os.Environ(), "false false true true 1\n"},
		{"inside", "where", early.Env(os.Environ()), "true true false true 1\n"},
		{"inside what is inside", "enter", early.Env(os.Environ()), "true\n"},
		{"enter", "enter", os.Environ(), "true\n"},
		{"a stale outer pid", "where", append(os.Environ(), "PLUMB_OUTER_PID=7"), "false false true true 1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := ask(t, c.what, c.env).Output()
			if diff := cmp.Diff(c.want, string(out)); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	var e *exec.ExitError
	if err := ask(t, "exit", early.Env(os.Environ())).Run(); !errors.As(err, &e) || e.ExitCode() != 9 {
		t.Errorf("got %v", err)
	}
}

// Signals to the waiter reach the inner process, and it ends as that one did.
func TestSignals(t *testing.T) {
	c := ask(t, "sleep", early.Env(os.Environ()))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var outer int
	if _, err := fmt.Fscan(out, &outer); err != nil || outer != c.Process.Pid {
		t.Errorf("the outer process is %d, it is said to be %d (%v)", c.Process.Pid, outer, err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Go's runtime ends PID 1 with status 2: no signal can.
	var e *exec.ExitError
	if err := c.Wait(); !errors.As(err, &e) || e.ExitCode() != 2 {
		t.Errorf("got %v", err)
	}
}

func TestEnv(t *testing.T) {
	got := early.Env([]string{"A=1", "PLUMB_NS=old", "PLUMB_OUTER_PID=1", "PLUMB_NSX=2"})
	if diff := cmp.Diff([]string{"A=1", "PLUMB_NSX=2", "PLUMB_NS=1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The same for ordinary users, with subordinate ids and without.
func TestAsUser(t *testing.T) {
	for name, ranges := range map[string]bool{"plumb-test-early": true, "": false} {
		runtimetest.NewUser(t, name, ranges).Again(t, "TestNamespaces|TestExitStatus|TestSignals|TestRefused", "")
	}
}

// What goes wrong before there is a program is told to who waits for it.
func TestRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("TestAsUser runs it")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := ask(t, "exit", append(os.Environ(), "PLUMB_NS=5:5/5:5"))
	c.ExtraFiles = []*os.File{w}
	var e *exec.ExitError
	if err := c.Run(); !errors.As(err, &e) || e.ExitCode() != 111 {
		t.Errorf("got %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(said), "mapping subordinate ids with newuidmap and newgidmap (plumb doctor says what to do)") || !strings.Contains(string(said), "newuidmap: ") {
		t.Errorf("it said %q, %v", said, err)
	}
}

// The binary has to start where there is no loader.
func TestStatic(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, ".so") {
			t.Errorf("loaded: %s", line)
		}
	}
}

// What root lacks in a container without privileges is known by what the constructor
// says of it.
func TestUnprivileged(t *testing.T) {
	for told, want := range map[string]bool{
		"entering private mount and PID namespaces (plumb doctor says what to do): Operation not permitted":                                         true,
		"mounting /proc (in a container whose own /proc has masked parts it cannot be; plumb doctor says what to do): Operation not permitted":      true,
		"making mounts private (plumb doctor says what to do): Permission denied":                                                                   true,
		"entering private mount and PID namespaces (plumb doctor says what to do): No space left on device":                                         false,
		"opening the store: open /var/lib/plumb: permission denied":                                                                                 false,
		"mapping subordinate ids with newuidmap and newgidmap (plumb doctor says what to do); newuidmap: write to uid_map: Operation not permitted": false,
	} {
		if got := early.Unprivileged(told); got != want {
			t.Errorf("%v of %q", got, told)
		}
		doing, _, _ := strings.Cut(told, ": ")
		source, err := os.ReadFile("namespaces.c")
		if err != nil {
			t.Fatal(err)
		}
		if want && !strings.Contains(string(source), `plumb_die("`+doing+`")`) {
			t.Errorf("the constructor does not say %q", doing)
		}
	}
}
