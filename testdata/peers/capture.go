package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// capture measures how long it takes from the end of a command to the record of
// the large file that it wrote, beside programs that go over such a file once.
func (b *bench) capture(ctx context.Context) error {
	dir := b.path("projects", "capture")
	if err := b.image.project(dir, captureGraph, int(b.bytes/mib), 0); err != nil {
		return err
	}
	if _, err := b.plumb.run(ctx, dir); err != nil { // unpacks the image
		return err
	}
	large := b.path("large")
	if err := writeZeros(large, b.bytes); err != nil {
		return err
	}
	b.say("an output of %s, %d rounds", size.text(float64(b.bytes)), b.long)
	times, err := interleave(ctx, b.long, []contender{
		{"plumb", synced, func(ctx context.Context, round int) (time.Duration, error) {
			t, err := b.plumb.force(ctx, dir, "large", "--param", fmt.Sprintf("salt=%d-%d", os.Getpid(), round))
			return t.recorded, err
		}},
		{"sha256 in Go", synced, func(context.Context, int) (time.Duration, error) { return hash(large) }},
		{"sha256sum", synced, func(ctx context.Context, _ int) (time.Duration, error) {
			return timed(exec.CommandContext(ctx, "sha256sum", large), "large")
		}},
		{"cp", func(ctx context.Context, round int) error {
			return errors.Join(removed(b.path("copy")), synced(ctx, round))
		},
			func(ctx context.Context, _ int) (time.Duration, error) {
				return timed(exec.CommandContext(ctx, "cp", "--reflink=never", large, b.path("copy")), "")
			}},
	})
	if err != nil {
		return err
	}
	b.table.times("end of the command to recorded", times["plumb"], times, "sha256 in Go", "sha256sum", "cp").below("sha256 in Go", 1.1)
	return errors.Join(removed(large), removed(b.path("copy")))
}

// synced starts a turn with nothing left to be written by those before.
func synced(context.Context, int) error {
	syscall.Sync()
	return nil
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeZeros writes a file with no holes in it.
func writeZeros(path string, n int64) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	block := make([]byte, mib)
	for ; n > 0 && err == nil; n -= mib {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}

// hash is one pass over a file, as plainly as Go does it.
func hash(path string) (time.Duration, error) {
	start := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	h := sha256.New()
	// The wrapper hides the file's WriteTo, which would choose a smaller buffer.
	_, err = io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, mib))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("hashing %q: %w", path, err)
	}
	return time.Since(start), nil
}
