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

// room requires as much as the reserve besides it, for which what failed attempts left gives way.
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
	return roomFor(e.cfg.Dir, need)
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
