package engine

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb/engine/event"
	"plumb/engine/runtime"
)

// TestOwnLeaseIsNotTakenForAnothers has somebody else rely on bytes when the run that
// made them ends while it is about to drop them: they stay.
func TestOwnLeaseIsNotTakenForAnothers(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	k := r.keyOf("features")
	release := r.store.Lease(k)
	defer release()
	var once sync.Once
	held := make(chan struct{})
	r.rt.watch = func(s runtime.Spec, begins bool) {
		if !begins && strings.Contains(strings.Join(s.Args, " "), "model") {
			once.Do(func() {
				r.drops.mu.Lock()
				close(held)
			})
		}
	}
	ended := make(chan error, 1)
	req := r.request()
	param("train", "2")(&req)
	go func() { ended <- r.Run(context.Background(), req, func(event.Event) {}) }()
	select {
	case <-held:
	case err := <-ended:
		t.Fatalf("train did not run: %v", err)
	}
	select { // until it waits, or would have gone on
	case err := <-ended:
		r.drops.mu.Unlock()
		t.Fatalf("the run ended before it had dropped anything: %v", err)
	case <-time.After(300 * time.Millisecond):
		r.drops.mu.Unlock()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	rec, err := r.store.Record(k)
	if err != nil || rec == nil || rec.Outputs[0].Dropped {
		t.Errorf("what somebody relies on was dropped: %v", err)
	}
}

// TestRememberedResultWhoseBytesWent has another run drop bytes that this one knew to be
// there when it planned, while it still waits to decide about them: they are made again.
func TestRememberedResultWhoseBytesWent(t *testing.T) {
	r := newRig(t, `
param "n" { default = "1" }
stage "x" {
  inputs  = ["in.txt"]
  command = ["write", "x", "x"]
  outputs = { o = { path = "x", retain = "none" } }
}
stage "c" {
  inputs  = [stage.x]
  command = ["copy", "x", "c"]
  outputs = { o = { path = "c", retain = "none" } }
}
stage "d" {
  inputs  = [stage.c]
  command = ["copy", "c", "d", ";", "print", param.n]
  outputs = { o = "d" }
}
stage "e" {
  inputs  = [stage.x]
  command = ["copy", "x", "e", ";", "print", param.n]
  outputs = { o = "e" }
}
`)
	r.write("in.txt", "1")
	r.want(map[string]string{"x": "ran", "c": "ran", "d": "ran", "e": "ran"}, func(q *RunRequest) { q.Keep = []string{"c"} })
	k := r.keyOf("c")
	var once sync.Once
	r.rt.watch = func(s runtime.Spec, begins bool) {
		if begins && strings.Join(s.Args, " ") == "write x x" {
			once.Do(func() {
				r.drops.mu.Lock()
				defer r.drops.mu.Unlock()
				if _, err := r.store.Drop(k, []string{"o"}); err != nil {
					t.Error(err)
				}
				r.commits.Add(1)
				r.drops.count.Add(1)
			})
		}
	}
	r.want(map[string]string{"x": "ran", "c": "ran", "d": "ran", "e": "ran"}, param("n", "2"))
}
