package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// Download brings an object of a known SHA-256 (64 hex digits) to a path, which
// appears when it is whole, and checked. Until then its bytes are in PATH.part; a
// part that a killed process left is gone on with. Of two downloads to one path at
// once the second waits. progress, which may be nil, is told bytes.
func (c *Client) Download(ctx context.Context, o Object, want, path string, progress func(done, total int64)) (err error) {
	part, err := lockPart(ctx, path+".part")
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	defer func() { err = errors.Join(err, part.Close()) }()
	if _, err := os.Stat(path); err == nil {
		return os.Remove(part.Name()) // the one that was waited for brought it
	}
	info, err := part.Stat()
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	err = c.fill(ctx, o, want, part, progress)
	if IsMismatch(err) && info.Size() > 0 {
		// What the killed process left may have been of another content.
		if err = part.Truncate(0); err == nil {
			err = c.fill(ctx, o, want, part, progress)
		}
	}
	if IsMismatch(err) || err != nil && isEmpty(part) {
		return errors.Join(err, os.Remove(part.Name()))
	}
	if err == nil {
		err = part.Sync()
	}
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// isEmpty says that there is nothing to go on with.
func isEmpty(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Size() == 0
}

// lockPart opens a part for one writer.
func lockPart(ctx context.Context, name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// It may have been renamed to what it was to become, while this waited.
		there, err := os.Stat(name)
		mine, err2 := f.Stat()
		if err == nil && err2 == nil && os.SameFile(there, mine) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		if _, err := os.Stat(name[:len(name)-len(".part")]); err == nil {
			continue // and makes an empty part, which Download removes
		}
	}
}

// flock waits for the lock in a goroutine of its own, so that ctx can end the wait:
// closing the file does not, but the goroutine ends with the lock's holder.
func flock(ctx context.Context, f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	dup, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	locked := make(chan error, 1)
	go func() {
		err := unix.Flock(dup, unix.LOCK_EX)
		locked <- errors.Join(err, unix.Close(dup))
	}()
	select {
	case err := <-locked:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill goes on with a part, and checks the whole.
func (c *Client) fill(ctx context.Context, o Object, want string, part *os.File, progress func(done, total int64)) error {
	h := sha256.New()
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(h, part)
	if err != nil {
		return err
	}
	if o.Size > 0 && n > o.Size {
		return &MismatchError{Display(o.URL), "size", fmt.Sprint(o.Size), fmt.Sprint(n)}
	}
	if n < o.Size || o.Size == 0 {
		o.Offset = n
		err := c.append(ctx, o, &told{f: part, h: h, done: n, progress: progress})
		// Nothing is behind the end of what is there: the digest says whether that is all.
		if err != nil && (Status(err) != http.StatusRequestedRangeNotSatisfiable || n == 0) {
			return err
		}
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != want {
		return &MismatchError{Display(o.URL), "digest", "sha256:" + want, "sha256:" + have}
	}
	return nil
}

func (c *Client) append(ctx context.Context, o Object, to *told) error {
	r, err := c.Open(ctx, o)
	if err != nil {
		return err
	}
	to.total = r.Size()
	_, err = io.Copy(to, r)
	return errors.Join(err, r.Close())
}

// told writes, hashes and tells.
type told struct {
	f           *os.File
	h           hash.Hash
	done, total int64
	progress    func(done, total int64)
}

func (t *told) Write(b []byte) (int, error) {
	n, err := t.f.Write(b)
	t.h.Write(b[:n])
	t.done += int64(n)
	if t.progress != nil {
		t.progress(t.done, max(t.total, t.done))
	}
	return n, err
}
