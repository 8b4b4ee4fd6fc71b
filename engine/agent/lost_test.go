package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plumb/engine"
	"plumb/engine/event"
)

// An agent whose store is gone answers with that, cancels what runs, and leaves what
// lies at the path to whoever came there.
func TestLost(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  bool // for something, or it is noticed by itself
	}{{"at a request", true}, {"by itself", false}} {
		t.Run(tt.name, func(t *testing.T) {
			var gone atomic.Bool
			begun := make(chan struct{})
			api := &fake{run: func(ctx context.Context, _ engine.RunRequest, _ func(event.Event)) error {
				close(begun)
				<-ctx.Done()
				return errInterrupted
			}}
			r := newRig(t, api, Options{Present: func() error {
				if gone.Load() {
					return errors.New("the store is gone")
				}
				return nil
			}})
			ran := make(chan error, 1)
			go func() { ran <- r.client.Run(t.Context(), engine.RunRequest{}, func(event.Event) {}) }()
			<-begun
			gone.Store(true)
			if tt.ask {
				if _, err := r.client.Plan(t.Context(), engine.Request{}); err == nil || !strings.Contains(err.Error(), "the store is gone") {
					t.Errorf("it answers %v", err)
				}
			}
			select {
			case err := <-ran:
				if err == nil || !strings.Contains(err.Error(), "the store is gone") {
					t.Errorf("the run ended with %v", err)
				}
			case <-time.After(lookAfter + 10*time.Second):
				t.Fatal("the run goes on")
			}
			if err := r.ended(); err == nil || !strings.Contains(err.Error(), "the store is gone") {
				t.Errorf("serving ended with %v", err)
			}
			for _, name := range []string{socketName, pidName} {
				if _, err := os.Lstat(filepath.Join(r.dir, name)); err != nil {
					t.Errorf("what may be another's by now was removed: %v", err)
				}
			}
		})
	}
}
