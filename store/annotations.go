package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// What people say of a run afterwards stands apart from its record, which does not change.
// A tag is a name for one run of a project, as good as its id wherever a run is named. A
// pinned run is kept by gc, with all that it needs, whatever the policy.

// Annotation is what was said of a run.
type Annotation struct {
	Tags   []string  `json:"tags,omitempty"` // sorted
	Note   string    `json:"note,omitempty"`
	Pinned bool      `json:"pinned,omitempty"`
	Edited time.Time `json:"edited,omitzero"`
}

func (a *Annotation) empty() bool { return len(a.Tags) == 0 && a.Note == "" && !a.Pinned }

// AnnotationChange is what is to be said anew. Note and Pinned are left alone when nil.
type AnnotationChange struct {
	Tags   []string // to be added
	Untag  []string
	Move   bool // tags that name another run are taken from it
	Note   *string
	Pinned *bool
}

// TagTakenError says that a tag names another run.
type TagTakenError struct {
	Tag string
	Run RunID
}

func (e *TagTakenError) Error() string { return fmt.Sprintf("tag %q names run %s", e.Tag, e.Run) }

// MaxTags bounds what one run is called.
const MaxTags = 50

// ErrTooManyTags says that a run would have more than MaxTags.
var ErrTooManyTags = fmt.Errorf("a run has at most %d tags", MaxTags)

func tagKey(project, tag string) []byte {
	d := Sum([]byte(project))
	return append(append([]byte{inTags}, d[:16]...), tag...)
}

// Annotate says something of a run, all of it or nothing. The error is ErrNotFound when
// there is no such run, a TagTakenError when a tag is not free, and ErrTooManyTags when
// those that it has and those that come are too many together.
func (s *Store) Annotate(id RunID, c AnnotationChange) (*Annotation, error) {
	if c.Pinned != nil { // gc has looked which runs are pinned, or will see it
		s.gcTurn.Lock()
		defer s.gcTurn.Unlock()
	}
	var a *Annotation
	err := s.update(func(txn *badger.Txn) error {
		sr, err := s.storedRun(txn, id)
		if err == nil && sr == nil {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		if a, err = s.annotation(txn, id); err != nil {
			return err
		}
		return s.annotate(txn, &sr.Run, a, c)
	})
	if err != nil {
		return nil, fmt.Errorf("annotating run %q: %w", id, err)
	}
	return a, nil
}

func (s *Store) annotate(txn *badger.Txn, r *Run, a *Annotation, c AnnotationChange) error {
	had := len(a.Tags)
	for _, tag := range c.Untag {
		if i := slices.Index(a.Tags, tag); i >= 0 {
			a.Tags = slices.Delete(a.Tags, i, i+1)
			if err := deleteIf(txn, tagKey(r.Project, tag)); err != nil {
				return err
			}
		}
	}
	for _, tag := range c.Tags {
		if slices.Contains(a.Tags, tag) {
			continue
		}
		if err := s.freeTag(txn, r.Project, tag, c.Move); err != nil {
			return err
		}
		a.Tags = append(a.Tags, tag)
		if err := txn.Set(tagKey(r.Project, tag), []byte(r.ID)); err != nil {
			return err
		}
	}
	if len(a.Tags) > MaxTags && len(a.Tags) > had { // one that has more from before may lose some
		return ErrTooManyTags
	}
	slices.Sort(a.Tags)
	if c.Note != nil {
		a.Note = *c.Note
	}
	if c.Pinned != nil {
		a.Pinned = *c.Pinned
	}
	a.Edited = s.now().UTC()
	return s.setAnnotation(txn, r.ID, a)
}

// freeTag takes a tag from the run that it names, if it may.
func (s *Store) freeTag(txn *badger.Txn, project, tag string, move bool) error {
	id, err := value(txn, tagKey(project, tag))
	if id == nil || err != nil {
		return err
	}
	if !move {
		return &TagTakenError{tag, RunID(id)}
	}
	other, err := s.annotation(txn, RunID(id))
	if err != nil {
		return err
	}
	other.Tags = slices.DeleteFunc(other.Tags, func(t string) bool { return t == tag })
	other.Edited = s.now().UTC()
	return s.setAnnotation(txn, RunID(id), other)
}

// annotation gives what was said of a run, which may be nothing. What is damaged says
// nothing: fsck tells.
func (s *Store) annotation(txn *badger.Txn, id RunID) (*Annotation, error) {
	p, err := s.payload(txn, runKey(inAnnotations, id))
	if errors.Is(err, errFrame) || p == nil {
		if err != nil && !errors.Is(err, errFrame) {
			return nil, err
		}
		return &Annotation{}, nil
	}
	if err != nil {
		return nil, err
	}
	a, err := decodeJSON[Annotation](p)
	if err != nil {
		return &Annotation{}, nil //nolint:nilerr // as above
	}
	return a, nil
}

// setAnnotation writes into Badger itself: a note too long for that is refused before.
func (s *Store) setAnnotation(txn *badger.Txn, id RunID, a *Annotation) error {
	if a.empty() {
		return deleteIf(txn, runKey(inAnnotations, id))
	}
	p, err := json.Marshal(a)
	if err == nil {
		p, err = s.pack.frame(p)
	}
	if err != nil {
		return err
	}
	return txn.Set(runKey(inAnnotations, id), p)
}

// MaxNote bounds a note, in bytes.
const MaxNote = 16 << 10

// Annotation gives what was said of a run.
func (s *Store) Annotation(id RunID) (*Annotation, error) {
	a := &Annotation{}
	err := s.view(func(txn *badger.Txn) (err error) {
		a, err = s.annotation(txn, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was said of run %q: %w", id, err)
	}
	return a, nil
}

// Tags gives the tags of a project and the runs that they name.
func (s *Store) Tags(project string) (map[string]RunID, error) {
	tags := map[string]RunID{}
	prefix := tagKey(project, "")
	err := s.view(func(txn *badger.Txn) error {
		return each(txn, prefix, func(key, val []byte) error {
			tags[string(key[len(prefix):])] = RunID(val)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing tags: %w", err)
	}
	return tags, nil
}

// pinnedRuns lists the runs that gc has to keep.
func (s *Store) pinnedRuns(txn *badger.Txn) (map[RunID]bool, error) {
	pinned := map[RunID]bool{}
	err := eachItem(txn, inAnnotations, func(item *badger.Item) error {
		id := RunID(item.Key()[1:])
		a, err := s.annotation(txn, id)
		if err == nil && a.Pinned {
			pinned[id] = true
		}
		return err
	})
	return pinned, err
}

// annotationKeys are what goes with a run.
func (s *Store) annotationKeys(txn *badger.Txn, r *Run) ([][]byte, error) {
	a, err := s.annotation(txn, r.ID)
	if err != nil {
		return nil, err
	}
	keys := [][]byte{runKey(inAnnotations, r.ID)}
	for _, tag := range a.Tags {
		keys = append(keys, tagKey(r.Project, tag))
	}
	return keys, nil
}

// annotations looks whether tags lead to the runs that have them, and the other way round.
func (f *fsck) annotations(txn *badger.Txn) error {
	named := map[string]bool{} // keys of tags that there have to be
	if err := eachItem(txn, inAnnotations, func(item *badger.Item) error {
		id := RunID(item.Key()[1:])
		a, err := decoded(f, txn, item, "annotation of run "+string(id), "tags, note and pin of the run are lost", decodeJSON[Annotation])
		if a == nil || err != nil {
			return err
		}
		sr, err := f.s.storedRun(txn, id)
		if err != nil && !errors.Is(err, errFrame) {
			return err
		}
		if sr == nil {
			return f.change(Finding{
				Kind: FoundWrongIndex, Object: "annotation of run " + string(id), Detail: "there is no such run", Effect: "none", Remedy: "it is dropped",
			}, edit{key: item.KeyCopy(nil), version: item.Version()})
		}
		for _, tag := range a.Tags {
			if err := f.tagged(txn, sr, tag, named); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return eachItem(txn, inTags, func(item *badger.Item) error {
		if named[string(item.Key())] || len(item.Key()) < 18 {
			return nil
		}
		tag := string(item.Key()[17:])
		return f.change(Finding{
			Kind: FoundWrongIndex, Object: fmt.Sprintf("tag %q", tag), Detail: "the run that it names does not have it", Effect: "it names a run that it was taken from", Remedy: "it is dropped",
		}, edit{key: item.KeyCopy(nil), version: item.Version()})
	})
}

func (f *fsck) tagged(txn *badger.Txn, sr *storedRun, tag string, named map[string]bool) error {
	key := tagKey(sr.Project, tag)
	id, err := value(txn, key)
	if err != nil {
		return err
	}
	if RunID(id) == sr.ID {
		named[string(key)] = true
		return nil
	}
	if id != nil {
		return nil // it was moved, and this is what is left
	}
	named[string(key)] = true
	return f.change(Finding{
		Kind: FoundWrongIndex, Object: fmt.Sprintf("tag %q", tag), Detail: fmt.Sprintf("it does not lead to run %s", sr.ID), Effect: "the run is not found by it", Remedy: "it does again",
	}, edit{key: key, val: []byte(sr.ID)})
}
