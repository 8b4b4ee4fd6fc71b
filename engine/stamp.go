package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plumb/store"
)

// A source with keep = false is bound from where it lies, so nothing but its owner
// keeps it from moving under a stage. Comparing content afterwards would not see a
// file that was changed and changed back. So it is stamped before it is hashed once
// more, and stamped again when the stage is done: whatever was written in between
// left another time of change.

// stamp stamps the unkept inputs of stage i, and checks that they are what was
// planned.
func (r *run) stamp(ctx context.Context, i int) (map[string]store.Digest, error) {
	var stamps map[string]store.Digest
	for _, in := range r.s.planner.Inputs(i) {
		if !in.Discard {
			continue
		}
		d, err := stampOf(filepath.Join(r.req.Project.Dir, filepath.FromSlash(in.Project)))
		if err != nil {
			return nil, fmt.Errorf("looking at %q: %w", in.Project, err)
		}
		now, err := r.s.scanner.Scan(ctx, in.Project)
		if err != nil {
			return nil, err
		}
		if !same(now, in.Artifact) {
			return nil, fmt.Errorf("%q changed since the run was planned, and it is not kept (keep = false)", in.Project)
		}
		if stamps == nil {
			stamps = map[string]store.Digest{}
		}
		stamps[in.Project] = d
	}
	return stamps, nil
}

// stampOf digests what lstat says of a path and of everything below it.
func stampOf(path string) (store.Digest, error) {
	var all []byte
	err := filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: p, Err: err}
		}
		all = append(all, p...)
		for _, n := range []int64{0, int64(st.Dev), int64(st.Ino), int64(st.Mode), st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec} {
			all = binary.AppendVarint(all, n)
		}
		return nil
	})
	return store.Sum(all), err
}
