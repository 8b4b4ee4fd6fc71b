package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"plumb/engine/event"
	"plumb/store"
)

// Badger maps its logs and tables into memory. A page of them that the disk has no
// room for is no error then: the kernel ends the process with SIGBUS, and with it
// all its containers. So nothing is written to a store whose disk is all but full,
// and that is said instead. Half the reserve is enough to open it, so that gc can
// still make room; a file in the store holds the place of that much, and goes when the
// store could not be opened otherwise, or gc not work. Once it is gone, stages are not
// recorded into what it left for gc.
const (
	reserve     = store.ReserveSize // more than a memtable, its log and the table that it becomes
	openReserve = reserve / 2
	// startReserve is what a stage needs to begin. It is more than what one that runs
	// needs to be recorded: when space gets low, what runs can finish.
	startReserve = 4 * reserve
)

// roomToOpen requires what opening takes, for which the file gives way.
func roomToOpen(dir string) error {
	err := roomFor(dir, openReserve)
	if err == nil || !store.HasReserve(dir) {
		return err
	}
	if rerr := store.ReleaseReserve(dir); rerr != nil {
		return errors.Join(err, rerr)
	}
	return roomFor(dir, openReserve)
}

// privileged says whether the blocks that file systems keep for root are ours: root of
// a user namespace is an ordinary user.
var privileged = sync.OnceValue(func() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return os.Geteuid() == 0 && (err != nil || strings.Join(strings.Fields(string(ids)), " ") == "0 0 4294967295")
})

// roomFor requires so many free bytes where dir lies, or will.
func roomFor(dir string, bytes int64) error {
	var fsys syscall.Statfs_t
	at := dir
	err := syscall.Statfs(at, &fsys)
	for errors.Is(err, syscall.ENOENT) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		err = syscall.Statfs(at, &fsys)
	}
	if err != nil {
		return fmt.Errorf("looking for room on the disk of the store %q: %w", dir, err)
	}
	free := fsys.Bavail
	if privileged() {
		free = fsys.Bfree
	}
	if has := int64(free) * fsys.Bsize; has < bytes {
		return &Error{
			Kind:    Machine,
			Message: fmt.Sprintf("no space left on device: the disk of the store %q has %d MiB free, and at least %d MiB are needed", dir, has>>20, bytes>>20),
			Hint:    "make room there; plumb gc drops what is not needed any more",
		}
	}
	return nil
}

// room requires as much as the reserve besides it, for which what failed attempts left
// gives way, and when that is not enough the checkpoints of stages that do not run.
func (e *Engine) room() error {
	need := int64(reserve)
	if !store.HasReserve(e.cfg.Dir) {
		need += openReserve // what gc will need
	}
	err := roomFor(e.cfg.Dir, need)
	if err == nil || e.cfg.ReadOnly {
		return err
	}
	if terr := e.dropAllFailed(); terr != nil {
		return errors.Join(err, terr)
	}
	if roomFor(e.cfg.Dir, need) == nil {
		return nil
	}
	if _, terr := e.trimCheckpoints(false, func(time.Time, *checkpointOf) bool { return true }); terr != nil {
		return errors.Join(err, terr)
	}
	return roomFor(e.cfg.Dir, need)
}

// roomToStart requires room for a stage that begins. While others run it waits for
// what they give back, and tells so once.
func (e *Engine) roomToStart(ctx context.Context, tell func(error)) error {
	const again, tries = 50 * time.Millisecond, 40 // what ended is being deleted
	told := false
	for alone := 0; ; {
		err := roomFor(e.cfg.Dir, startReserve)
		if err == nil {
			return nil
		}
		if terr := e.trimFailed(func(int, *failedAttempt) bool { return true }); terr != nil {
			return errors.Join(err, terr)
		}
		if e.running.Load() == 0 {
			if alone++; alone == tries {
				return err
			}
		} else if !told {
			told = true
			tell(err)
		}
		if !sleep(ctx, again) {
			return ctx.Err()
		}
	}
}

// blameDisk makes a failed command the disk's failure when the disk is full: whatever
// the command made of it, it could not write.
func (r *run) blameDisk(f *event.Failure) {
	err := roomFor(r.e.cfg.Dir, reserve)
	if err == nil {
		return
	}
	f.Class, f.Message, f.Final = store.ClassInfra, fmt.Sprintf("%s, and there was %v", f.Message, err), true
	f.Hint = "make room there, for what the stage writes as well; plumb gc drops what is not needed any more"
}

// roomSoon waits a little for room: what a failed stage wrote is being deleted.
func (e *Engine) roomSoon(ctx context.Context) error {
	const tries = 40
	for range tries {
		if e.room() == nil || !sleep(ctx, 50*time.Millisecond) {
			break
		}
	}
	return e.room()
}

// putRun records a run when there is room, and else when there is some again: a
// run must not be taken to be under way for ever.
func (e *Engine) putRun(rec *store.Run) error {
	err := e.roomSoon(context.Background())
	if err == nil {
		err = e.store.PutRun(rec)
	}
	if err != nil {
		e.overdueMu.Lock()
		defer e.overdueMu.Unlock()
		e.overdue = append(e.overdue, rec)
		return fmt.Errorf("recording run %q: %w", rec.ID, err)
	}
	return nil
}

// putOverdue records what could not be recorded before.
func (e *Engine) putOverdue() error {
	e.overdueMu.Lock()
	defer e.overdueMu.Unlock()
	for len(e.overdue) > 0 {
		if err := e.room(); err != nil {
			return err
		}
		if err := e.store.PutRun(e.overdue[0]); err != nil {
			return fmt.Errorf("recording run %q: %w", e.overdue[0].ID, err)
		}
		e.overdue = e.overdue[1:]
	}
	return nil
}
