package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"plumb/engine/plan"
	"plumb/hcl"
	"plumb/store"
)

// Lineage goes from content to the actions that made it, and from those to what they
// read, until it comes to what no stage made; and the other way to what came of it. It
// leads across runs, pipelines and projects, and through stages that were cached: there is
// one record of an action, and it says which run made it.
//
//	lineage.go       what is asked about
//	lineagedigest.go a digest, or the beginning of one
//	lineageroot.go   where that begins: content, a file of a project, an output
//	lineagewalk.go   from there up and down
//	lineagemaker.go  which action made what another one read
//	lineagenodes.go  the artifacts of the answer

// LineageRequest asks where something comes from and what came of it. Exactly one of Up
// and Down may be set; neither stands for both.
type LineageRequest struct {
	Request
	Name   string `json:"name"`             // a digest, a run, STAGE.OUTPUT, an image, "" for the newest run
	File   string `json:"file,omitempty"`   // absolute: the file or directory that Name may mean
	Up     bool   `json:"up,omitempty"`     // what it was made of alone
	Down   bool   `json:"down,omitempty"`   // what came of it alone
	Depth  int    `json:"depth,omitempty"`  // so many actions away, 0 for any
	Limit  int    `json:"limit,omitempty"`  // so many actions, 0 for the usual
	Inside bool   `json:"inside,omitempty"` // look for a file in directories also when it is known by itself
}

// LineageDoc is a graph: Actions name artifacts as what they read and made, by digest and
// by the action that made it.
type LineageDoc struct {
	Schema    int               `json:"schema"`
	Of        LineageOf         `json:"of"`
	Run       *store.Run        `json:"run,omitempty"`    // when a run is asked about
	Stages    []LineageStage    `json:"stages,omitempty"` // of that run
	Artifacts []LineageArtifact `json:"artifacts"`
	Actions   []LineageAction   `json:"actions"`
	More      bool              `json:"more"`               // a bound was met: there is more
	Searched  *store.Searched   `json:"searched,omitempty"` // when directories were searched
}

// LineageOf says what was asked about.
type LineageOf struct {
	Kind   string         `json:"kind"` // artifact, run, image
	Name   string         `json:"name"`
	Digest store.Digest   `json:"digest,omitzero"`
	Inside []store.Inside `json:"inside,omitempty"` // the directories that have it, which were asked about for it
	Keys   []store.Key    `json:"keys,omitempty"`   // of a run or an image: where to begin
	Up     bool           `json:"up"`
	Down   bool           `json:"down"`
}

// LineageStage is a stage of the run that is asked about.
type LineageStage struct {
	Name    string      `json:"name"`
	Status  string      `json:"status"`
	Key     store.Key   `json:"key,omitzero"`
	MadeBy  store.RunID `json:"made_by,omitempty"` // when its result was there already, and is still
	Image   string      `json:"image,omitempty"`
	Error   string      `json:"error,omitempty"`
	Started time.Time   `json:"started,omitzero"` // of the last attempt in this run
	Seconds float64     `json:"seconds,omitempty"`
}

// LineageArtifact is content as one action made it, or as it was there without any. The
// same content has as many artifacts as there are ways by which it came about.
type LineageArtifact struct {
	Digest store.Digest   `json:"digest"`
	MadeBy store.Key      `json:"made_by,omitzero"` // zero: by no stage, as far as is known
	Kind   store.Kind     `json:"kind"`
	Size   int64          `json:"size"`
	Asked  bool           `json:"asked,omitempty"`  // it is what is asked about
	Places []LineagePlace `json:"places,omitempty"` // where runs found it, or put it
	ReadBy []store.Key    `json:"read_by,omitempty"`
}

// LineagePlace is where content was in a project, or outside.
type LineagePlace struct {
	Run     store.RunID `json:"run"`
	Project string      `json:"project"`
	store.Place
}

// LineageAction is an action that was done.
type LineageAction struct {
	Key      store.Key     `json:"key"`
	Stage    string        `json:"stage"`
	Run      store.RunID   `json:"run"` // that made it
	Project  string        `json:"project,omitempty"`
	Pipeline string        `json:"pipeline,omitempty"`
	Created  time.Time     `json:"created"`
	Seconds  float64       `json:"seconds"` // of its last attempt
	Image    store.Digest  `json:"image"`
	Platform string        `json:"platform"`
	Command  []string      `json:"command"`
	Params   []LineageText `json:"params,omitempty"`
	Seed     *int64        `json:"seed,omitempty"`
	Failed   bool          `json:"failed,omitempty"`
	Inputs   []LineageUse  `json:"inputs"`
	Outputs  []LineageUse  `json:"outputs"`
}

// LineageText is a named value, "(sensitive)" for one that is.
type LineageText struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// LineageUse is content as an action read or made it. Of an input, Stage and Name are the
// output that it was in the reader's run, By is the action that made it. That one is in the
// document unless a bound was met, or it is not kept.
type LineageUse struct {
	Stage  string       `json:"stage,omitempty"`
	Name   string       `json:"name,omitempty"`
	Path   string       `json:"path"` // in the workspace
	Digest store.Digest `json:"digest"`
	By     store.Key    `json:"by,omitzero"`
	Also   int          `json:"also,omitempty"` // content alone tells By: so many other actions made the very same
}

// Lineage answers with as much of the graph as was asked for.
func (e *Engine) Lineage(ctx context.Context, req LineageRequest) (*LineageDoc, error) {
	if req.Depth < 0 || req.Limit < 0 {
		return nil, invalid("0 is for all", "--depth and --limit must not be negative")
	}
	w := newWalk(ctx, e, req)
	if !e.cfg.ReadOnly {
		if err := e.store.Relink(ctx); err != nil {
			return nil, err
		}
	}
	for _, find := range []func() (bool, error){w.digest, w.file, w.run, w.output, w.image, w.digits} {
		found, err := find()
		if err != nil {
			return nil, err
		}
		if found {
			return w.done(), nil
		}
	}
	return nil, w.unknown()
}

// nextLineage is what to do when something is not known.
const nextLineage = "plumb lineage RUN tells what a run read and made, and plumb runs lists them"

// unknown says what was looked for.
func (w *walk) unknown() error {
	switch {
	case w.hashed != nil:
		return invalid("it may have changed since, or its run is gone; "+nextLineage, "there is a file %q, but no stage of any run in this store has read or made its content, %s%s", w.req.Name, w.hashed.Digest, w.bound())
	case w.asked != nil:
		return invalid(nextLineage, "nothing that is recorded made or read %s, or ran in it%s", *w.asked, w.bound())
	case w.refused != nil:
		return w.refused
	}
	return invalid("plumb runs, plumb show and plumb image ls list what there is", "%q is no digest, no file, no run, no stage's output and no image", w.req.Name)
}

func (w *walk) bound() string {
	if w.doc.Searched == nil || w.doc.Searched.Whole {
		return ""
	}
	return fmt.Sprintf("; %d directories were searched for it, and there are more", w.doc.Searched.Directories)
}

// namesOf says for the store what an action names by digest. One of a form that this
// plumb does not know names nothing.
func namesOf(action []byte) (n store.Named) {
	fields, err := plan.Decode(action)
	if err != nil {
		return n
	}
	for _, f := range fields {
		switch f.Kind {
		case plan.FieldImage:
			n.Image, _ = store.ParseDigest(f.Value) // none is none
		case plan.FieldInput:
			if _, d, ok := plan.InputDigest(f.Value); ok {
				n.Inputs = append(n.Inputs, d)
			}
		}
	}
	return n
}

// mayBeID reports whether a name may be a part of a run's id. To look for one among all
// ids takes longer than everything else, and most names of outputs and digests are none.
func mayBeID(name string) bool {
	digits := isHex(name) && len(name) >= fewestDigits && strings.ContainsAny(name, "abcdef")
	return !digits && strings.Trim(name, "0123456789abcdefghijklmnopqrstuvwxyz-") == ""
}

// run takes the name for a run.
func (w *walk) run() (bool, error) {
	if w.asked != nil {
		return false, nil
	}
	if !mayBeID(w.req.Name) {
		tags, err := w.e.store.Tags(w.req.Project.Dir)
		if err != nil {
			return false, err
		}
		if _, ok := tags[w.req.Name]; !ok {
			if near := hcl.Nearest(w.req.Name, slices.Collect(maps.Keys(tags))); near != "" {
				w.refused = invalid("did you mean "+near+"?", "there is no run %q", w.req.Name)
			}
			return false, nil
		}
	}
	head, err := w.e.findRun(w.req.Project.Dir, w.req.Name)
	var e *Error
	if errors.As(err, &e) && w.req.Name != "" {
		w.refused = notARun(e)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	run, err := w.e.store.Run(head.ID)
	if err != nil {
		return false, err
	}
	w.doc.Run = run
	w.about(run)
	w.doc.Of.Kind, w.doc.Of.Name = "run", string(run.ID)
	return true, w.stages(run)
}

// image takes the name for an image block.
func (w *walk) image() (bool, error) {
	if w.asked != nil {
		return false, nil
	}
	for digest, names := range w.e.blocksOf(w.req.Request) {
		for _, name := range names {
			if name != w.req.Name {
				continue
			}
			d, err := store.ParseDigest(digest)
			if err != nil {
				return false, err
			}
			found, err := w.imageDigest(d)
			if err == nil && !found {
				err = invalid("plumb run makes results", "nothing that is recorded ran in image %q (%s)", name, d)
			}
			return found, err
		}
	}
	return false, nil
}

func (w *walk) imageDigest(d store.Digest) (bool, error) {
	recs, more, err := w.e.store.Linked(w.ctx, store.LinkImage, d, w.limit)
	if err != nil || len(recs) == 0 {
		return false, err
	}
	w.doc.Of.Kind, w.doc.Of.Digest, w.doc.More = "image", d, more
	for _, r := range recs {
		w.doc.Of.Keys = append(w.doc.Of.Keys, r.Key)
	}
	return true, w.spread(recs)
}
