package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"plumb/hcl"
	"plumb/store"
)

// Annotate says something of a run: tags, a note, that it is pinned. Nothing of the run's
// own record changes.
func (e *Engine) Annotate(_ context.Context, req AnnotateRequest) (*AnnotateDoc, error) {
	if err := checkAnnotation(req); err != nil {
		return nil, err
	}
	run, err := e.findRun(req.Dir, req.Run)
	if err != nil {
		return nil, err
	}
	if e.cfg.ReadOnly {
		return nil, &Error{Kind: Machine, Message: "the store is open for reading only"}
	}
	have, err := e.store.Annotation(run.ID)
	if err != nil {
		return nil, err
	}
	for _, tag := range req.Untag {
		if !slices.Contains(have.Tags, tag) {
			return nil, invalid("its tags are: "+strings.Join(have.Tags, ", "), "run %s has no tag %q", run.ID, tag)
		}
	}
	a, err := e.store.Annotate(run.ID, store.AnnotationChange{Tags: req.Tags, Untag: req.Untag, Move: req.Move, Note: req.Note, Pinned: req.Pinned})
	var taken *store.TagTakenError
	if errors.As(err, &taken) {
		return nil, invalid("--move takes it from that run; or choose another name", "tag %q names run %s already", taken.Tag, taken.Run)
	}
	if errors.Is(err, store.ErrTooManyTags) {
		return nil, invalid("it has: "+strings.Join(have.Tags, ", "), "a run has at most %d tags, and run %s would have more", store.MaxTags, run.ID)
	}
	if err != nil {
		return nil, err
	}
	return &AnnotateDoc{Schema: Schema, Run: run.ID, Annotation: *a}, nil
}

var (
	tagForm = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N}._+-]{0,63}$`)
	idForm  = regexp.MustCompile(`^([0-9-]+$|[0-9]{8}-)`)
)

func checkAnnotation(req AnnotateRequest) error {
	for _, tag := range req.Tags {
		switch {
		case tag == "latest":
			return invalid("choose another name", "%q always names the newest run", tag)
		case idForm.MatchString(tag):
			return invalid("begin it with a letter, like v"+tag, "tag %q could be the id of a run", tag)
		case !tagForm.MatchString(tag):
			return invalid("a tag has up to 64 letters, digits, and . _ + - behind the first", "%q is no tag", tag)
		}
	}
	if len(req.Tags) > store.MaxTags {
		return invalid("", "a run has at most %d tags", store.MaxTags)
	}
	if req.Note != nil && len(*req.Note) > store.MaxNote {
		return invalid("put it into a file of the project", "a note has at most %d KiB, and this one has %d", store.MaxNote>>10, len(*req.Note)>>10)
	}
	return nil
}

func noTag(tag string, tags map[string]store.RunID) error {
	names := slices.Sorted(maps.Keys(tags))
	hint := "plumb tag RUN " + tag + " gives it to a run"
	if near := hcl.Nearest(tag, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return invalid(hint, "no run of this project has the tag %q", tag)
}
