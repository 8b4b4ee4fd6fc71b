package store

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// A store needs of its file system that locks exclude, that a rename replaces, that
// hard links are there, and that what is written through a mapping is what is read.
// Where locks do not reach the other machines that see the same files, two owners
// would write at once. That cannot be found out from one machine, so those file
// systems are known by name; everything else is tried once, where a store is made or
// appears on another file system than it was last on.

// FileSystemError says that a store cannot be where it is. It is no other error's
// cause: the caller says what to do.
type FileSystemError struct {
	Dir    string
	Type   string // of the file system, as mount names it
	Reason string
}

func (e *FileSystemError) Error() string {
	return fmt.Sprintf("the file system of %q (%s) cannot hold a store: %s", e.Dir, e.Type, e.Reason)
}

// volume is what identifies a file system.
type volume struct {
	magic int64
	id    uint64
}

func (v volume) String() string { return fmt.Sprintf("%x %x\n", v.magic, v.id) }

// volumeOf looks at the nearest directory that is there.
func volumeOf(dir string) (volume, error) {
	var st unix.Statfs_t
	at := dir
	err := unix.Statfs(at, &st)
	for (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &st)
	}
	if err != nil {
		return volume{}, fmt.Errorf("looking at the file system: %w", &fs.PathError{Op: "statfs", Path: at, Err: err})
	}
	return volume{int64(st.Type), uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1]))}, nil
}

const (
	locksStay = "its locks may not hold on other machines that use it, and two would write to the store at once"
	notOneMap = "what is written to it is not seen by all that have it open"
)

// refused are the file systems that cannot hold a store although all that is tried
// may work. CephFS, GFS2, OCFS2, GPFS and Lustre are not among them: their locks hold
// everywhere, or are said not to be there.
var refused = map[int64]struct{ name, reason string }{
	unix.NFS_SUPER_MAGIC:  {"nfs", locksStay},
	unix.SMB_SUPER_MAGIC:  {"smb", locksStay},
	unix.CIFS_SUPER_MAGIC: {"cifs", locksStay},
	unix.SMB2_SUPER_MAGIC: {"smb3", locksStay},
	unix.V9FS_MAGIC:       {"9p", locksStay},
	unix.AFS_SUPER_MAGIC:  {"afs", notOneMap},
	unix.AFS_FS_MAGIC:     {"afs", notOneMap},
	unix.CODA_SUPER_MAGIC: {"coda", notOneMap},
	0x564c:                {"ncpfs", locksStay},
	0x786f4256:            {"vboxsf", notOneMap},
	0xbacbacbc:            {"vmhgfs", notOneMap},
}

// refusedFUSE are those of FUSE, which all have one number: what they show lies
// elsewhere, and the kernel keeps their locks by itself.
var refusedFUSE = map[string]string{
	"fuse.sshfs": locksStay, "fuse.rclone": locksStay, "fuse.s3fs": locksStay, "fuse.gcsfuse": locksStay, "fuse.goofys": locksStay, "fuse.mount-s3": locksStay,
	"fuse.blobfuse2": locksStay, "fuse.davfs": locksStay, "fuse.curlftpfs": locksStay, "fuse.smbnetfs": locksStay, "fuse.vmhgfs-fuse": notOneMap,
}

// CheckFileSystem tells a place where no store can be without looking further than
// for the file system's name. The error is a FileSystemError then.
func CheckFileSystem(dir string) error {
	_, err := checkVolume(dir, volumeOf)
	return err
}

func checkVolume(dir string, of func(string) (volume, error)) (volume, error) {
	v, err := of(dir)
	if err != nil {
		return v, err
	}
	if no, ok := refused[v.magic]; ok {
		return v, &FileSystemError{dir, no.name, no.reason}
	}
	if v.magic == unix.FUSE_SUPER_MAGIC {
		if name := mountType(dir); refusedFUSE[name] != "" {
			return v, &FileSystemError{dir, name, refusedFUSE[name]}
		}
	}
	return v, nil
}

// mountType is what mount calls the file system of a path; "unknown" where that
// cannot be found out.
func mountType(path string) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close() //nolint:errcheck // only read
	name, longest := "unknown", -1
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 1 {
			continue
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if (path == at || strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/")) && len(at) >= longest {
			name, longest = kind[0], len(at) // of two at one place the later covers the other
		}
	}
	return name
}

// settleOn tries the file system, unless the store was on it already.
func (s *Store) settleOn(v volume) error {
	path := s.path("volume")
	if b, err := os.ReadFile(path); err == nil && string(b) == v.String() {
		return nil
	}
	dir, err := os.MkdirTemp(s.path("tmp"), "try-")
	if err != nil {
		return fmt.Errorf("trying the file system: %w", err)
	}
	if err := tryFileSystem(dir); err != nil {
		err = fmt.Errorf("trying the file system: %w", err)
		if errors.Is(err, errUnfit) {
			err = &FileSystemError{s.dir, mountType(s.dir), strings.TrimPrefix(errors.Unwrap(err).Error(), errUnfit.Error()+": ")}
		}
		return errors.Join(err, os.RemoveAll(dir))
	}
	// Not synced: without it all is tried once more.
	tmp := filepath.Join(dir, "volume")
	if err := os.WriteFile(tmp, []byte(v.String()), 0o600); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp, path), os.RemoveAll(dir))
}

var errUnfit = errors.New("unfit")

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errUnfit, fmt.Errorf(format, args...))
}

// tryFileSystem tries in an empty directory what a store is built on.
func tryFileSystem(dir string) error {
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for path, content := range map[string]string{a: "a", c: "c"} {
		if err := os.WriteFile(path, []byte(strings.Repeat(content, os.Getpagesize())), 0o600); err != nil {
			return err
		}
	}
	if err := tryLock(a); err != nil {
		return err
	}
	if err := os.Link(a, b); err != nil {
		return unfit("it makes no hard links: %w", err)
	}
	if err := os.Rename(c, b); err != nil {
		return unfit("a rename does not replace a file: %w", err)
	}
	for path, want := range map[string]byte{a: 'a', b: 'c'} {
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if len(got) == 0 || got[0] != want {
			return unfit("a rename over a hard link changes the file that was linked")
		}
	}
	return tryMapping(a)
}

// tryLock takes a lock twice, through two open files: the second is refused.
func tryLock(path string) (err error) {
	var files [2]*os.File
	for i := range files {
		if files[i], err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, files[i].Close()) }()
	}
	if err := unix.Flock(int(files[0].Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return unfit("it has no locks: %w", err)
	}
	switch err := unix.Flock(int(files[1].Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return unfit("it gives the same lock twice")
	case !errors.Is(err, unix.EWOULDBLOCK):
		return unfit("it has no locks: %w", err)
	}
	return nil
}

// tryMapping writes through a mapping and beside it, and reads the other way.
func tryMapping(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return unfit("it maps no files into memory: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(m)) }()
	// A page that cannot be read is a signal, and no error, unless it is asked for.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = unfit("a file that is mapped into memory cannot be read")
		}
	}()
	m[0] = 'm'
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return unfit("a file that is mapped into memory cannot be synced: %w", err)
	}
	got := make([]byte, 1)
	if _, err := f.ReadAt(got, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte("w"), 1); err != nil {
		return err
	}
	if got[0] != 'm' || m[1] != 'w' {
		return unfit("what is written to a file that is mapped into memory is not seen")
	}
	return nil
}
