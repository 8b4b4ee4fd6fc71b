package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb/engine"
)

func TestBuildID(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	binary, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	// The smallest header of a little-endian 64-bit file without sections.
	bare := make([]byte, 64)
	copy(bare, "\x7fELF\x02\x01\x01")
	bare[16], bare[18], bare[20], bare[52], bare[58] = 2, 62, 1, 64, 64
	tests := []struct {
		name, path, fault string
	}{
		{"this binary", own, ""},
		{"a copy of it", write("copy", binary), ""},
		{"a script", write("script", []byte("#!/bin/sh\necho a script\n")), "bad magic"},
		{"an empty file", write("empty", nil), "EOF"},
		{"one without a build id", write("bare", bare), "it has none"},
		{"a binary that is cut short", write("short", binary[:4096]), "EOF"},
		{"nothing", filepath.Join(dir, "nothing"), "no such file"},
	}
	want, err := BuildID(own)
	if err != nil || strings.Count(want, "/") != 3 || strings.ContainsAny(want, "\x00\n ") {
		t.Fatalf("the build id of this binary is %q, %v", want, err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := BuildID(tt.path)
			if tt.fault == "" {
				if err != nil || got != want {
					t.Errorf("the build id is %q, %v; not %q", got, err, want)
				}
				return
			}
			if err == nil || got != "" || !strings.Contains(err.Error(), tt.fault) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("the build id is %q, %v", got, err)
			}
		})
	}
}

// starter starts a shell in the agent's place.
func starter(dir, script string) Starter {
	return Starter{Dir: dir, Build: "b1", Args: []string{"/bin/sh", "-c", script}, Env: []string{"WORD=from the starter"}, Wait: func(string) {}}
}

func TestStart(t *testing.T) {
	tests := []struct {
		name, script, want string
	}{
		{"ready", "echo ready >&3", ""},
		{"lost the election", "echo taken >&3", errTaken.Error()},
		{"says why not", "echo no room >&3", "no room"},
		{"has only the environment given to it", `echo "$WORD, ${HOME-no home}" >&3`, "from the starter, no home"},
		{"ends without a word", "exit 3", "the agent ended as it started"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := starter(t.TempDir(), tt.script)
			err := s.start(t.Context(), s.Env)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("starting gives %v, not %q", err, tt.want)
			}
		})
	}
	t.Run("is not there", func(t *testing.T) {
		s := starter(t.TempDir(), "")
		s.Args[0] = filepath.Join(t.TempDir(), "plumb")
		if err := s.start(t.Context(), nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("starting gives %v", err)
		}
	})
	t.Run("says nothing until the client gives up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := starter(t.TempDir(), "exec sleep 1").start(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("starting gives %v", err)
		}
	})
}

func TestConnect(t *testing.T) {
	t.Run("uses the agent that is there", func(t *testing.T) {
		r := newRig(t, &fake{}, Options{Build: "b1", PID: 7})
		c, err := Connect(t.Context(), starter(r.dir, "echo started >&3"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Plan(t.Context(), engine.Request{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("starts one", func(t *testing.T) {
		if _, err := Connect(t.Context(), starter(t.TempDir(), "echo started >&3")); err == nil || err.Error() != "started" {
			t.Errorf("connecting gives %v", err)
		}
	})
	t.Run("tries again with the other environment", func(t *testing.T) {
		s := starter(t.TempDir(), `echo "word: $WORD" >&3`)
		s.Else = []string{"WORD=the other one"}
		if _, err := Connect(t.Context(), s); err == nil || err.Error() != "word: the other one" {
			t.Errorf("connecting gives %v", err)
		}
	})
	t.Run("waits for one of another build, then starts its own", func(t *testing.T) {
		h := newHeld()
		r := newRig(t, &fake{run: h.run}, Options{Build: "b0", PID: 7})
		out := r.runs(t.Context(), engine.RunRequest{})
		await(t, h.began, "the run's begin")
		s := starter(r.dir, "echo started >&3")
		waits := make(chan string, 1)
		s.Wait = func(m string) { waits <- m }
		connected := make(chan error, 1)
		go func() {
			_, err := Connect(t.Context(), s)
			connected <- err
		}()
		if m := await(t, waits, "the message"); m != "waiting for 1 run(s) of another build of plumb (process 7) to finish" {
			t.Errorf("the message is %q", m)
		}
		close(h.letGo)
		if got := await(t, out, "the run's end"); got.err != nil {
			t.Error(got.err)
		}
		if err := await(t, connected, "the connection"); err == nil || err.Error() != "started" {
			t.Errorf("connecting gives %v", err)
		}
		r.gone()
	})
	t.Run("gives up with its context", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := Connect(ctx, starter(t.TempDir(), "echo taken >&3")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connecting gives %v", err)
		}
	})
}
