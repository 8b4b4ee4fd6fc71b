package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"plumb/engine/runtime"
)

// New makes a runtime for a test and sees to its end.
type New func(t *testing.T) runtime.Runtime

// bench is one runtime with the images that were prepared on it.
type bench struct {
	rt    runtime.Runtime
	lacks []Lack
	last  atomic.Int64
}

// need skips a test of what there is not.
func (b *bench) need(t *testing.T, all ...Lack) {
	t.Helper()
	for _, l := range all {
		if slices.Contains(b.lacks, l) {
			t.Skip("this runtime does not have it, or not for this user")
		}
	}
}

// outcome is how a container ended, with what it printed.
type outcome struct {
	runtime.Exit
	log string
}

// spec is a container of img that runs a script.
func (b *bench) spec(t *testing.T, img Image, script string) runtime.Spec {
	t.Helper()
	src := img.Source(t)
	if err := b.rt.Prepare(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	return runtime.Spec{
		ID:    fmt.Sprintf("test-%d", b.last.Add(1)),
		Image: src.Manifest(),
		Args:  []string{"/bin/sh", "-eu", "-c", script},
		Home:  "/home/stage",
		Dir:   "/home/stage",
		Env:   []string{"HOME=/home/stage"},
		// So that a mistake in a test is not the machine's end.
		Memory: 1 << 30,
	}
}

// create makes the container that s describes, and deletes it with the test.
func (b *bench) create(t *testing.T, s runtime.Spec) (runtime.Container, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	s.Log = log
	c, err := b.rt.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c, log
}

// run runs a container to its end and deletes it.
func (b *bench) run(t *testing.T, s runtime.Spec) outcome {
	t.Helper()
	c, log := b.create(t, s)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exit, err := c.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	return outcome{exit, log.String()}
}

// within fails the test when f takes longer than d.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s took longer than %v", what, d)
	}
}

// inside is the part of a mount's place in the container.
func inside(name string) string { return filepath.Join("/workspace", name) }
