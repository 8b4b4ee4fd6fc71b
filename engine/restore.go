package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"plumb/engine/event"
	"plumb/engine/plan"
	"plumb/store"
	"plumb/store/tree"
)

// Restoring brings a run's project back: what its pipeline was read from, what its stages
// read, what images are made of, and what it exported, each as it was. The run made again
// there finds its results; stages of which none is kept any more are named.
//
// It is all or nothing. Everything is looked for before anything is written; then it is
// made in a directory beside the one that is asked for, which is renamed; one that is there
// and empty stays the one it is, and is filled by renaming. Files are clones
// of what the store has where the file system can do that, else copies, never links: the
// project is for working in.
//
// What cannot come back is said beforehand: data of which only the digest was recorded
// (keep = false), and the values of sensitive params, which are recorded nowhere.

// RestoreRequest names a run, or the moment whose newest successful run is meant.
type RestoreRequest struct {
	Dir     string    `json:"dir"` // the project, absolute
	Run     string    `json:"run,omitempty"`
	At      time.Time `json:"at,omitzero"`
	To      string    `json:"to,omitempty"` // absolute; not there, or an empty directory
	InPlace bool      `json:"in_place,omitempty"`
	Place   Place     `json:"place"` // where stages would run
}

// RestoreDoc says what was restored.
type RestoreDoc struct {
	Schema  int         `json:"schema"`
	Run     store.RunID `json:"run"`
	Status  string      `json:"status"`
	Started time.Time   `json:"started"`
	To      string      `json:"to"`
	Files   []Restored  `json:"files"`
	Bytes   int64       `json:"bytes"`
	Removed []string    `json:"removed,omitempty"` // in place: what was no part of the run
	Lacking []Restored  `json:"lacking,omitempty"` // only the digest was recorded
	Reruns  []Rerun     `json:"reruns,omitempty"`  // stages that are not cached there
	Notes   []string    `json:"notes,omitempty"`
	Command []string    `json:"command"` // that makes the run again, there
}

// Restored is a file or directory of the project.
type Restored struct {
	Path string `json:"path"`
	Role string `json:"role"`
	store.Artifact
	empty bool // it was listed, and nobody read it
}

// Restore restores a run.
func (e *Engine) Restore(ctx context.Context, req RestoreRequest, emit func(event.Event)) (*RestoreDoc, error) {
	r := &restoring{e: e, ctx: ctx, req: req, tell: throttled(emit)}
	if err := r.target(); err != nil {
		return nil, err
	}
	if err := r.find(); err != nil {
		return nil, err
	}
	if err := r.list(); err != nil {
		return nil, err
	}
	if req.InPlace {
		if err := r.superfluous(); err != nil {
			return nil, fmt.Errorf("restoring run %s: %w", r.run.ID, err)
		}
	}
	var all []store.Artifact
	for i := range r.doc.Files {
		all = append(all, r.doc.Files[i].Artifact)
	}
	defer e.store.LeaseBlobs(all...)()
	if err := r.complete(); err != nil {
		return nil, err
	}
	if err := r.results(); err != nil {
		return nil, err
	}
	for _, note := range r.doc.Notes {
		r.tell(event.Event{Type: event.Warning, Message: note})
	}
	write := r.beside
	switch {
	case req.InPlace:
		write = r.inPlace
	case r.there:
		write = r.into
	}
	if err := write(); err != nil {
		return nil, fmt.Errorf("restoring run %s: %w", r.run.ID, err)
	}
	return r.doc, r.remember()
}

// restoring is one restore under way.
type restoring struct {
	e    *Engine
	ctx  context.Context
	req  RestoreRequest
	tell func(event.Event)
	run  *store.Run
	doc  *RestoreDoc
	args []byte // content of the file of params, nil for none that is not the run's
	at   string // its path
	done int64  // bytes written

	there bool // an empty directory to restore into
}

// target refuses a directory that is in use.
func (r *restoring) target() error {
	if r.req.InPlace {
		return r.cleanTree()
	}
	const hint = "name a directory that is not there yet"
	entries, err := os.ReadDir(r.req.To)
	if errors.Is(err, fs.ErrNotExist) {
		return danglingAt(r.req.To)
	}
	if err != nil {
		return invalid(hint, "%q cannot be restored into: %v", r.req.To, err)
	}
	for _, e := range entries {
		switch {
		case e.Name() == "lost+found" && e.IsDir(): // every new ext4 has it
		case abandoned(filepath.Join(r.req.To, e.Name())):
		case strings.HasPrefix(e.Name(), restoreTemp):
			return invalid("wait for its end, or "+hint, "another restore into %q is under way", r.req.To)
		default:
			return invalid(hint, "%q is not empty: %s is in it", r.req.To, e.Name())
		}
	}
	r.there = true
	return nil
}

// find finds the run.
func (r *restoring) find() error {
	head, err := r.head()
	if err != nil {
		return err
	}
	if r.run, err = r.e.store.Run(head.ID); err != nil {
		return &Error{Kind: Machine, Message: fmt.Sprintf("run %s is damaged: %v", head.ID, err), Hint: "plumb fsck tells more"}
	}
	if err := r.e.asFound(r.run); err != nil {
		return err
	}
	switch {
	case r.run.Status == statusRunning:
		return invalid("wait for its end", "run %s is under way", r.run.ID)
	case len(r.run.Files) == 0 || r.run.Places == nil && !r.readsNothing():
		return invalid("restore a newer run", "run %s does not say what it was made of: it was recorded by a plumb that could not restore (%s)", r.run.ID, r.run.Version)
	}
	if other := r.run.Project; r.req.InPlace && other != r.req.Dir && there(other) {
		return invalid("restore into a new directory: plumb restore RUN DIR", "run %s is of the project %q, and --in-place would put it into another", r.run.ID, other)
	}
	r.doc = &RestoreDoc{Schema: Schema, Run: r.run.ID, Status: r.run.Status, Started: r.run.Started, To: r.req.To, Files: []Restored{}}
	if r.req.InPlace {
		r.doc.To = r.req.Dir
	}
	return nil
}

// readsNothing reports whether no stage of the run read anything of the project, as far as
// records tell: a run of before that was recorded.
func (r *restoring) readsNothing() bool {
	for i := range r.run.Stages {
		action, text, err := actionOf(r.e.store, r.run.Stages[i].Key)
		if err != nil {
			return false
		}
		fields, err := plan.Decode(action)
		if err != nil {
			continue
		}
		note, err := plan.DecodeNote(text)
		if err != nil {
			return false
		}
		for _, f := range fields {
			if f.Kind == plan.FieldInput && !note.Whence(f.Name).Produced() {
				return false
			}
		}
	}
	return true
}

func (r *restoring) head() (*store.Run, error) {
	if r.req.At.IsZero() {
		return r.e.findRun(r.req.Dir, r.req.Run)
	}
	// Ids sort by time, so what comes after the second can be passed over unread.
	f := store.RunFilter{Project: r.req.Dir, Status: "succeeded", Limit: 20, Before: store.RunID(r.req.At.UTC().Add(time.Second).Format("20060102-150405"))}
	for {
		runs, err := r.e.store.Runs(f)
		if err != nil {
			return nil, err
		}
		for i := range runs {
			if !endOf(runs[i].Started, runs[i].Seconds).After(r.req.At) { // else it had not succeeded yet
				return &runs[i], nil
			}
			f.Before = runs[i].ID
		}
		if len(runs) < f.Limit {
			return nil, r.tooEarly()
		}
	}
}

// endOf is when a run was over.
func endOf(started time.Time, seconds float64) time.Time {
	return started.Add(time.Duration(seconds * float64(time.Second)))
}

// tooEarly says what there is instead.
func (r *restoring) tooEarly() error {
	var first *store.RunSummary
	err := r.e.store.Summaries(store.RunFilter{Project: r.req.Dir, Status: "succeeded"}, func(sum *store.RunSummary) (bool, error) {
		if first == nil || endOf(sum.Started, sum.Seconds).Before(endOf(first.Started, first.Seconds)) {
			first = sum
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	at := r.req.At.Format(time.DateTime)
	if first == nil {
		return invalid("plumb run makes one", "no run of this project has succeeded yet")
	}
	over := endOf(first.Started, first.Seconds).Add(time.Second - time.Nanosecond).Truncate(time.Second)
	return invalid("plumb restore "+string(first.ID)+" restores that one", "no run of this project had succeeded at %s: the first was %s, at %s", at, first.ID, over.In(r.req.At.Location()).Format(time.DateTime))
}

// complete looks whether everything is there that is to be written.
func (r *restoring) complete() error {
	var lost []string
	var have int
	var bytes int64
	for i := range r.doc.Files {
		f := &r.doc.Files[i]
		if f.empty {
			continue
		}
		if err := r.e.store.Check(f.Artifact); err != nil {
			lost = append(lost, fmt.Sprintf("%s (%s): %s", f.Path, f.Role, r.absent(f.Digest, err)))
			continue
		}
		have++
		bytes += f.Size
	}
	r.doc.Bytes = bytes
	if len(lost) == 0 {
		return nil
	}
	return &Error{
		Kind:    Machine,
		Message: fmt.Sprintf("run %s cannot be restored, and nothing was written: of %d files and directories %d are not in the store any more:\n  %s", r.run.ID, have+len(lost), len(lost), strings.Join(lost, "\n  ")),
		Hint:    others(have, r.run.ID),
	}
}

// others says what can be had of a run that cannot be restored.
func others(have int, run store.RunID) string {
	switch have {
	case 0:
		return "none of them is there; plumb runs lists other runs"
	case 1:
		return fmt.Sprintf("the other one is there: plumb show --json %s has its digest, and plumb get DIGEST -o PATH brings it back", run)
	}
	return fmt.Sprintf("the other %d are there: plumb show --json %s has their digests, and plumb get DIGEST -o PATH brings one back", have, run)
}

// write makes all files below top. Directories come before what lies in them.
func (r *restoring) write(top string) error {
	if err := os.Mkdir(top, 0o777); err != nil {
		return err
	}
	known := map[string]bool{}
	for i := range r.doc.Files {
		f := &r.doc.Files[i]
		at := filepath.Join(top, filepath.FromSlash(f.Path))
		if err := plain(top, f.Path, known); err != nil {
			return err
		}
		if f.empty {
			if err := touch(at); err != nil {
				return err
			}
			continue
		}
		if f.Path == "." {
			if err := os.Remove(top); err != nil {
				return err
			}
		}
		if err := tree.Materialise(r.ctx, r.e.store, f.Artifact, at, tree.MaterialiseOptions{Wrote: r.wrote, Quick: true}); err != nil {
			return lostContent(err)
		}
	}
	if r.args == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(top, r.at), r.args, 0o666)
}

// touch makes an empty file where there is nothing.
func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

func (r *restoring) wrote(n int64) {
	r.done += n
	r.tell(event.Event{Type: event.Progress, Message: "restoring " + string(r.run.ID), Done: r.done, Total: r.doc.Bytes})
}

// remember makes the exports plumb's own in the new place: a later run may replace them.
func (r *restoring) remember() error {
	if r.e.cfg.ReadOnly {
		return nil
	}
	for i := range r.doc.Files {
		f := &r.doc.Files[i]
		if f.Role != string(store.PlaceExport) {
			continue
		}
		b, err := json.Marshal(exported{f.Artifact, r.e.cfg.Now()})
		if err == nil {
			err = r.e.store.PutCache("export/"+r.doc.To+"\x00"+f.Path, b)
		}
		if err != nil {
			return fmt.Errorf("remembering an export: %w", err)
		}
	}
	return nil
}
