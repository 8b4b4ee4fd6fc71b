package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Batch collects what is to become visible at once. Content may be put into it
// from several goroutines. Close it in every case; that drops what was not
// committed.
type Batch struct {
	s *Store

	mu        sync.Mutex
	small     smallBlobs
	files     map[blobID]pendingFile
	found     []blobID // in the store already
	records   []*Record
	failures  []*Failure
	histories []history
	effects   []*Record
	runs      []*Run
	leases    map[Digest]func()
}

type history struct {
	project, stage string
	key            Key
}

// NewBatch makes an empty batch.
func (s *Store) NewBatch() *Batch {
	return &Batch{s: s, small: newSmallBlobs(), files: map[blobID]pendingFile{}, leases: map[Digest]func(){}}
}

// lease keeps gc from a blob until the batch is closed.
func (b *Batch) lease(d Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.leases[d]; !ok {
		b.leases[d] = b.s.guard.hold([]Digest{d})
	}
}

// PutRecord records the result of an action. Its failure and its tombstone, if
// any, are dropped with the commit.
func (b *Batch) PutRecord(r *Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
}

// PutFailure records the last failed try at an action.
func (b *Batch) PutFailure(f *Failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = append(b.failures, f)
}

// PutRun records a run as it is now.
func (b *Batch) PutRun(r *Run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs = append(b.runs, r)
}

// History makes key the newest of a project's stage.
func (b *Batch) History(project, stage string, key Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.histories = append(b.histories, history{project, stage, key})
}

// ReadBlob is Store.ReadBlob that also sees what is in the batch.
func (b *Batch) ReadBlob(d Digest, limit int64) ([]byte, error) {
	b.mu.Lock()
	var data []byte
	var err error
	ok := b.small.has(d)
	if ok {
		data, err = b.small.get(d)
	}
	p, file := b.files[blobID{d, false}]
	if !file {
		p, file = b.files[blobID{d, true}]
	}
	b.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case ok && int64(len(data)) > limit, file && p.size > limit:
		return nil, fmt.Errorf("reading the blob %q: %w", d, ErrTooLarge)
	case ok:
		return data, nil
	case file:
		return os.ReadFile(p.path)
	}
	return b.s.ReadBlob(d, limit)
}

// OpenBlob is Store.OpenBlob that also sees what is in the batch.
func (b *Batch) OpenBlob(ctx context.Context, a Artifact) (io.ReadCloser, error) {
	b.mu.Lock()
	p, ok := b.files[blobID{a.Digest, a.Exec}]
	b.mu.Unlock()
	if ok {
		return os.Open(p.path)
	}
	r, _, err := b.s.OpenBlob(ctx, a.Digest)
	return r, err
}

// Holds reports whether a file's content is in the batch.
func (b *Batch) Holds(a Artifact) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.has(a)
}

// Empty reports whether there is nothing to commit.
func (b *Batch) Empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.small.len()+len(b.files)+len(b.found)+len(b.records)+len(b.failures)+len(b.histories)+len(b.effects)+len(b.runs) == 0
}

// Close drops what was not committed.
func (b *Batch) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, p := range b.files {
		errs = append(errs, os.Remove(p.path))
	}
	for _, release := range b.leases {
		release()
	}
	b.files, b.leases = map[blobID]pendingFile{}, map[Digest]func(){}
	return errors.Join(append(errs, b.small.drop())...)
}

// Commit makes the batch visible: all of it, after a crash at any instant all of
// it or nothing but garbage.
func (s *Store) Commit(ctx context.Context, b *Batch) error {
	if !s.isWritable() {
		return fmt.Errorf("committing: %w", ErrReadOnly)
	}
	if err := s.Present(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	s.gc.RLock()
	defer s.gc.RUnlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	m, err := b.encode()
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	runs, err := b.storeRuns()
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if err := b.resolve(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.publish(); err != nil {
		return fmt.Errorf("committing blobs: %w", err)
	}
	if err := s.writeChained(b, m, runs); err != nil {
		return fmt.Errorf("committing records: %w", err)
	}
	b.settle()
	b.found, b.records, b.failures, b.histories, b.effects, b.runs = nil, nil, nil, nil, nil, nil
	return b.small.drop()
}

// writeChained writes records, and runs behind those that were recorded before. Only this
// is done by one at a time: content is synced by then.
func (s *Store) writeChained(b *Batch, records []entry, runs []*runEntry) error {
	if len(runs) == 0 {
		return s.write(b, records)
	}
	s.chain.Lock()
	defer s.chain.Unlock()
	more, err := b.chained(runs)
	if err == nil {
		err = b.publish() // a record that was too large for Badger
	}
	if err != nil {
		return err
	}
	return s.write(b, append(records, more...))
}

// resolve makes sure that no record refers to what is not there.
func (b *Batch) resolve() error {
	for _, r := range b.records {
		for _, o := range r.Outputs {
			if o.Dropped || b.has(o.Artifact) {
				continue
			}
			if err := b.s.Check(o.Artifact); err != nil {
				return fmt.Errorf("output %q of stage %q: %w", o.Name, r.Stage, err)
			}
		}
	}
	return nil
}

// settle says what is referred to from now on. A batch without records has put
// content that somebody will refer to later.
func (b *Batch) settle() {
	var refs []Artifact
	for _, r := range b.records {
		refs = append(refs, r.refs()...)
		b.s.forgetLogs(r.Attempts)
	}
	for _, f := range b.failures {
		refs = append(refs, logsOf(f.Attempts)...)
		b.s.forgetLogs(f.Attempts)
	}
	for _, r := range b.runs {
		refs = append(refs, r.refs()...)
	}
	for d := range b.leases {
		if len(b.records)+len(b.failures)+len(b.runs) == 0 {
			b.s.guard.keep(d, b.s.now())
		}
		refs = append(refs, Artifact{Kind: KindFile, Digest: d})
	}
	b.s.guard.committed(refs)
}

// refs lists what a record refers to.
func (r *Record) refs() []Artifact {
	refs := logsOf(r.Attempts)
	for _, o := range r.Outputs {
		if !o.Dropped {
			refs = append(refs, o.Artifact)
		}
	}
	return append(refs, r.Inputs...)
}

// refs lists what a run itself refers to: logs, the files that it was
// read from, and what it read of the project.
func (r *Run) refs() []Artifact {
	var refs []Artifact
	for i := range r.Stages {
		refs = append(refs, logsOf(r.Stages[i].Attempts)...)
	}
	for i := range r.Files {
		if r.Files[i].Kept() {
			refs = append(refs, r.Files[i].Artifact())
		}
	}
	return append(refs, placeRefs(r.Places)...)
}

func logsOf(attempts []Attempt) []Artifact {
	var refs []Artifact
	for i := range attempts {
		if !attempts[i].Log.IsZero() {
			refs = append(refs, Artifact{Kind: KindFile, Digest: attempts[i].Log})
		}
	}
	return refs
}

func (s *Store) forgetLogs(attempts []Attempt) {
	for _, a := range logsOf(attempts) {
		s.guard.forget(a.Digest)
	}
}

// has reports whether an artifact comes with the batch. A tree's members came
// with its manifest, or were in the store already.
func (b *Batch) has(a Artifact) bool {
	_, file := b.files[blobID{a.Digest, a.Exec}]
	return file || b.small.has(a.Digest)
}

// entry is one key to write, with what to do to it.
type entry struct{ key, val []byte }

// encode makes the values to write. A value too large for a transaction becomes
// one more blob of the batch.
func (b *Batch) encode() ([]entry, error) {
	var out []entry
	add := func(key, payload []byte, err error) error {
		if err == nil {
			payload, err = b.fit(payload)
		}
		out = append(out, entry{key, payload})
		return err
	}
	for _, r := range b.records {
		if err := add(keyOf(inRecords, r.Key), encodeRecord(r), nil); err != nil {
			return nil, err
		}
	}
	for _, r := range b.effects {
		if err := add(keyOf(inDone, r.Key), encodeRecord(r.remembered()), nil); err != nil {
			return nil, err
		}
	}
	for _, f := range b.failures {
		p, err := json.Marshal(f)
		if err := add(keyOf(inFailures, f.Key), p, err); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// runEntry is a run to write, whose place in the chain is not known yet.
type runEntry struct {
	stored  *storedRun
	summary []byte
	payload []byte
}

func (b *Batch) storeRuns() ([]*runEntry, error) {
	out := make([]*runEntry, len(b.runs))
	for i, r := range b.runs {
		sr, err := b.storeRun(r)
		if err != nil {
			return nil, err
		}
		out[i] = &runEntry{stored: sr}
		if out[i].summary, err = b.summarise(r, sr.Table); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// storeRun keeps the table of stages and the list of files apart, by content: runs
// that had nothing to do share them.
func (b *Batch) storeRun(r *Run) (_ *storedRun, err error) {
	sr := &storedRun{Run: *r}
	if len(r.Stages) > 0 {
		if sr.Table, err = b.addFrame(encodeTable(r.Stages)); err != nil {
			return nil, err
		}
	}
	if len(r.Files) > 0 {
		if sr.Files, err = b.addFrame(encodeFiles(r.Files)); err != nil {
			return nil, err
		}
	}
	if r.Places != nil { // that it read nothing is recorded, too
		if sr.Places, err = b.addFrame(encodePlaces(r.Places)); err != nil {
			return nil, err
		}
	}
	return sr, nil
}

// addFrame adds a framed payload as a blob.
func (b *Batch) addFrame(payload []byte) (Digest, error) {
	f, err := b.s.pack.frame(payload)
	if err != nil {
		return Digest{}, err
	}
	return b.addBlob(f)
}

// fit frames a payload, or puts the frame into a blob.
func (b *Batch) fit(payload []byte) ([]byte, error) {
	f, err := b.s.pack.frame(payload)
	if err != nil || len(f) <= spillFrom {
		return f, err
	}
	d, err := b.addBlob(f)
	if err != nil {
		return nil, err
	}
	return spillFrame(d), nil
}

// addBlob adds data while the batch is locked already.
func (b *Batch) addBlob(data []byte) (Digest, error) {
	b.mu.Unlock()
	defer b.mu.Lock()
	a, err := b.Put(newBytes(data), false)
	return a.Digest, err
}
