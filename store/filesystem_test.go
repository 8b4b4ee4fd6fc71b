package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plumb/store/faultfs"
)

// File systems that are known not to hold a store are refused by name, to read and to
// write, and nothing is made there.
func TestRefusedFileSystems(t *testing.T) {
	for _, tt := range []struct {
		name  string
		magic int64
		want  string
	}{
		{"NFS", unix.NFS_SUPER_MAGIC, "(nfs) cannot hold a store: its locks may not hold on other machines"},
		{"SMB", unix.SMB_SUPER_MAGIC, "(smb)"},
		{"CIFS", 0xff534d42, "(cifs)"},
		{"SMB 3", 0xfe534d42, "(smb3)"},
		{"9p", unix.V9FS_MAGIC, "(9p)"},
		{"AFS", unix.AFS_SUPER_MAGIC, "(afs) cannot hold a store: what is written to it"},
		{"ext4", unix.EXT4_SUPER_MAGIC, ""},
		{"CephFS", 0x00c36400, ""},
	} {
		for _, readOnly := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "store")
				s, err := Open(dir, Options{ReadOnly: readOnly, volumeOf: func(string) (volume, error) { return volume{tt.magic, 1}, nil }})
				if tt.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					closeStore(t, s)
					return
				}
				var unfit *FileSystemError
				if !errors.As(err, &unfit) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
					t.Errorf("opening it: %v, want %q", err, tt.want)
				}
				if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("something was made there: %v", err)
				}
			})
		}
	}
}

// A file system is tried where a store is made, and where it has come to another.
func TestFileSystemIsTriedOnce(t *testing.T) {
	dir := t.TempDir()
	on := volume{unix.EXT4_SUPER_MAGIC, 1}
	open := func() {
		closeStore(t, openStore(t, dir, Options{volumeOf: func(string) (volume, error) { return on, nil }}))
	}
	open()
	told := filepath.Join(dir, "volume")
	first, err := os.Stat(told)
	if err != nil {
		t.Fatal(err)
	}
	open()
	if again, err := os.Stat(told); err != nil || !os.SameFile(first, again) {
		t.Errorf("it was tried again on the same file system: %v", err)
	}
	on.id++
	open()
	if moved, err := os.Stat(told); err != nil || os.SameFile(first, moved) {
		t.Errorf("it was not tried on another file system: %v", err)
	}
}

// A file system whose locks do not exclude is found out by trying.
func TestLocksThatDoNotExclude(t *testing.T) {
	dir := t.TempDir()
	f, end := mountFaults(t, dir, faultfs.WithoutLocks)
	t.Cleanup(end)
	if err := runScript(dir); err != nil {
		t.Fatal(err)
	}
	j := f.Journal()
	marks := strings.Join(j.Marks(len(j)), "; ")
	if want := "(fuse.faultfs) cannot hold a store: it gives the same lock twice"; !strings.Contains(marks, want) {
		t.Errorf("want %q, got %q", want, marks)
	}
}

func BenchmarkTryFileSystem(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		at, err := os.MkdirTemp(dir, "")
		if err == nil {
			err = tryFileSystem(at)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
