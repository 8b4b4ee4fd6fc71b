// Package faultfs is a file system for tests, in memory and mounted through FUSE,
// that loses and refuses what a disk may lose and refuse. It is meant for programs
// that map files and bring their own file code, as Badger does: nothing of them has
// to be replaced, since all of it goes through the kernel.
//
//	fs, err := faultfs.Mount(dir)         serve an empty file system at dir
//	fs.Inject(Fault{At: 17, Errno: EIO})  the 17th change from now on fails
//	…                                     a child process works below dir
//	j := fs.Journal()                     every change that was made, in order
//	j.Survivor(40, Strict, 0)             what a power cut after the 40th leaves
//
// # Who works on it
//
// The server lives in the process that called Mount, and that process must not touch
// the mount itself: a page fault that waits for its own process can stop it as a
// whole. Tests run what they test in a child.
//
// # Changes
//
// A change is what reaches a disk: making, linking, renaming and removing a name,
// writing, setting a size, a mode or a time, and syncing. What is written through a
// mapping becomes a change when the kernel writes the page back, at the latest in
// msync. A failed change changes nothing, and what the kernel had of it in memory
// stays there and is not written again: the behaviour of Linux's own file systems.
//
// A child says what it has done with Mark, which puts the words into the journal, in
// the one order that counts.
//
// # Power cuts
//
// The journal knows all that was done and all that was synced, so one run of the
// child is enough to have the power fail after each of its changes. What survives is
// decided by a Model. syncfs is not seen here, as the kernel does not tell FUSE of
// it; nor is sync_file_range, which promises nothing.
package faultfs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// FS is a mounted file system.
type FS struct {
	dir    string
	server *fuse.Server
	locks  bool // whether flock is ours, and does nothing

	mu      sync.Mutex
	live    *Tree
	journal Journal
	last    uint64 // the newest inode
	handles map[uint64][]name
	handle  uint64
	changes int // seen since Inject
	fault   Fault
	hit     []string // what failed
}

// Fault makes changes fail: the one with the number At, the first being 1, or with
// Forever all from there on. At 0 is no fault.
type Fault struct {
	At      int
	Forever bool
	Errno   syscall.Errno
}

// Option changes how a file system behaves.
type Option func(*FS)

// WithoutLocks grants every lock to everybody, as network file systems without a
// lock server do.
func WithoutLocks(f *FS) { f.locks = true }

// Mount serves an empty file system at dir until Unmount.
func Mount(dir string, options ...Option) (*FS, error) {
	f := &FS{dir: dir, live: newTree(), last: rootIno, handles: map[uint64][]name{}}
	for _, o := range options {
		o(f)
	}
	server, err := fuse.NewServer(&handler{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: f}, dir, &fuse.MountOptions{
		FsName: "faultfs", Name: "faultfs", DirectMountStrict: true, AllowOther: true, EnableLocks: f.locks, DisableReadDirPlus: true, MaxWrite: 1 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("mounting faultfs at %q: %w", dir, err)
	}
	f.server = server
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mounting faultfs at %q: %w", dir, err), f.Unmount())
	}
	return f, nil
}

// Unmount takes the file system away, whoever uses it.
func (f *FS) Unmount() error {
	if err := unix.Unmount(f.dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmounting faultfs at %q: %w", f.dir, err)
	}
	return nil
}

// Inject sets what fails, and begins to count changes anew.
func (f *FS) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.changes, f.hit = fault, 0, nil
}

// Changes is how many there were since Inject, or since Mount.
func (f *FS) Changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes
}

// Hit lists the changes that failed, for messages.
func (f *FS) Hit() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.hit...)
}

// Journal is what was done until now.
func (f *FS) Journal() Journal {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(Journal(nil), f.journal...)
}

// markAttr is the attribute whose setting is a mark.
const markAttr = "user.faultfs.mark"

// Mark writes words into the journal of the file system that is mounted at dir.
func Mark(dir, words string) error {
	if err := unix.Setxattr(dir, markAttr, []byte(words), 0); err != nil {
		return fmt.Errorf("marking %q: %w", words, &os.PathError{Op: "setxattr", Path: dir, Err: err})
	}
	return nil
}

// change makes one, unless it is to fail.
func (f *FS) change(op Op) fuse.Status {
	f.changes++
	op.At = time.Now().UnixNano()
	if f.fault.At > 0 && (f.changes == f.fault.At || f.fault.Forever && f.changes > f.fault.At) {
		f.hit = append(f.hit, f.live.describe(&op))
		if op.Kind == Sync {
			op.Failed = true
			f.journal = append(f.journal, op)
		}
		return fuse.Status(f.fault.Errno)
	}
	f.live.apply(&op)
	f.journal = append(f.journal, op)
	return fuse.OK
}
