package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"plumb/engine/event"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/erase"
)

// A stage with checkpoint = "dir" finds there what the last attempt at the same key left,
// however that ended, in this run or in one before:
//
//	STORE/checkpoints/KEY/about.json  which attempt had it last
//	STORE/checkpoints/KEY/data        what the stage sees
//
// It is mounted, writable, as a directory of its own: nothing has to be saved when the
// machine stops, and what a stage synced stays. It belongs to a key, is dropped when
// the key has its result, and never is part of one. One attempt has it at a time: it is
// handed on under the key's lock, when no process of the attempt before is left. Those
// of a killed owner of the store end when the runtime that had them is started again,
// hence the place in about.json. A forced stage starts from nothing.
//
// What a success leaves when the machine stops before it is dropped is known by its run:
// the record's is the same (see dropFinishedCheckpoints).

// checkpointOf says who had a checkpoint last.
type checkpointOf struct {
	Project string      `json:"project"`
	Stage   string      `json:"stage"`
	Key     store.Key   `json:"key"`
	Run     store.RunID `json:"run"`
	Number  int         `json:"number"`
	When    time.Time   `json:"when"`
	Place   Place       `json:"place"`
}

// checkpoints knows which are mounted.
type checkpoints struct {
	mu   sync.Mutex
	used map[store.Key]bool
}

// hold keeps gc from a checkpoint until release is called.
func (c *checkpoints) hold(k store.Key) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil {
		c.used = map[store.Key]bool{}
	}
	c.used[k] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.used, k)
	}
}

func (e *Engine) checkpointsDir() string { return filepath.Join(e.cfg.Dir, "checkpoints") }

func (e *Engine) checkpointDir(k store.Key) string { return filepath.Join(e.checkpointsDir(), k.Hex()) }

// mountCheckpoint adds the checkpoint to a sandbox, made when there is none, and says
// who left something in it, nil when it is empty. The caller holds the key's lock.
func (e *Engine) mountCheckpoint(ctx context.Context, sb *sandbox, at string, now checkpointOf) (left *checkpointOf, err error) {
	defer func() {
		var told *Error
		if err != nil && !errors.As(err, &told) {
			err = fmt.Errorf("mounting the checkpoint of stage %q: %w", now.Stage, err)
		}
	}()
	dir := e.checkpointDir(now.Key)
	data := filepath.Join(dir, "data")
	before, err := readCheckpoint(dir)
	if err != nil {
		return nil, err
	}
	if before != nil && before.Place != now.Place {
		if _, err := e.runtimeOf(ctx, before.Place); err != nil {
			return nil, &Error{
				Kind: Machine, Hint: fmt.Sprintf("plumb run --force %s starts from nothing", now.Stage),
				Message: fmt.Sprintf("whether something left in %s still uses the checkpoint of stage %q cannot be told: %v", before.Place, now.Stage, err),
			}
		}
	}
	if err := makeDurably(e.checkpointsDir(), dir, data); err != nil {
		return nil, err
	}
	if err := e.noteCheckpoint(now); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(data)
	if err != nil {
		return nil, err
	}
	if err := sb.mount(runtime.Mount{Source: data, Target: path.Join(workspace, at), Lasting: true}, at); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, nil
	}
	if before == nil { // what is known of it is damaged
		before = &checkpointOf{}
	}
	return before, nil
}

// mount adds a directory at a path of the workspace.
func (s *sandbox) mount(m runtime.Mount, at string) error {
	root, err := os.OpenRoot(s.work)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := makePoint(root, filepath.FromSlash(at), true); err != nil {
		return err
	}
	s.points[at] = true
	s.mounts = append(s.mounts, m)
	return nil
}

// noteCheckpoint says whose it is from now on.
func (e *Engine) noteCheckpoint(now checkpointOf) error {
	about, err := json.Marshal(now)
	if err != nil {
		return err
	}
	to := filepath.Join(e.checkpointDir(now.Key), "about.json")
	if err := writeDurably(to+".new", about); err != nil {
		return err
	}
	if err := os.Rename(to+".new", to); err != nil {
		return err
	}
	return syncPath(filepath.Dir(to))
}

// mountCheckpoint is that of stage i, for an attempt that is being made ready. A forced
// stage does not find what other runs left.
func (r *run) mountCheckpoint(ctx context.Context, i int, a *attempt) (*checkpointOf, error) {
	s, d := r.s.planner.Stage(i), r.s.planner.Decision(i)
	if s.Checkpoint == "" {
		return nil, nil
	}
	now := checkpointOf{Project: r.req.Project.Dir, Stage: s.Name, Key: d.Key, Run: r.id, Number: a.number, When: r.e.cfg.Now().UTC(), Place: r.req.Place}
	if len(d.Reasons) > 0 && d.Reasons[0].Kind == plan.ReasonForced {
		if c, err := readCheckpoint(r.e.checkpointDir(d.Key)); err != nil || c == nil || c.Run != r.id {
			if err := errors.Join(err, r.e.dropCheckpoint(d.Key)); err != nil {
				return nil, err
			}
		}
	}
	return r.e.mountCheckpoint(ctx, a.sandbox, s.Checkpoint, now)
}

// tellResumed says that an attempt does not start from nothing.
func (r *run) tellResumed(stage string, a *attempt) {
	if a.left == nil {
		return
	}
	text := fmt.Sprintf("goes on from the checkpoint of attempt %d", a.left.Number)
	switch {
	case a.left.Run == "":
		text = "goes on from a checkpoint"
	case a.left.Run != r.id:
		text += fmt.Sprintf(" of run %s", a.left.Run)
	}
	r.emit(event.Event{Type: event.Resumed, Stage: stage, Number: a.number, Message: text})
}

// leaveCheckpoint drops the checkpoint of a stage that has its result, and else notes
// how long it was used.
func (r *run) leaveCheckpoint(i int, a *attempt, fail *event.Failure) {
	s, d := r.s.planner.Stage(i), r.s.planner.Decision(i)
	var err error
	if fail == nil {
		err = r.e.dropCheckpoint(d.Key)
	} else {
		err = r.e.noteCheckpoint(checkpointOf{Project: r.req.Project.Dir, Stage: s.Name, Key: d.Key, Run: r.id, Number: a.number, When: r.e.cfg.Now().UTC(), Place: r.req.Place})
	}
	if err != nil {
		r.emit(event.Event{Type: event.Warning, Stage: s.Name, Message: fmt.Sprintf("stage %s: %v", s.Name, err)})
	}
}

// makeDurably makes directories, each in the one before, that a power failure does not
// undo.
func makeDurably(dirs ...string) error {
	for _, d := range dirs {
		err := os.Mkdir(d, 0o711)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = syncPath(filepath.Dir(d))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeDurably(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readCheckpoint reads what is known of one; nil when there is none, or nothing that
// this plumb can use.
func readCheckpoint(dir string) (*checkpointOf, error) {
	b, err := os.ReadFile(filepath.Join(dir, "about.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is known of a checkpoint: %w", err)
	}
	c := &checkpointOf{}
	if json.Unmarshal(b, c) != nil {
		return nil, nil
	}
	return c, nil
}

// dropCheckpoint takes the checkpoint of a key out of the way, at once, and deletes it
// behind the scenes.
func (e *Engine) dropCheckpoint(k store.Key) error {
	away, err := e.setAside(e.checkpointDir(k))
	if err != nil {
		return fmt.Errorf("dropping the checkpoint of key %s: %w", k.Short(), err)
	}
	if away == "" {
		return nil
	}
	e.background.Go(func() {
		if err := erase.All(e.removing, away); err != nil && !errors.Is(err, context.Canceled) { // else the next owner goes on
			e.cfg.Logger.Warn("deleting a checkpoint", "error", err)
		}
	})
	return nil
}

// setAside moves a directory to where the next owner would delete it; "" when it is not
// there.
func (e *Engine) setAside(dir string) (away string, err error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if away, err = e.store.TempDir("dropped-"); err != nil {
		return "", err
	}
	if err := os.Rename(dir, filepath.Join(away, "old")); err != nil {
		return "", errors.Join(err, os.Remove(away))
	}
	return away, syncPath(filepath.Dir(dir))
}

// trimCheckpoints drops those that nothing uses and drop says, asked with when each was
// last written, and counts them.
func (e *Engine) trimCheckpoints(dry bool, drop func(last time.Time, c *checkpointOf) bool) (n int, err error) {
	entries, err := os.ReadDir(e.checkpointsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("listing the checkpoints: %w", err)
	}
	var errs []error
	for _, en := range entries {
		d, err := store.ParseDigest("sha256:" + en.Name())
		if err != nil {
			continue
		}
		gone, err := e.trimCheckpoint(store.Key(d), dry, drop)
		if gone {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

func (e *Engine) trimCheckpoint(k store.Key, dry bool, drop func(last time.Time, c *checkpointOf) bool) (bool, error) {
	dir := e.checkpointDir(k)
	c, err := readCheckpoint(dir)
	if err != nil || !drop(lastWritten(dir, c), c) {
		return false, err
	}
	e.checkpoints.mu.Lock()
	if e.checkpoints.used[k] || dry {
		used := e.checkpoints.used[k]
		e.checkpoints.mu.Unlock()
		return !used, nil
	}
	away, err := e.setAside(dir)
	e.checkpoints.mu.Unlock()
	if err == nil && away != "" {
		err = erase.All(e.removing, away) // whoever trims wants the room
	}
	return true, err
}

// lastWritten is when a checkpoint was mounted or, as far as its directory tells, the
// stage put something into it.
func lastWritten(dir string, c *checkpointOf) time.Time {
	var last time.Time
	if c != nil {
		last = c.When
	}
	if fi, err := os.Stat(filepath.Join(dir, "data")); err == nil && fi.ModTime().After(last) {
		last = fi.ModTime()
	}
	return last
}

// dropFinishedCheckpoints drops those of which the last attempt succeeded: a killed
// owner of the store may not have come to it.
func (e *Engine) dropFinishedCheckpoints() error {
	_, err := e.trimCheckpoints(false, func(_ time.Time, c *checkpointOf) bool {
		if c == nil {
			return false
		}
		rec, err := e.store.Record(c.Key)
		return err == nil && rec != nil && rec.Run == c.Run
	})
	return err
}

// showCheckpoint lets a shell see a checkpoint, which is the running stage's alone to
// write.
func (e *Engine) showCheckpoint(sb *sandbox, s *hcl.Stage, k store.Key) error {
	if s.Checkpoint == "" {
		return nil
	}
	data := filepath.Join(e.checkpointDir(k), "data")
	e.checkpoints.mu.Lock()
	used := e.checkpoints.used[k]
	e.checkpoints.mu.Unlock()
	if _, err := os.Stat(data); used || err != nil {
		data = filepath.Join(sb.dir, "checkpoint") // empty
		if err := os.Mkdir(data, 0o755); err != nil {
			return fmt.Errorf("making a place for the checkpoint of stage %q: %w", s.Name, err)
		}
	}
	if err := sb.mount(runtime.Mount{Source: data, Target: path.Join(workspace, s.Checkpoint), ReadOnly: true}, s.Checkpoint); err != nil {
		return fmt.Errorf("mounting the checkpoint of stage %q: %w", s.Name, err)
	}
	return nil
}
