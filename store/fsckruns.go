package store

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

func (f *fsck) run(txn *badger.Txn, item *badger.Item) error {
	id := RunID(item.Key()[1:])
	var sum Digest
	sr, err := decoded(f, txn, item, "run "+string(id), "plumb runs and plumb show do not show it", func(b []byte) (*storedRun, error) {
		sum = Sum(b)
		return decodeJSON[storedRun](b)
	})
	if sr == nil || err != nil {
		return err
	}
	f.report.Runs++
	f.runs = append(f.runs, seenRun{id, sr.Seq, sr.Previous, sum, sr.Status == statusRunning})
	if err := f.runIndex(txn, sr); err != nil {
		return err
	}
	run := sr.Run
	changed, err := f.runStages(txn, &run, sr.Table)
	if err != nil {
		return err
	}
	lost, err := f.runFiles(txn, &run, sr.Files)
	if err != nil {
		return err
	}
	gone, err := f.runPlaces(txn, &run, sr.Places)
	if err != nil || !changed && !lost && !gone || !f.o.Repair {
		return err
	}
	f.edits = append(f.edits, edit{key: item.KeyCopy(nil), version: item.Version(), run: &run})
	return nil
}

// runStages reads the stages of a run into it, without what is lost of them.
func (f *fsck) runStages(txn *badger.Txn, run *Run, table Digest) (changed bool, err error) {
	name := "run " + string(run.ID)
	if run.Stages, err = f.s.table(txn, table); err != nil {
		return true, f.found(Finding{
			Kind: FoundLostTable, Object: name, Detail: err.Error(),
			Effect: "plumb show does not tell its stages; their results stay", Remedy: "the run is kept without its stages",
		}, func() error { return nil })
	}
	if err := f.madeOtherwise(txn, run, table); err != nil {
		return false, err
	}
	lost := 0
	for i := range run.Stages {
		var n int
		run.Stages[i].Attempts, n = f.withoutLost(txn, run.Stages[i].Attempts)
		lost += n
	}
	if lost == 0 {
		return false, nil
	}
	return true, f.lostLogs(name, lost)
}

// runFiles reads what a run was read from into it. What is lost of that stays named,
// with its digest: restoring the run says so beforehand.
func (f *fsck) runFiles(txn *badger.Txn, run *Run, list Digest) (changed bool, err error) {
	x := Finding{
		Kind: FoundLostFile, Object: "run " + string(run.ID),
		Effect: "the run cannot be restored whole; its results stay", Remedy: "the run is kept without the list of its files",
	}
	if run.Files, err = f.s.files(txn, list); err != nil {
		x.Detail = err.Error()
		return true, f.found(x, func() error { return nil })
	}
	for i := range run.Files {
		if file := &run.Files[i]; file.Role != RoleParams && !InProject(file.Path, KindFile) {
			x.Kind, x.Detail = FoundDamagedRecord, fmt.Sprintf("%s %q is no path of a project", file.Role, file.Path)
			run.Files = nil
			return true, f.found(x, func() error { return nil })
		}
	}
	for i := range run.Files {
		file := &run.Files[i]
		if !file.Kept() || file.Lost {
			continue
		}
		lost := f.resolvesFile(txn, file.Artifact())
		if lost == nil {
			continue
		}
		x.Detail = fmt.Sprintf("%q: %v", file.Path, lost)
		x.Remedy = "the run says that this file is lost"
		file.Lost, changed = true, true
		if err := f.found(x, func() error { return nil }); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// runPlaces reads what a run read and wrote of the project into it, and looks whether
// that is there.
func (f *fsck) runPlaces(txn *badger.Txn, run *Run, list Digest) (changed bool, err error) {
	x := Finding{
		Kind: FoundLostFile, Object: "run " + string(run.ID),
		Effect: "the run cannot be restored; its results stay", Remedy: "the run is kept without the list of what it read",
	}
	if run.Places, err = f.s.places(txn, list); err != nil {
		x.Detail = err.Error()
		return true, f.found(x, func() error { return nil })
	}
	if p := outOf(run.Places); p != nil {
		x.Kind, x.Detail = FoundDamagedRecord, fmt.Sprintf("%s %q is no path of a project", p.Role, p.Path)
		run.Places = nil
		return true, f.found(x, func() error { return nil })
	}
	return false, f.placesOf(txn, run, list)
}

// runIndex looks whether a run is found by its project.
func (f *fsck) runIndex(txn *badger.Txn, sr *storedRun) error {
	at := projectKey(sr.Project, sr.ID)
	ok, err := has(txn, at)
	if ok || err != nil {
		return err
	}
	return f.change(Finding{
		Kind: FoundWrongIndex, Object: "run " + string(sr.ID), Detail: "it is not in the list of its project's runs", Effect: "plumb runs does not list it", Remedy: "it is listed",
	}, edit{key: at, val: []byte{}})
}

// indexed looks whether what an index names is there.
func (f *fsck) indexed(txn *badger.Txn, item *badger.Item) error {
	skip := 1
	if item.Key()[0] == inProjects {
		skip += 16
	}
	if len(item.Key()) <= skip {
		return f.stray(item)
	}
	id := RunID(item.Key()[skip:])
	ok, err := has(txn, runKey(inRuns, id))
	if ok || err != nil {
		return err
	}
	return f.change(Finding{
		Kind: FoundWrongIndex, Object: "run " + string(id), Detail: "it is listed and not recorded", Effect: "none", Remedy: "it is listed no more",
	}, edit{key: item.KeyCopy(nil), version: item.Version()})
}

func (f *fsck) rewriteJSON(item *badger.Item, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f.rewrite(item, p)
	return nil
}

// resolves looks whether all of an artifact is there, and sound. What came into the
// store since its files were read is taken at its word.
func (f *fsck) resolves(txn *badger.Txn, a Artifact) error {
	if a.Kind != KindTree {
		return f.resolvesFile(txn, a)
	}
	if err, known := f.trees[a.Digest]; known {
		return err
	}
	err := f.resolvesTree(txn, a)
	f.trees[a.Digest] = err
	return err
}

func (f *fsck) resolvesTree(txn *badger.Txn, a Artifact) error {
	b, err := f.s.readBlobIn(txn, a.Digest, maxPayload)
	if err != nil {
		return fmt.Errorf("the manifest %q: %w", a.Digest, err)
	}
	entries, err := DecodeTree(b)
	if err != nil {
		return fmt.Errorf("the manifest %q: %w", a.Digest, err)
	}
	for i := range entries {
		if entries[i].Kind != EntryFile {
			continue
		}
		if err := f.resolvesFile(txn, entries[i].Artifact()); err != nil {
			return fmt.Errorf("%q in it: %w", entries[i].Path, err)
		}
	}
	return nil
}

func (f *fsck) resolvesFile(txn *badger.Txn, a Artifact) error {
	if a.Size <= SmallBlob {
		if size, ok := f.small[a.Digest]; ok {
			return sameSize(a, size)
		}
		return f.s.checkFile(txn, a)
	}
	id := blobID{a.Digest, a.Exec}
	if size, ok := f.files[id]; ok {
		return sameSize(a, size)
	}
	if why, ok := f.bad[id]; ok {
		return fmt.Errorf("the blob %q is damaged: %s", a.Digest, why)
	}
	if _, ok := fileSize(f.s.blobPath(a.Digest, a.Exec)); !ok {
		return lostBlob(a.Digest)
	}
	return nil
}

// resolvesLog is of a blob of which only the digest is known.
func (f *fsck) resolvesLog(txn *badger.Txn, d Digest) error {
	if _, ok := f.small[d]; ok {
		return nil
	}
	if _, ok := f.files[blobID{d, false}]; ok {
		return nil
	}
	if why, ok := f.bad[blobID{d, false}]; ok {
		return errors.New(why)
	}
	if b, err := smallBlob(txn, d); b != nil || err != nil {
		return err
	}
	if _, ok := fileSize(f.s.blobPath(d, false)); !ok {
		return ErrNotFound
	}
	return nil
}
