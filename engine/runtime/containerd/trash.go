package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"plumb/store/erase"
)

// trash removes directory trees behind the back of whoever threw them away: the
// scratch layer of a stage may have many files, and nobody needs them gone.
type trash struct {
	dir  string
	log  *slog.Logger
	next chan struct{} // something was thrown away; closed at the end
	done chan struct{}

	ctx  context.Context // of removing
	stop context.CancelFunc
}

// trashTime is how long the end waits for what is still there: a stage may leave more
// files than anybody wants to wait for.
const trashTime = 5 * time.Second

// newTrash also removes what an earlier owner left in dir.
func newTrash(dir string, log *slog.Logger) *trash {
	t := &trash{dir: dir, log: log, next: make(chan struct{}, 1), done: make(chan struct{})}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.next <- struct{}{}
	go t.empty()
	return t
}

// put moves path away at once. Names must not repeat among what is thrown away.
func (t *trash) put(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // with all that it was in perhaps, which is not to be made anew
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return fmt.Errorf("throwing away %q: %w", path, err)
	}
	away, err := os.MkdirTemp(t.dir, filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("throwing away %q: %w", path, err)
	}
	if err := os.Rename(path, filepath.Join(away, "x")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("throwing away %q: %w", path, err)
	}
	select {
	case t.next <- struct{}{}:
	default:
	}
	return nil
}

// empty removes until close. What cannot be removed stays for the next owner.
func (t *trash) empty() {
	defer close(t.done)
	for range t.next {
		t.remove()
	}
	t.remove()
}

func (t *trash) remove() {
	entries, err := os.ReadDir(t.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Warn("trash cannot be read", "dir", t.dir, "error", err)
	}
	for _, e := range entries {
		if err := erase.All(t.ctx, filepath.Join(t.dir, e.Name())); err != nil && t.ctx.Err() == nil {
			t.log.Warn("trash cannot be removed", "path", e.Name(), "error", err)
		}
	}
}

// close removes the rest, and leaves to the next owner what takes too long.
func (t *trash) close() {
	enough := time.AfterFunc(trashTime, t.stop)
	close(t.next)
	<-t.done
	enough.Stop()
	t.stop()
}
