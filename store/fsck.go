package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Fsck reads all of a store and says what of it is not what it should be, object by
// object: what that means for the user, and what repairing does about it. It goes the
// way that trust goes:
//
//	tables of the records        each block against its checksum
//	files of blobs               content, name, mode, time, and what does not belong there
//	small blobs, values          content; whether they decode
//	references                   of records, failures and runs: is what they name there, and sound
//	what can be made again       placed directories, caches, what failed attempts left
//	what others know by digest   the caller's: layers of images, packages
//
// Without Repair it changes no byte. Repairing deletes nothing that anybody could still
// want: damaged and foreign files go to DIR/damaged under the day's date, damaged records
// as a whole with them; a record whose output is lost becomes a tombstone, so that the
// next plan says why the stage runs again. Each step is complete in itself, in the order
// blobs, values, records: whatever instant it is killed at, the next Fsck finds less to do.
//
// It runs beside commits and look-ups, and holds off gc.

// FsckOptions says how far to go. Progress may be nil; it is called from several
// goroutines, with bytes.
type FsckOptions struct {
	Repair   bool
	Progress func(done, total int64)
	Others   []OtherFile
}

// OtherFile is a file of the store that others know by its digest. With Drop, repairing
// sets a damaged one aside; else Remedy says what people have to do.
type OtherFile struct {
	Path   string
	Digest Digest
	What   string // for people: "a layer of an image"
	Effect string
	Remedy string
	Drop   bool
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of finding.
const (
	FoundDamagedRecords FindingKind = "damaged_records" // tables that cannot be read whole
	FoundDamagedBlob    FindingKind = "damaged_blob"
	FoundForeignFile    FindingKind = "foreign_file"
	FoundWrongMode      FindingKind = "wrong_mode"
	FoundWrongTime      FindingKind = "wrong_time"
	FoundDamagedRecord  FindingKind = "damaged_record" // a value that does not decode
	FoundChangedRecord  FindingKind = "changed_record" // after the run that made it said what it is
	FoundLostOutput     FindingKind = "lost_output"
	FoundLostInput      FindingKind = "lost_input"
	FoundLostLog        FindingKind = "lost_log"
	FoundLostTable      FindingKind = "lost_table"
	FoundLostFile       FindingKind = "lost_file"   // of those that said what a run was to do, or that it read or wrote
	FoundChangedRun     FindingKind = "changed_run" // after it was recorded
	FoundRemovedRun     FindingKind = "removed_run" // and not by gc
	FoundAddedRun       FindingKind = "added_run"   // and not by a run
	FoundWrongIndex     FindingKind = "wrong_index"
	FoundDamagedPlaced  FindingKind = "damaged_placed"
	FoundDamagedCache   FindingKind = "damaged_cache"
	FoundDamagedOther   FindingKind = "damaged_other"
	FoundDamagedFormat  FindingKind = "damaged_format"
	FoundDamagedFailed  FindingKind = "damaged_failed" // what a failed attempt left
)

// Finding is one thing that is wrong. Object is a path in the store, or what kind of
// record it is and of what; Remedy is what repairing does, or did.
type Finding struct {
	Kind     FindingKind `json:"kind"`
	Object   string      `json:"object"`
	Detail   string      `json:"detail"`
	Effect   string      `json:"effect"`
	Remedy   string      `json:"remedy"`
	Repaired bool        `json:"repaired"`
}

// FsckReport says what was looked at, and found.
type FsckReport struct {
	Repair     bool      `json:"repair"`
	OK         bool      `json:"ok"` // nothing is wrong any more
	Records    int       `json:"records"`
	Failures   int       `json:"failures"`
	Tombstones int       `json:"tombstones"`
	Effects    int       `json:"effects"` // begun or done
	Runs       int       `json:"runs"`
	Links      int       `json:"links"` // of the chain of runs
	Blobs      int       `json:"blobs"` // files and small ones
	Placed     int       `json:"placed"`
	Caches     int       `json:"caches"`
	Others     int       `json:"others"`
	Bytes      int64     `json:"bytes"` // read of files
	SetAside   string    `json:"set_aside,omitempty"`
	Findings   []Finding `json:"findings"`

	// Accepted is what Fsck found of runs before, and was told to accept. Of those up to
	// UnchainedUntil, which are from before that was chained, it would not be noticed if
	// somebody changed what became of them.
	Accepted       []AcceptedRun `json:"accepted,omitempty"`
	UnchainedUntil RunID         `json:"unchained_until,omitempty"`
}

// AcceptedRun is a run that is not what was recorded; Run is "" when that is not known.
type AcceptedRun struct {
	Run    RunID     `json:"run"`
	Number uint64    `json:"number"` // in the chain of runs
	State  string    `json:"state"`  // altered, lost, added
	When   time.Time `json:"when"`
}

// fsck is one look over the store.
type fsck struct {
	s *Store
	o FsckOptions

	mu     sync.Mutex // guards what follows, which the readers of files fill
	report FsckReport
	files  map[blobID]int64 // sound, with their sizes
	bad    map[blobID]string

	runs    []seenRun
	changes []change         // of the portion that is being written
	small   map[Digest]int64 // sound ones in Badger, with their sizes
	trees   map[Digest]error // looked over
	lost    map[Digest]*lostPlace
	lists   map[Digest][]Digest // what is lost of the places that a list names
	held    map[Digest]bool     // tables that records were held against
	other   map[Key]bool        // records that are not as their run has them
	edits   []edit
	done    atomic.Int64
	total   int64
}

// Fsck looks over the store.
func (s *Store) Fsck(ctx context.Context, o FsckOptions) (*FsckReport, error) {
	s.gcTurn.Lock()
	defer s.gcTurn.Unlock()
	if o.Repair && !s.isWritable() {
		return nil, fmt.Errorf("repairing the store: %w", ErrReadOnly)
	}
	f := &fsck{s: s, o: o, files: map[blobID]int64{}, bad: map[blobID]string{}, small: map[Digest]int64{}, trees: map[Digest]error{}, lost: map[Digest]*lostPlace{}, lists: map[Digest][]Digest{}, held: map[Digest]bool{}, other: map[Key]bool{}}
	f.report.Repair, f.report.Findings = o.Repair, []Finding{}
	if _, err := os.Lstat(s.dir); errors.Is(err, os.ErrNotExist) {
		f.report.OK = true
		return &f.report, nil
	}
	for _, phase := range []func(context.Context) error{f.tables, f.contents, f.smalls, f.values, f.apply, f.links, f.placed, f.caches} {
		if err := phase(ctx); err != nil {
			return nil, fmt.Errorf("looking over the store: %w", err)
		}
	}
	s.trees.clear()
	f.sum()
	return &f.report, nil
}

// sum orders what was found.
func (f *fsck) sum() {
	slices.SortFunc(f.report.Findings, func(a, b Finding) int {
		return slices.Compare([]string{string(a.Kind), a.Object, a.Detail}, []string{string(b.Kind), b.Object, b.Detail})
	})
	f.report.OK = !slices.ContainsFunc(f.report.Findings, func(x Finding) bool { return !x.Repaired })
	if entries, err := os.ReadDir(f.s.path(damagedDir)); err == nil && len(entries) > 0 {
		f.report.SetAside = f.s.path(damagedDir)
	}
}

// Add adds what was found elsewhere.
func (r *FsckReport) Add(found ...Finding) {
	r.Findings = append(r.Findings, found...)
	r.OK = r.OK && !slices.ContainsFunc(found, func(x Finding) bool { return !x.Repaired })
}

// found notes a finding, and mends it when that is asked for. mend is nil for what
// this package cannot mend.
func (f *fsck) found(x Finding, mend func() error) error {
	if f.o.Repair && mend != nil {
		if err := mend(); err != nil {
			return fmt.Errorf("repairing %s: %w", x.Object, err)
		}
		x.Repaired = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Findings = append(f.report.Findings, x)
	return nil
}

// aside is the way to mend a file that does not belong where it is.
func (f *fsck) aside(path string) func() error {
	return func() error {
		_, err := f.s.asideDamaged(path)
		return err
	}
}

const remedyAside = "it is set aside in " + damagedDir + "/"

// tables looks over Badger's files. An open store whose tables were written into is
// closed, saved into a new one, and opened again.
func (f *fsck) tables(context.Context) error {
	f.s.mu.Lock()
	f.report.Findings = append(f.report.Findings, f.s.mended...)
	f.s.mended = nil
	f.s.mu.Unlock()
	if f.s.absent() {
		return nil
	}
	err := f.s.recordsSound()
	if err == nil {
		return nil
	}
	x := rebuildFinding(err)
	return f.found(x, func() error { return f.s.rebuild() })
}

func rebuildFinding(err error) Finding {
	return Finding{
		Kind: FoundDamagedRecords, Object: "meta", Detail: err.Error(),
		Effect: "results that were recorded in the damaged part are forgotten: their stages run again, those with an effect as well",
		Remedy: "the records that can be read are written anew, and the damaged ones set aside in " + damagedDir + "/",
	}
}
