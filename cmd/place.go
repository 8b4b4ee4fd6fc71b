package cmd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"plumb/engine"
	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/store"
)

// Each containerd of the machine that a store has containers with has two directories
// of the store's: what is kept is beside the store, and what lives as long as the agent
// where the daemon finds it by the same name.

// newDaemonRuntime is containers of the machine's containerd.
func newDaemonRuntime(ctx context.Context, at engine.Place, dir string, log *slog.Logger) (runtime.Runtime, error) {
	rt, err := containerd.New(ctx, containerd.Options{
		Socket: at.Containerd, Root: filepath.Join(dir, "daemon-"+shortOf(at.Containerd)), State: daemonState(dir, at.Containerd), Logger: log,
	})
	if err = withRemedy(err); errors.As(err, new(*engine.Error)) {
		return nil, err
	}
	if err != nil {
		return nil, &engine.Error{Kind: engine.Machine, Message: err.Error(), Hint: "plumb doctor --runtime containerd=" + at.Containerd + " says what it lacks"}
	}
	return rt, nil
}

// newJailRuntime is stages without containers. Its store is another: layers are kept with
// other notes.
func newJailRuntime(ctx context.Context, dir string, log *slog.Logger) (runtime.Runtime, error) {
	rt, err := containerd.New(ctx, containerd.Options{Chroot: true, Root: filepath.Join(dir, "chroot"), State: filepath.Join(dir, "chroot", "state"), Logger: log})
	if err != nil {
		return nil, &engine.Error{Kind: engine.Machine, Message: err.Error(), Hint: "plumb doctor --isolation chroot says what this place lacks"}
	}
	return rt, nil
}

// withRemedy hints at what a runtime says is to be done.
func withRemedy(err error) error {
	var unusable *containerd.Unusable
	if errors.As(err, &unusable) {
		return &engine.Error{Kind: engine.Machine, Message: unusable.What, Hint: unusable.Remedy}
	}
	return err
}

func shortOf(socket string) string { return store.Sum([]byte(socket)).Short() }

// daemonState is beside the state of the containerd inside, which removes all that is in
// its own.
func daemonState(dir, socket string) string { return stateDir(dir) + "-" + shortOf(socket) }

// leftPlaces are where a killed agent may have left containers: they are cleared away by
// starting the runtime of that place.
func leftPlaces(dir string) (all []engine.Place) {
	for _, state := range statePaths(dir) {
		entries, err := os.ReadDir(state)
		socket := containerd.Left(state)
		switch {
		case err != nil || len(entries) == 0:
		case socket != "":
			all = append(all, engine.Place{Containerd: socket})
		case !strings.Contains(filepath.Base(state), "-"):
			all = append(all, engine.Place{})
		}
	}
	return all
}
