package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"plumb/store"
)

// What a run that is under way has begun and ended stands in STORE/running/RUN, a line
// of JSON each, until the run is recorded. When the agent is killed the next one makes
// the record of it: the attempts that were ended say how, and those that were not are
// preempted ones. The lines are written and not synced, so they survive the end of
// every process; after a power cut the last of them may be missing, and then the run's
// record says less, but nothing wrong.

// journal is that of one run. Writing never fails a run: it is told to the log once.
type journal struct {
	path string
	f    *os.File
	err  error
}

// entry is one line: an attempt that begins, one that ended, or a stage that is done.
type entry struct {
	Stage   string             `json:"stage"`
	Key     store.Key          `json:"key,omitzero"`
	Image   string             `json:"image,omitempty"`
	Number  int                `json:"number,omitempty"`
	Began   time.Time          `json:"began,omitzero"`
	Resumed bool               `json:"resumed,omitempty"`
	Attempt *store.Attempt     `json:"attempt,omitempty"`
	Done    *store.StageResult `json:"done,omitempty"`
}

func (e *Engine) journalDir() string { return filepath.Join(e.cfg.Dir, "running") }

// openJournal begins one.
func (e *Engine) openJournal(id store.RunID) *journal {
	j := &journal{path: filepath.Join(e.journalDir(), string(id))}
	if j.err = os.MkdirAll(e.journalDir(), 0o700); j.err == nil {
		j.f, j.err = os.OpenFile(j.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	return j
}

// write adds a line, whole or not at all as far as the kernel goes; a reader passes
// over what is no line.
func (j *journal) write(e entry) {
	if j == nil || j.err != nil {
		return
	}
	var b []byte
	if b, j.err = json.Marshal(e); j.err == nil {
		_, j.err = j.f.Write(append(b, '\n'))
	}
}

// close removes what is recorded by now, and gives the first error that there was.
func (j *journal) close() error {
	if j == nil {
		return nil
	}
	err := j.err
	if j.f != nil {
		err = errors.Join(err, j.f.Close(), os.Remove(j.path))
	}
	if err != nil {
		return fmt.Errorf("keeping the journal of a run: %w", err)
	}
	return nil
}

// keep lets go of the file and leaves it: what it tells is not recorded yet.
func (j *journal) keep() error {
	if j == nil || j.f == nil {
		return nil
	}
	return j.f.Close()
}

// noteProgress writes a line of the run's journal, once the run has begun to work.
func (r *run) noteProgress(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal.write(e)
}

// interrupted makes of a run that a killed agent left what is known of it: from is
// where its journal lies.
func interrupted(from string, r *store.Run) error {
	r.Status, r.Seconds = statusCanceled, max(0, r.Seconds)
	f, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the journal of run %q: %w", r.ID, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading the journal of run %q: %w", r.ID, err)
	}
	if fi.Mode().IsRegular() {
		r.Seconds = max(r.Seconds, fi.ModTime().Sub(r.Started).Seconds())
	}
	var known results
	in := bufio.NewScanner(f)
	for in.Buffer(nil, 4<<20); in.Scan(); {
		var e entry
		if json.Unmarshal(in.Bytes(), &e) == nil && e.Stage != "" {
			known.add(e)
		}
	}
	r.Stages = known.end()
	r.Counts = countsOf(r.Stages)
	return nil
}

// results are those of the stages in a journal, in the order in which they began.
type results struct {
	all   []store.StageResult
	index map[string]int
	open  map[string]entry // attempts that have begun
}

func (s *results) add(e entry) {
	if s.index == nil {
		s.index, s.open = map[string]int{}, map[string]entry{}
	}
	i, ok := s.index[e.Stage]
	if !ok {
		i = len(s.all)
		s.index[e.Stage] = i
		s.all = append(s.all, store.StageResult{Name: e.Stage})
	}
	switch res := &s.all[i]; {
	case e.Done != nil:
		*res = *e.Done
		delete(s.open, e.Stage)
	case e.Attempt != nil:
		res.Attempts = append(res.Attempts, *e.Attempt)
		res.Seconds += e.Attempt.Seconds
		delete(s.open, e.Stage)
	default:
		res.Key, res.Image = e.Key, e.Image
		s.open[e.Stage] = e
	}
}

// end makes preempted attempts of those that did not end.
func (s *results) end() []store.StageResult {
	for i := range s.all {
		res := &s.all[i]
		if e, ok := s.open[res.Name]; ok {
			res.Attempts = append(res.Attempts, store.Attempt{
				Class: store.ClassPreempted, Started: e.Began, Resumed: e.Resumed, Error: "the agent was killed while it ran", PeakMemory: -1, ReadBytes: -1, WrittenBytes: -1,
			})
		}
		if res.Status == "" {
			res.Status = statusCanceled
		}
	}
	return s.all
}

// closeInterrupted records the runs that a killed agent left as running. What else lies
// among the journals is of runs that were recorded.
func (e *Engine) closeInterrupted() error {
	runs, err := e.store.Runs(store.RunFilter{Status: statusRunning})
	if err != nil {
		return fmt.Errorf("looking for interrupted runs: %w", err)
	}
	for i := range runs {
		run, err := e.store.Run(runs[i].ID) // with its files
		if err != nil {
			e.cfg.Logger.Warn("closing an interrupted run", "error", err)
			run = &runs[i]
		}
		if err := interrupted(filepath.Join(e.journalDir(), string(run.ID)), run); err != nil {
			e.cfg.Logger.Warn("closing an interrupted run", "error", err)
		}
		if err := e.store.PutRun(run); err != nil {
			return fmt.Errorf("closing the interrupted run %q: %w", run.ID, err)
		}
	}
	left, err := os.ReadDir(e.journalDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(e.journalDir(), l.Name())))
	}
	if err != nil { // no reason not to work: it is tried again by the next owner
		e.cfg.Logger.Warn("removing the journals of interrupted runs", "error", err)
	}
	return nil
}
