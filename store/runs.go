package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// RunFilter selects runs. Empty fields select all; Limit 0 is no limit. Before
// leaves out that run and the newer ones. Since and Until are both inclusive.
type RunFilter struct {
	Project string
	Status  string
	Before  RunID
	Limit   int
	Since   time.Time
	Until   time.Time
}

// statusRunning is the status of a run that is not over.
const statusRunning = "running"

// PutRun records a run as it is now, in place of what was recorded of it.
func (s *Store) PutRun(r *Run) error {
	b := s.NewBatch()
	b.PutRun(r)
	if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
		return fmt.Errorf("recording run %q: %w", r.ID, err)
	}
	return nil
}

// indexRun keeps runs findable by project, and those that are not over.
func indexRun(txn *badger.Txn, r *Run) error {
	at := projectKey(r.Project, r.ID)
	if ok, err := has(txn, at); err != nil || !ok {
		if err != nil {
			return err
		}
		if err := txn.Set(at, nil); err != nil {
			return err
		}
	}
	active := runKey(inActive, r.ID)
	if r.Status == statusRunning {
		return txn.Set(active, nil)
	}
	return deleteIf(txn, active)
}

// Run gives a run with its stages and files. The error is ErrNotFound when there is none.
func (s *Store) Run(id RunID) (*Run, error) {
	var run *Run
	err := s.view(func(txn *badger.Txn) error {
		sr, err := s.storedRun(txn, id)
		if sr == nil || err != nil {
			return err
		}
		run = &sr.Run
		if run.Stages, err = s.table(txn, sr.Table); err == nil {
			run.Files, err = s.files(txn, sr.Files)
		}
		if err == nil {
			run.Places, err = s.places(txn, sr.Places)
		}
		return err
	})
	if err == nil && run == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading run %q: %w", id, err)
	}
	return run, nil
}

func (s *Store) storedRun(txn *badger.Txn, id RunID) (*storedRun, error) {
	p, err := s.payload(txn, runKey(inRuns, id))
	if p == nil || err != nil {
		return nil, err
	}
	return decodeJSON[storedRun](p)
}

func (s *Store) table(txn *badger.Txn, d Digest) ([]StageResult, error) {
	stages, err := listIn(s, txn, d, decodeTable)
	if err != nil {
		return nil, fmt.Errorf("its table of stages: %w", err)
	}
	return stages, nil
}

func (s *Store) files(txn *badger.Txn, d Digest) ([]RunFile, error) {
	files, err := listIn(s, txn, d, decodeFiles)
	if err != nil {
		return nil, fmt.Errorf("the list of its files: %w", err)
	}
	return files, nil
}

func (s *Store) places(txn *badger.Txn, d Digest) ([]Place, error) {
	places, err := listIn(s, txn, d, decodePlaces)
	if err != nil {
		return nil, fmt.Errorf("the list of what it read: %w", err)
	}
	return places, nil
}

// listIn reads a list that is kept as a blob of its own; none has the zero digest.
func listIn[T any](s *Store, txn *badger.Txn, d Digest, decode func([]byte) ([]T, error)) ([]T, error) {
	p, err := s.listPayload(txn, d)
	if p == nil || err != nil {
		return nil, err
	}
	return decode(p)
}

func (s *Store) listPayload(txn *badger.Txn, d Digest) ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	frame, err := s.readBlobIn(txn, d, maxPayload)
	if err != nil {
		return nil, err
	}
	p, _, err := s.pack.unframe(frame)
	return p, err
}

// Runs lists runs, newest first, without their stages. Its cost follows what it
// returns, not how many runs there are. A run that does not decode is left out.
func (s *Store) Runs(f RunFilter) ([]Run, error) {
	var out []Run
	err := s.view(func(txn *badger.Txn) error {
		return s.eachRun(txn, f, func(id RunID) (bool, error) {
			sr, err := s.storedRun(txn, id)
			if errors.Is(err, errFrame) {
				s.log.Warn("skipping a damaged run", "run", string(id))
				return true, nil
			}
			if err != nil || sr == nil {
				return err == nil, err
			}
			if f.match(&sr.Run) {
				out = append(out, sr.Run)
			}
			return f.Limit == 0 || len(out) < f.Limit, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing runs: %w", err)
	}
	return out, nil
}

func (f *RunFilter) match(r *Run) bool {
	return (f.Project == "" || r.Project == f.Project) && (f.Status == "" || r.Status == f.Status) &&
		(f.Since.IsZero() || !r.Started.Before(f.Since)) && (f.Until.IsZero() || !r.Started.After(f.Until))
}

// eachRun calls fn with ids, newest first, from the narrowest index, until fn says
// that it has enough.
func (s *Store) eachRun(txn *badger.Txn, f RunFilter, fn func(RunID) (bool, error)) error {
	prefix := []byte{inRuns}
	switch {
	case f.Status == statusRunning:
		prefix = []byte{inActive}
	case f.Project != "":
		prefix = projectKey(f.Project, "")
	}
	o := badger.DefaultIteratorOptions
	o.Reverse, o.PrefetchValues, o.Prefix = true, false, prefix
	it := txn.NewIterator(o)
	defer it.Close()
	// Reversed, an iterator starts at or below what it seeks: 0xff is above all ids.
	from := append(slices.Clone(prefix), 0xff)
	if f.Before != "" {
		from = append(slices.Clone(prefix), f.Before...)
	}
	oldest := ""
	if !f.Since.IsZero() {
		oldest = idBegins(f.Since)
	}
	for it.Seek(from); it.Valid(); it.Next() {
		id := RunID(it.Item().Key()[len(prefix):])
		if id == f.Before {
			continue
		}
		if string(id) < oldest {
			return nil
		}
		more, err := fn(id)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// idBegins is how the ids of runs begin that start at a time: they sort by it.
func idBegins(t time.Time) string { return t.UTC().Format("20060102-150405") }

// LastRun gives the newest run of a project, of all projects for "", without its
// stages; nil when there is none.
func (s *Store) LastRun(project string) (*Run, error) {
	runs, err := s.Runs(RunFilter{Project: project, Limit: 1})
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	return &runs[0], nil
}

// maxCandidates bounds what FindRun offers of runs that ref does not fit.
const maxCandidates = 5

// FindRun finds the run that people name by a tag, by its id, the beginning of it or its
// last letters; "" and "latest" are the newest. Without a single such run it gives
// candidates: all that ref fits, else a few whose ids are nearest to ref.
func (s *Store) FindRun(project, ref string) (*Run, []RunID, error) {
	if ref == "" || ref == "latest" {
		r, err := s.LastRun(project)
		return r, nil, err
	}
	var run *Run
	var fits []RunID
	err := s.view(func(txn *badger.Txn) (err error) {
		if fits, err = s.fitting(txn, project, ref); err != nil || len(fits) != 1 {
			return err
		}
		sr, err := s.storedRun(txn, fits[0])
		if sr != nil {
			run = &sr.Run
		}
		return err
	})
	if err == nil && len(fits) == 0 {
		fits, err = s.near(project, ref)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("looking for run %q: %w", ref, err)
	}
	if run != nil {
		return run, nil, nil
	}
	return nil, fits, nil
}

// fitting lists the runs that ref fits, newest first; an exact one alone. Only what ref
// may be the end of is looked for among all ids.
func (s *Store) fitting(txn *badger.Txn, project, ref string) ([]RunID, error) {
	tagged, err := value(txn, tagKey(project, ref))
	if tagged != nil || err != nil {
		return []RunID{RunID(tagged)}, err
	}
	prefix := []byte{inRuns}
	if project != "" {
		prefix = projectKey(project, "")
	}
	if ok, err := has(txn, append(slices.Clone(prefix), ref...)); ok || err != nil {
		return []RunID{RunID(ref)}, err
	}
	var fits []RunID
	if err := eachKey(txn, append(slices.Clone(prefix), ref...), func(key []byte) {
		fits = append(fits, RunID(key[len(prefix):]))
	}); err != nil || len(fits) > 0 {
		slices.Reverse(fits)
		return fits, err
	}
	err = eachKey(txn, prefix, func(key []byte) {
		if id := key[len(prefix):]; len(id) > len(ref) && string(id[len(id)-len(ref):]) == ref && id[len(id)-len(ref)-1] == '-' {
			fits = append(fits, RunID(id))
		}
	})
	slices.Reverse(fits)
	return fits, err
}

// RunsBeginning lists the runs of any project whose ids begin with ref, newest first.
func (s *Store) RunsBeginning(ref string) ([]RunID, error) {
	var ids []RunID
	err := s.view(func(txn *badger.Txn) error {
		return eachKey(txn, runKey(inRuns, RunID(ref)), func(key []byte) { ids = append(ids, RunID(key[1:])) })
	})
	if err != nil {
		return nil, fmt.Errorf("looking for run %q: %w", ref, err)
	}
	slices.Reverse(ids)
	return ids, nil
}

// eachKey calls fn for the keys that begin with prefix, in their order.
func eachKey(txn *badger.Txn, prefix []byte, fn func(key []byte)) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.Prefix = false, prefix
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		fn(it.Item().Key())
	}
	return nil
}

// near gives the ids that are nearest to ref, among the newest.
func (s *Store) near(project, ref string) ([]RunID, error) {
	const among = 1000
	var all []RunID
	err := s.view(func(txn *badger.Txn) error {
		return s.eachRun(txn, RunFilter{Project: project}, func(id RunID) (bool, error) {
			all = append(all, id)
			return len(all) < among, nil
		})
	})
	return nearest(ref, all), err
}

// nearest orders ids by how many edits make them ref, the newest first among
// equals, and gives those that a slip of the fingers could explain.
func nearest(ref string, ids []RunID) []RunID {
	type scored struct {
		id   RunID
		dist int
	}
	var list []scored
	for _, id := range ids {
		letters := string(id[strings.LastIndexByte(string(id), '-')+1:])
		d := min(edits(ref, string(id)), edits(ref, letters), edits(ref, string(id[:min(len(id), len(ref))])))
		if d <= 1+len(ref)/4 {
			list = append(list, scored{id, d})
		}
	}
	slices.SortStableFunc(list, func(a, b scored) int { return a.dist - b.dist })
	out := make([]RunID, 0, maxCandidates)
	for _, s := range list[:min(len(list), maxCandidates)] {
		out = append(out, s.id)
	}
	return out
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
