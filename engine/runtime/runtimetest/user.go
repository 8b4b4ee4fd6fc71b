package runtimetest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// User is an ordinary user of this machine, made for a test.
type User struct {
	Name     string
	UID, GID uint32
	Home     string // where all that the user's programs write belongs
}

// loner is the id of the user that has no others. No program hands it out.
const loner = 0x1ffffff0

// NewUser makes a user with subordinate ids, or one with none, who has no entry in
// /etc/passwd either. Only root can; others skip the test.
func NewUser(tb testing.TB, name string, ranges bool) User {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can make users")
	}
	u := User{Name: name, UID: loner, GID: loner}
	if ranges {
		u.add(tb)
	}
	// Not below the test's own directory, which is closed to others.
	home, err := os.MkdirTemp("", "plumb-home-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			tb.Error(err)
		}
	})
	if u.Home, err = filepath.EvalSymlinks(home); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chown(u.Home, int(u.UID), int(u.GID)); err != nil {
		tb.Fatal(err)
	}
	return u
}

// add enters the user into the machine's files.
func (u *User) add(tb testing.TB) {
	tb.Helper()
	for _, program := range []string{"useradd", "usermod", "userdel", "newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			tb.Skipf("%s is not installed", program)
		}
	}
	if _, err := user.Lookup(u.Name); err != nil { // else a killed test left it
		shadow(tb, "useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", u.Name)
	}
	tb.Cleanup(func() {
		// The last of the user's processes may just be ending.
		for range 200 {
			if exec.Command("userdel", u.Name).Run() == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		shadow(tb, "userdel", u.Name)
	})
	entry, err := user.Lookup(u.Name)
	if err != nil {
		tb.Fatal(err)
	}
	for to, id := range map[*uint32]string{&u.UID: entry.Uid, &u.GID: entry.Gid} {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			tb.Fatal(err)
		}
		*to = uint32(n)
	}
	for file, option := range map[string]string{"/etc/subuid": "--add-subuids", "/etc/subgid": "--add-subgids"} {
		if b, err := os.ReadFile(file); err != nil || !strings.Contains("\n"+string(b), "\n"+u.Name+":") {
			shadow(tb, "usermod", option, "1000000-1065535", u.Name)
		}
	}
}

// shadow runs a program that changes the machine's users. Another test may be doing
// so, which they do not wait for.
func shadow(tb testing.TB, args ...string) {
	tb.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err == nil {
			return
		}
		if !strings.Contains(string(out), "lock") || time.Since(began) > 10*time.Second {
			tb.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// Command is a program run as the user, with nothing of this process's environment
// but PATH.
func (u User) Command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = u.Home
	cmd.Env = []string{"HOME=" + u.Home, "TMPDIR=" + u.Home, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID}}
	return cmd
}

// Place copies a file to where the user can read and execute it, and answers the path.
func (u User) Place(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Write(tb, filepath.Base(path), b)
}

// Write makes an executable file in the user's home.
func (u User) Write(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	to := filepath.Join(u.Home, name)
	if err := os.WriteFile(to, data, 0o755); err != nil {
		tb.Fatal(err)
	}
	return to
}

// Again runs this test program as the user, with the tests that pattern names and
// skip does not. What they need the compiler for is made before.
func (u User) Again(tb testing.TB, pattern, skip string) {
	tb.Helper()
	tool, err := buildTool()
	if err != nil {
		tb.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := u.Command(u.Place(tb, self), "-test.run="+pattern, "-test.skip="+skip, "-test.timeout=5m", fmt.Sprintf("-test.v=%v", testing.Verbose()))
	cmd.Env = append(cmd.Env, toolVariable+"="+u.Write(tb, "tool", tool))
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("as user %d: %v\n%s", u.UID, err, out)
	}
	tb.Logf("as user %d:\n%s", u.UID, out)
}
