package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"plumb/engine/event"
	"plumb/store"
)

// lostContent says of bytes that proved to be lost or damaged when somebody was about to
// read them, that another attempt does not mend it and a run does: what was damaged has
// been set aside, so that what made it is planned to run.
func lostContent(err error) error {
	if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound) { // also none at all
		return err
	}
	return &Error{Kind: Machine, Message: err.Error(), Hint: "plumb run makes it anew; plumb fsck looks for more such damage"}
}

// Fsck reads all of the store and says what is not what it should be; with Repair it
// mends it.
func (e *Engine) Fsck(ctx context.Context, req FsckRequest, emit func(event.Event)) (*FsckDoc, error) {
	e.sweeps.Add(1)
	defer e.sweeps.Add(1)
	rep, err := e.store.Fsck(ctx, fsckOptions(e.cfg.Dir, req, emit))
	if err != nil {
		return nil, err
	}
	if err := e.checkFailed(rep); err != nil {
		return nil, err
	}
	return &FsckDoc{Schema: Schema, FsckReport: *rep}, nil
}

// FsckStore is Fsck of a store that no agent has open. It goes on where Open does not:
// where the records are damaged.
func FsckStore(ctx context.Context, cfg Config, req FsckRequest, emit func(event.Event)) (_ *FsckDoc, err error) {
	cfg.ReadOnly = !req.Repair
	opts := store.Options{ReadOnly: cfg.ReadOnly, Logger: cfg.Logger, Now: cfg.Now, PID: cfg.PID, Names: namesOf}
	e, err := Open(cfg)
	var mended []store.Finding
	if damaged := err; damaged != nil && store.TellsOfDamage(damaged.Error()) {
		if !req.Repair {
			rep, err := store.FsckUnopened(ctx, cfg.Dir, opts, fsckOptions(cfg.Dir, req, emit))
			if err != nil {
				return nil, err
			}
			return &FsckDoc{Schema: Schema, FsckReport: *rep}, nil
		}
		if mended, err = store.RebuildRecords(cfg.Dir, opts); err == nil {
			e, err = Open(cfg)
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	doc, err := e.Fsck(ctx, req, emit)
	if err != nil {
		return nil, err
	}
	doc.Add(mended...)
	return doc, nil
}

func fsckOptions(dir string, req FsckRequest, emit func(event.Event)) store.FsckOptions {
	tell := throttled(emit)
	return store.FsckOptions{Repair: req.Repair, Others: othersByDigest(dir), Progress: func(done, total int64) {
		tell(event.Event{Type: event.Progress, Message: "reading the store", Done: done, Total: total})
	}}
}

// othersByDigest lists the files of the store that are named by their digests and are
// no blobs: what container images are made of, and packages. A runtime knows its own
// images, so that only it can let go of one.
func othersByDigest(dir string) (out []store.OtherFile) {
	for _, kind := range []struct {
		pattern, suffix string
		like            store.OtherFile
	}{
		{"*/io.containerd.content.v1.content/blobs/sha256/*", "", store.OtherFile{
			What: "a part of a container image", Effect: "an image that has it cannot be unpacked or exported; what is unpacked already is not touched by it",
			Remedy: "plumb image rm removes the image, and it comes again when a stage needs it",
		}},
		{"downloads/debs/*.deb", ".deb", store.OtherFile{
			What: "a package", Effect: "it is downloaded again when an image is made of it", Remedy: "it is set aside", Drop: true,
		}},
	} {
		paths, err := filepath.Glob(filepath.Join(dir, kind.pattern))
		if err != nil {
			continue // there is no such pattern
		}
		for _, path := range paths {
			d, err := store.ParseDigest("sha256:" + strings.TrimSuffix(filepath.Base(path), kind.suffix))
			if err != nil {
				continue // being downloaded
			}
			o := kind.like
			o.Path, o.Digest = path, d
			out = append(out, o)
		}
	}
	return out
}

// checkFailed looks at what failed attempts left.
func (e *Engine) checkFailed(rep *store.FsckReport) error {
	entries, err := os.ReadDir(e.failedDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing what failed attempts left: %w", err)
	}
	for _, en := range entries {
		f, err := readFailed(filepath.Join(e.failedDir(), en.Name()))
		if err != nil {
			return err
		}
		if f != nil && f.name() == en.Name() {
			continue
		}
		x := store.Finding{
			Kind: store.FoundDamagedFailed, Object: filepath.Join("failed", en.Name()), Detail: "it does not say of which attempt it is",
			Effect: "plumb shell does not find what that attempt had written", Remedy: "it is removed", Repaired: rep.Repair,
		}
		if rep.Repair {
			if err := e.removeFailed(filepath.Join(e.failedDir(), en.Name())); err != nil {
				return fmt.Errorf("removing what a failed attempt left: %w", err)
			}
		}
		rep.Add(x)
	}
	return nil
}
