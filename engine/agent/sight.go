package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// An agent has mounts of its own, and not on every machine does it see what is mounted
// or unmounted after it began. So a client says which directory its project is, and an
// agent that sees another one there is replaced by one that begins now.

// Place is a directory, and which one it is: "" when that cannot be told.
type Place struct {
	Dir   string `json:"dir,omitempty"`
	Inode string `json:"inode,omitempty"`
}

// PlaceOf says which directory dir is for this process.
func PlaceOf(dir string) Place {
	p := Place{Dir: dir}
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil {
		p.Inode = fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	return p
}

// seen reports whether this process sees the same directory.
func (p Place) seen() bool { return p.Inode == "" || PlaceOf(p.Dir).Inode == p.Inode }
