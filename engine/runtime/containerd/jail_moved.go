package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A lasting directory is in a jail's root while the stage runs, and would go with it when
// plumb is killed. So where it came from is written down before it is moved, and the next
// jail puts it back before it clears away what the last one left.

// movedDir is the note, one a container.
type movedDir struct {
	From string `json:"from"`
	To   string `json:"to"`
	Ino  uint64 `json:"ino"`
}

const movedNote = "moved.json"

// noteMoved writes it beside the root of the container.
func noteMoved(scratch string, m moved) error {
	var all []movedDir
	name := filepath.Join(scratch, movedNote)
	if b, err := os.ReadFile(name); err == nil {
		if err := json.Unmarshal(b, &all); err != nil {
			return fmt.Errorf("reading %q: %w", name, err)
		}
	}
	b, err := json.Marshal(append(all, movedDir{m.from, m.to, m.ino}))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// putBack finds the notes of all containers below scratch. No process is left in any.
func putBack(scratch string) error {
	names, err := filepath.Glob(filepath.Join(scratch, "*", movedNote))
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("putting back what a killed stage had: %w", err)
		}
		var all []movedDir
		if json.Unmarshal(b, &all) != nil {
			continue // killed while it was written: nothing was moved then
		}
		for _, m := range all {
			if err := m.putBack(); err != nil {
				return fmt.Errorf("putting back %q, which a killed stage had: %w", m.From, err)
			}
		}
	}
	return nil
}

// putBack leaves alone what is back already, and what the stage put into its place.
func (m *movedDir) putBack() error {
	if _, err := os.Lstat(m.From); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var st unix.Stat_t
	err := unix.Lstat(m.To, &st)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Ino != m.Ino || st.Mode&unix.S_IFMT != unix.S_IFDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	err = os.Rename(m.To, m.From)
	if errors.Is(err, fs.ErrNotExist) { // nobody waits for it any more
		return nil
	}
	return err
}
