package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"plumb/store"
	"plumb/store/erase"
)

// What a failed attempt had written in its workspace stays, so that plumb shell can
// show it: the last one of each stage, until the stage succeeds or gc runs, and as long
// as the disk has room. It is no result, and no stage ever reads it.
//
//	STORE/failed/NAME/about.json  which attempt it was
//	STORE/failed/NAME/work        its workspace

// maxFailed is how many are kept, the newest.
const maxFailed = 20

// failedAttempt is what is known of such a workspace.
type failedAttempt struct {
	Project string      `json:"project"`
	Stage   string      `json:"stage"`
	Key     store.Key   `json:"key"`
	Run     store.RunID `json:"run"`
	Number  int         `json:"number"`
	Class   store.Class `json:"class"`
	When    time.Time   `json:"when"`
}

func (f *failedAttempt) name() string {
	return store.Sum([]byte("failed\x00" + f.Project + "\x00" + f.Stage)).Hex()[:32]
}

// failures counts the attempts whose workspaces are about to be kept: their containers
// are deleted behind the scenes.
type failures struct {
	mu      sync.Mutex
	settled sync.Cond
	pending map[string]int
}

func (f *failures) begin(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending == nil {
		f.pending, f.settled.L = map[string]int{}, &f.mu
	}
	f.pending[name]++
}

func (f *failures) end(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending[name]--; f.pending[name] == 0 {
		delete(f.pending, name)
	}
	f.settled.Broadcast()
}

// settle waits until nothing is on its way to name.
func (f *failures) settle(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.pending[name] > 0 {
		f.settled.Wait()
	}
}

func (e *Engine) failedDir() string { return filepath.Join(e.cfg.Dir, "failed") }

// keepFailed takes the workspace of a sandbox whose container is gone. Without much
// room on the disk it is not kept.
func (e *Engine) keepFailed(sb *sandbox, f failedAttempt) error {
	if roomFor(e.cfg.Dir, 4*reserve) != nil {
		return nil
	}
	about, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("keeping the workspace of stage %q: %w", f.Stage, err)
	}
	dir, err := e.store.TempDir("failed-")
	if err != nil {
		return fmt.Errorf("keeping the workspace of stage %q: %w", f.Stage, err)
	}
	err = os.WriteFile(filepath.Join(dir, "about.json"), about, 0o600)
	if err == nil {
		err = os.Rename(sb.work, filepath.Join(dir, "work"))
	}
	if err == nil {
		err = os.MkdirAll(e.failedDir(), 0o711)
	}
	if err == nil {
		err = e.dropFailed(f)
	}
	if err == nil {
		err = os.Rename(dir, filepath.Join(e.failedDir(), f.name()))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping the workspace of stage %q: %w", f.Stage, err), erase.All(e.removing, dir))
	}
	return e.trimFailed(func(n int, _ *failedAttempt) bool { return n >= maxFailed })
}

// dropFailed removes what was kept of the stage before.
func (e *Engine) dropFailed(f failedAttempt) error {
	return e.removeFailed(filepath.Join(e.failedDir(), f.name()))
}

// removeFailed takes it out of the way in one step, however much it is.
func (e *Engine) removeFailed(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	away, err := e.store.TempDir("failed-")
	if err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(away, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.Remove(away))
	}
	return erase.All(e.removing, away)
}

// takeFailed moves a kept workspace to a place of the caller's; nil when there is none
// of this stage.
func (e *Engine) takeFailed(project, stage string) (*failedAttempt, string, error) {
	f := &failedAttempt{Project: project, Stage: stage}
	at := filepath.Join(e.failedDir(), f.name())
	e.failures.settle(f.name())
	got, err := readFailed(at)
	if err != nil || got == nil {
		return nil, "", err
	}
	dir, err := e.store.TempDir("failed-")
	if err != nil {
		return nil, "", err
	}
	if err := os.Rename(at, filepath.Join(dir, "taken")); err != nil {
		return nil, "", errors.Join(fmt.Errorf("taking the workspace of stage %q: %w", stage, err), os.Remove(dir))
	}
	return got, dir, nil
}

// peekFailed says what is kept of a stage, nil for nothing.
func (e *Engine) peekFailed(project, stage string) (*failedAttempt, error) {
	f := &failedAttempt{Project: project, Stage: stage}
	e.failures.settle(f.name())
	return readFailed(filepath.Join(e.failedDir(), f.name()))
}

// readFailed reads what is known of a workspace; nil when it is not there, or is
// nothing that this plumb can use.
func readFailed(dir string) (*failedAttempt, error) {
	b, err := os.ReadFile(filepath.Join(dir, "about.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what a failed attempt left: %w", err)
	}
	f := &failedAttempt{}
	if json.Unmarshal(b, f) != nil {
		return nil, nil
	}
	return f, nil
}

// trimFailed removes those that drop says, asked with how many newer ones there are. A
// directory that tells nothing of itself goes, too.
func (e *Engine) trimFailed(drop func(newer int, f *failedAttempt) bool) error {
	entries, err := os.ReadDir(e.failedDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing what failed attempts left: %w", err)
	}
	type kept struct {
		path string
		f    *failedAttempt
	}
	var all []kept
	for _, en := range entries {
		path := filepath.Join(e.failedDir(), en.Name())
		f, err := readFailed(path)
		if err != nil || f == nil {
			f = &failedAttempt{} // older than all
		}
		all = append(all, kept{path, f})
	}
	slices.SortFunc(all, func(a, b kept) int { return b.f.When.Compare(a.f.When) })
	var errs []error
	for n, k := range all {
		if k.f.When.IsZero() || drop(n, k.f) {
			errs = append(errs, e.removeFailed(k.path))
		}
	}
	return errors.Join(errs...)
}
