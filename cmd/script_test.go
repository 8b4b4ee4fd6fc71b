package cmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	_ "plumb/engine/runtime/containerd/runcinit"
	"plumb/engine/runtime/runtimetest"
	"plumb/engine/toolbox"
)

// TestMain lets the test binary be plumb: scripts execute it under that name, and
// so does plumb when it starts an agent. The image that stages run in is made once.
func TestMain(m *testing.M) {
	// In a container of the toolbox the test binary goes by the names of the tools.
	if status, ok := toolbox.Main(os.Args); ok {
		os.Exit(status)
	}
	testscript.Main(m, map[string]func(){"plumb": plumbMain})
}

func plumbMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args, Process(stop))
	stop()
	if work := os.Getenv("WORK"); work != "" { // for status, see there
		if err := os.WriteFile(filepath.Join(work, ".status"), []byte(fmt.Sprint(code)), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// imageDir is where the test images lie, made for this test: plain, and extra with
// one more file.
func imageDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	extra := runtimetest.Image{Files: []runtimetest.File{{Path: "extra", Data: "x", Mode: 0o644}}}
	for name, img := range map[string]runtimetest.Image{"plain": runtimetest.ToolImage(), "extra": extra} {
		if err := img.Write(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestScripts(t *testing.T) {
	image := imageDir(t)
	hello, err := filepath.Abs("../examples/hello")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "../testdata/script", RequireExplicitExec: true, UpdateScripts: os.Getenv("PLUMB_UPDATE") != "",
		Setup: func(env *testscript.Env) error { return setupScript(env, image, hello) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mkimage":   func(ts *testscript.TestScript, _ bool, args []string) { mkimage(ts, image, args) },
			"touchfile": touchFile,
			"edit":      edit,
			"status":    wantStatus,
			"snapshot":  snapshot,
		},
	})
}

// setupScript gives each script a store of its own and the example, and ends the
// script's agent.
func setupScript(env *testscript.Env, image, hello string) error {
	store := filepath.Join(env.WorkDir, "store")
	env.Setenv("PLUMB_HOME", store)
	env.Setenv("HOME", env.WorkDir)
	if err := os.CopyFS(filepath.Join(env.WorkDir, "hello"), os.DirFS(hello)); err != nil {
		return err
	}
	for _, made := range []string{"report.txt", "image"} { // by whoever tried the example before
		if err := os.RemoveAll(filepath.Join(env.WorkDir, "hello", made)); err != nil {
			return err
		}
	}
	if err := os.CopyFS(filepath.Join(env.WorkDir, "hello", "image"), os.DirFS(filepath.Join(image, "plain"))); err != nil {
		return err
	}
	// Scripts change the image, which the example's own is not made for.
	name := filepath.Join(env.WorkDir, "hello", "plumb.hcl")
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(`builtin = "toolbox"`)) {
		return fmt.Errorf("the example does not run in the toolbox")
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, "toolbox.hcl"), b, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(name, bytes.Replace(b, []byte(`builtin = "toolbox"`), []byte(`archive = "image"`), 1), 0o644); err != nil {
		return err
	}
	env.Defer(func() {
		var out bytes.Buffer
		code := Main(context.Background(), []string{"plumb", "--store", store, "agent", "stop"}, &Env{
			Stdout: &out, Stderr: &out, Dir: env.WorkDir, Now: time.Now,
			Width: func() int { return 0 }, OutWidth: func() int { return 0 },
		})
		if code != 0 {
			env.T().Log("stopping the agent: ", out.String())
			env.T().FailNow()
		}
	})
	return nil
}

// mkimage DIR [VARIANT] puts the test image's OCI layout there.
func mkimage(ts *testscript.TestScript, image string, args []string) {
	variant := "plain"
	if len(args) == 2 {
		variant = args[1]
	}
	ts.Check(os.CopyFS(ts.MkAbs(args[0]), os.DirFS(filepath.Join(image, variant))))
}

// touchfile FILE gives it a new time and the same content.
func touchFile(ts *testscript.TestScript, _ bool, args []string) {
	now := time.Now()
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), now, now))
}

// edit FILE OLD NEW replaces text that must be there.
func edit(ts *testscript.TestScript, _ bool, args []string) {
	b := ts.ReadFile(args[0])
	if !strings.Contains(b, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(b, args[1], args[2], 1)), 0o644))
}

// status N checks the exit status of the last exec.
func wantStatus(ts *testscript.TestScript, _ bool, args []string) {
	// testscript reports a failed command in its log only; the status is told by
	// the file that the wrapper leaves.
	b, err := os.ReadFile(filepath.Join(ts.Getenv("WORK"), ".status"))
	ts.Check(err)
	if got := strings.TrimSpace(string(b)); got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// snapshot DIR FILE writes name, kind, size, time and content digest of all below
// DIR, sockets left out.
func snapshot(ts *testscript.TestScript, _ bool, args []string) {
	var b strings.Builder
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%d %x", fi.Size(), sha256.Sum256(data))
		}
		fmt.Fprintf(&b, "%s %v %d %s\n", strings.TrimPrefix(p, dir), fi.Mode(), fi.ModTime().UnixNano(), sum)
		return nil
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o644))
}
