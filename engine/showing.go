package engine

import (
	"fmt"
	"strings"

	"plumb/engine/plan"
	"plumb/hcl"
	"plumb/store"
)

// What a stage of a run was stands in the record of its result, or of its failure, by its
// key. Where that is not kept any more, what the run itself says is told, and no fields.

// ShownField is one ingredient of an action, as people read it: a sensitive value is not
// told.
type ShownField struct {
	Kind  plan.FieldKind `json:"kind"`
	Name  string         `json:"name,omitempty"`
	Value string         `json:"value"`
}

// ShownInput is what a stage read. From is where it came from when that is not the same
// path of the project: another path of it, or an output of a stage.
type ShownInput struct {
	Path   string       `json:"path"`
	Kind   store.Kind   `json:"kind"`
	Digest store.Digest `json:"digest"`
	Exec   bool         `json:"exec,omitempty"`
	From   string       `json:"from,omitempty"`
}

// ShownPlace is what was at a path when the run began, or ended. Kept says that the bytes
// are in the store now.
type ShownPlace struct {
	store.Place
	Kept bool `json:"kept"`
}

// shownPlaces looks as restore does: what cannot be had, for whatever reason, is not kept.
func (e *Engine) shownPlaces(places []store.Place) []ShownPlace {
	out := make([]ShownPlace, len(places))
	for i := range places {
		out[i] = ShownPlace{Place: places[i], Kept: e.store.Check(places[i].Artifact) == nil}
	}
	return out
}

// ingredients adds what the stage's action consists of, as far as it is kept.
func (e *Engine) ingredients(st *ShownStage) error {
	st.Fields, st.Inputs = []ShownField{}, []ShownInput{}
	if st.Key.IsZero() {
		return nil
	}
	action, noted, err := actionOf(e.store, st.Key)
	if err != nil {
		return err
	}
	if left, ok := e.unfinished.Load(st.Key); ok && action == nil {
		action, noted = left.(store.Failure).Action, left.(store.Failure).Note
	}
	fields, err := plan.Decode(action)
	if err != nil {
		return nil // none is kept, or of another format: what the run says stands
	}
	note, err := plan.DecodeNote(noted)
	if err != nil {
		note = plan.Note{} // a damaged one says nothing
	}
	for _, f := range fields {
		st.Fields = append(st.Fields, ShownField{f.Kind, f.Name, plan.Readable(f.Kind, f.Value)})
		kind, digest, ok := plan.InputDigest(f.Value)
		if f.Kind != plan.FieldInput || !ok {
			continue
		}
		in := ShownInput{Path: f.Name, Kind: kind, Digest: digest, Exec: strings.Contains(f.Value, " executable ")}
		if from := note.Whence(f.Name); from != (plan.Whence{Project: f.Name}) {
			in.From = from.String()
		}
		st.Inputs = append(st.Inputs, in)
	}
	return nil
}

// oneStage is that of a name alone.
func oneStage(run *store.Run, name string) ([]store.StageResult, error) {
	var names []string
	for i := range run.Stages {
		if run.Stages[i].Name == name {
			return run.Stages[i : i+1], nil
		}
		names = append(names, run.Stages[i].Name)
	}
	hint := fmt.Sprintf("plumb show %s lists them", run.ID)
	if near := hcl.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return nil, invalid(hint, "run %s has no stage %q", run.ID, name)
}
