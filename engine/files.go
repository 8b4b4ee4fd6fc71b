package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"plumb/hcl"
	"plumb/store"
)

// What a run was asked to do stands in files: the pipeline's own, those of params, the
// lock, and what expressions read. Each run names them by digest, and the store keeps
// their content for as long as it keeps the run, so that any run can be explained and
// restored. They are the bytes that were evaluated, not what lies in the project when the
// run ends. Runs of the same files share the list and the content, and an unchanged
// project costs a look-up for each file.
//
// One thing is left out: a file of params that gave the value of a sensitive param. It
// is named, without its digest, which could be tried out against guesses.

// roleFile is a file with what it was read for.
type roleFile struct {
	store.RunFile
	data []byte
}

// readFiles lists what a session was read from; errMoved when the project has changed
// since.
func (s *session) readFiles(p Project) ([]roleFile, error) {
	seen, same := hcl.ReadAgain(p.Dir, s.pipeline)
	if !same {
		return nil, errMoved
	}
	var out []roleFile
	add := func(role store.FileRole, files ...hcl.File) {
		for _, f := range files {
			out = append(out, roleFile{store.RunFile{Path: f.Name, Role: role, Digest: store.Sum(f.Data), Size: int64(len(f.Data))}, f.Data})
		}
	}
	add(store.RolePipeline, s.read...)
	for _, f := range p.Files {
		if hcl.SetsSensitive(s.pipeline, f) {
			out = append(out, roleFile{store.RunFile{Path: f.Name, Role: store.RoleParams, Withheld: true}, nil})
			continue
		}
		add(store.RoleParams, f)
	}
	if s.pins.lockFile != nil {
		add(store.RoleLock, hcl.File{Name: hcl.LockFile, Data: s.pins.lockFile})
	}
	add(store.RoleRead, seen.Files...)
	for _, name := range seen.Names {
		out = append(out, roleFile{store.RunFile{Path: name, Role: store.RoleListed}, nil})
	}
	return out, nil
}

// keepFiles makes the content of what the session was read from present, under a lease
// until the run is over, and remembers the list for the run's record.
func (s *session) keepFiles(ctx context.Context, st *store.Store, p Project) (err error) {
	files, err := s.readFiles(p)
	if err != nil {
		return err
	}
	var kept []store.Artifact
	s.files = make([]store.RunFile, len(files))
	for i := range files {
		s.files[i] = files[i].RunFile
		if files[i].Kept() {
			kept = append(kept, files[i].Artifact())
		}
	}
	s.leases = append(s.leases, st.LeaseBlobs(kept...))
	b := st.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, f := range files {
		if !f.Kept() || st.Has(f.Artifact()) {
			continue
		}
		if _, err := b.Put(bytes.NewReader(f.data), false); err != nil {
			return fmt.Errorf("keeping %q: %w", f.Path, err)
		}
	}
	if b.Empty() {
		return nil
	}
	if err := st.Commit(ctx, b); err != nil {
		return fmt.Errorf("keeping the files of the pipeline: %w", err)
	}
	return nil
}
