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
// the record of it: the attempts that were ended say how, those that were not are
// preempted ones, and stages of which nothing is said were not reached. The lines are
// written and not synced, so they survive the end of every process; after a power cut
// the last of them may be missing, and then the run's record says less, but nothing
// wrong. The file's time is set once a second: that is how long the run was seen.

// journal is that of one run. Writing never fails a run: it is told to the log once.
type journal struct {
	path  string
	f     *os.File
	err   error
	still func() // ends the pulse, and returns when it has ended
}

// entry is one line: an attempt that begins, one that ended, a stage that is done, or
// where the run comes from.
type entry struct {
	Stage   string             `json:"stage,omitempty"`
	Key     store.Key          `json:"key,omitzero"`
	Image   string             `json:"image,omitempty"`
	Number  int                `json:"number,omitempty"`
	Began   time.Time          `json:"began,omitzero"`
	Resumed bool               `json:"resumed,omitempty"`
	Attempt *store.Attempt     `json:"attempt,omitempty"`
	Done    *store.StageResult `json:"done,omitempty"`
	Origin  *store.Origin      `json:"origin,omitempty"`

	// What the stage was, with the beginning of its first attempt: no record will say
	// that, unless it comes to its end.
	Action []byte `json:"action,omitempty"`
	Note   []byte `json:"note,omitempty"`
}

// maxAction bounds an action in the journal, with its note. Those that are larger are
// of many thousand inputs.
const maxAction = 1 << 20

// pulse is how often the journal says that the run goes on.
const pulse = time.Second

func (e *Engine) journalDir() string { return filepath.Join(e.cfg.Dir, "running") }

// openJournal begins one.
func (e *Engine) openJournal(id store.RunID) *journal {
	j := &journal{path: filepath.Join(e.journalDir(), string(id))}
	if j.err = os.MkdirAll(e.journalDir(), 0o700); j.err == nil {
		j.f, j.err = os.OpenFile(j.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if j.err == nil {
		j.still = j.beat(e.cfg.Now)
	}
	return j
}

// beat sets the file's time until it is told to end.
func (j *journal) beat(now func() time.Time) (end func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(pulse)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				t := now()
				if os.Chtimes(j.path, t, t) != nil { // it is gone, and says nothing any more
					return
				}
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
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
		j.still()
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
	j.still()
	return j.f.Close()
}

// noteProgress writes a line of the run's journal, once the run has begun to work.
func (r *run) noteProgress(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal.write(e)
}

// noteAttempt writes that an attempt begins, and with the first what the stage is.
func (r *run) noteAttempt(i int, a *attempt, at store.Attempt) {
	s, d := r.s.planner.Stage(i), r.s.planner.Decision(i)
	e := entry{Stage: s.Name, Key: d.Key, Image: r.s.images[s.Image].digest.String(), Number: a.number, Began: at.Started, Resumed: at.Resumed}
	if a.number == 1 {
		if note := r.s.planner.Note(i).Encode(); len(d.Action)+len(note) <= maxAction {
			e.Action, e.Note = d.Action, note
		}
	}
	r.noteProgress(e)
}

// interrupted makes of a run that a killed agent left what is known of it: from is
// where its journal lies. The actions of stages that did not come to their end are given
// besides.
func interrupted(from string, r *store.Run) ([]store.Failure, error) {
	r.Status, r.Seconds = statusCanceled, max(0, r.Seconds)
	known, err := readJournal(from, r)
	if err != nil {
		return nil, err
	}
	known.end()
	r.Stages = known.all
	r.Counts = countsOf(r.Stages)
	return known.unfinished(r.ID), nil
}

// underWay adds to the record of a run under way what its journal says.
func (e *Engine) underWay(r *store.Run) error {
	r.Seconds = max(0, e.cfg.Now().Sub(r.Started).Seconds())
	known, err := readJournal(filepath.Join(e.journalDir(), string(r.ID)), r)
	if err != nil {
		return err
	}
	for name, begun := range known.open {
		res := &known.all[known.index[name]]
		res.Status, res.Seconds = statusRunning, res.Seconds+max(0, e.cfg.Now().Sub(begun.Began).Seconds())
	}
	r.Stages = known.all
	r.Counts = countsOf(r.Stages)
	return nil
}

// readJournal reads what happened since the record of a run was written. A journal that
// is not there says nothing.
func readJournal(from string, r *store.Run) (*results, error) {
	known := newResults(r.Stages)
	f, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return known, fmt.Errorf("reading the journal of run %q: %w", r.ID, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return known, fmt.Errorf("reading the journal of run %q: %w", r.ID, err)
	}
	if fi.Mode().IsRegular() {
		r.Seconds = max(r.Seconds, fi.ModTime().Sub(r.Started).Seconds())
	}
	in := bufio.NewScanner(f)
	for in.Buffer(nil, 4<<20); in.Scan(); {
		var e entry
		switch {
		case json.Unmarshal(in.Bytes(), &e) != nil:
		case e.Stage != "":
			known.add(e)
		case e.Origin != nil:
			r.Origin = e.Origin
		}
	}
	return known, nil
}

// results are those of the stages in the record of a run that began and in its journal:
// in the order of the graph, or where there is no list of them, in that in which they
// began.
type results struct {
	all   []store.StageResult
	index map[string]int
	open  map[string]entry // attempts that have begun
	whats map[string]entry // with the actions
}

func newResults(listed []store.StageResult) *results {
	s := &results{all: listed, index: make(map[string]int, len(listed)), open: map[string]entry{}, whats: map[string]entry{}}
	for i := range listed {
		s.index[listed[i].Name] = i
	}
	return s
}

func (s *results) add(e entry) {
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
		if e.Action != nil {
			s.whats[e.Stage] = e
		}
	}
}

// end makes preempted attempts of those that did not end.
func (s *results) end() {
	for i := range s.all {
		res := &s.all[i]
		if e, ok := s.open[res.Name]; ok {
			res.Attempts = append(res.Attempts, store.Attempt{
				Class: store.ClassPreempted, Started: e.Began, Resumed: e.Resumed, Error: "the agent was killed while it ran", PeakMemory: -1, ReadBytes: -1, WrittenBytes: -1,
			})
		}
		if res.Status != "" && res.Status != statusPending {
			continue
		}
		if res.Status = statusCanceled; len(res.Attempts) == 0 {
			res.Reason = notReached
		}
	}
}

// unfinished lists what the stages were that were at it.
func (s *results) unfinished(run store.RunID) []store.Failure {
	var out []store.Failure
	for i := range s.all {
		res := &s.all[i]
		e, ok := s.whats[res.Name]
		if !ok || res.Status != statusCanceled || e.Key != res.Key || len(res.Attempts) == 0 {
			continue
		}
		out = append(out, store.Failure{Key: e.Key, Action: e.Action, Note: e.Note, Run: run, Stage: res.Name, When: e.Began, Attempts: res.Attempts})
	}
	return out
}

// keepUnfinished keeps what a stage was that was canceled, so that its run can be compared
// with others. What is kept of the same action already says more.
func (e *Engine) keepUnfinished(f *store.Failure) error {
	action, _, err := actionOf(e.store, f.Key)
	if err == nil && action == nil {
		err = e.store.PutFailure(f)
	}
	if err != nil {
		return fmt.Errorf("keeping what stage %q was: %w", f.Stage, err)
	}
	return nil
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
		unfinished, err := interrupted(filepath.Join(e.journalDir(), string(run.ID)), run)
		for i := range unfinished {
			err = errors.Join(err, e.keepUnfinished(&unfinished[i]))
		}
		if err != nil {
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
