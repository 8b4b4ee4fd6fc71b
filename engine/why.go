package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"plumb/engine/plan"
	"plumb/store"
	"plumb/store/tree"
)

// Bounds of what an explanation lays open.
const (
	maxText      = 1 << 20 // bytes of a file that is compared line by line
	maxDiffLines = 200
	maxEntries   = 100
)

// Why says precisely what differs. Without runs it compares what the stage would
// do now with the nearest thing it did before; a stage that is up to date is
// compared with what it did before that. With runs it compares what is recorded.
func (e *Engine) Why(ctx context.Context, req WhyRequest) (*WhyDoc, error) {
	x := &explainer{e: e, ctx: ctx, dir: req.Project.Dir}
	answer := x.now
	if req.RunB != "" {
		answer = x.betweenRuns
	}
	doc, err := answer(req)
	return doc, shown(req.Project.Dir, err)
}

// explainer lays reasons open. now holds the stage's inputs as they are in the
// project, which are not in the store before a run.
type explainer struct {
	e      *Engine
	ctx    context.Context
	dir    string
	inputs []plan.Resolved
	scan   *tree.Scanner
}

// recorded is a stage's action in a run.
type recorded struct {
	run    store.RunID
	key    store.Key
	fields []plan.Field
	note   plan.Note
}

func (x *explainer) recorded(run, stage string) (*recorded, error) {
	head, err := x.e.findRun(x.dir, run)
	if err != nil {
		return nil, err
	}
	full, err := x.e.store.Run(head.ID)
	if err != nil {
		return nil, fmt.Errorf("reading run %q: %w", head.ID, err)
	}
	for i := range full.Stages {
		if full.Stages[i].Name != stage {
			continue
		}
		r, err := x.action(full.Stages[i].Key)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, invalid("compare with a newer run", "the action of stage %q in run %s is not kept any more", stage, head.ID)
		}
		r.run = head.ID
		return r, nil
	}
	return nil, invalid("plumb show lists its stages", "run %s has no stage %q", head.ID, stage)
}

// action reads a kept action; nil when it is not kept.
func (x *explainer) action(k store.Key) (*recorded, error) {
	b, note, err := actionOf(x.e.store, k)
	if err != nil || b == nil {
		return nil, err
	}
	r := &recorded{key: k}
	if r.fields, err = plan.Decode(b); err != nil {
		return nil, fmt.Errorf("reading the action %s: %w", k.Short(), err)
	}
	if r.note, err = plan.DecodeNote(note); err != nil {
		return nil, err
	}
	if rec, err := x.e.store.Remembered(k); err == nil && rec != nil {
		r.run = rec.Run
	}
	return r, nil
}

func (x *explainer) betweenRuns(req WhyRequest) (*WhyDoc, error) {
	a, err := x.recorded(req.RunA, req.Stage)
	if err != nil {
		return nil, err
	}
	b, err := x.recorded(req.RunB, req.Stage)
	if err != nil {
		return nil, err
	}
	doc := &WhyDoc{Schema: Schema, Stage: req.Stage, Key: b.key, OldKey: a.key, OldRun: a.run, NewRun: b.run}
	x.compare(doc, a, b)
	return doc, nil
}

func (x *explainer) compare(doc *WhyDoc, a, b *recorded) {
	reasons := plan.Diff(a.fields, b.fields)
	if len(reasons) > 0 {
		reasons = plan.Causes(reasons, a.note, b.note)
	}
	x.fill(doc, reasons)
}

func (x *explainer) fill(doc *WhyDoc, reasons []plan.Reason) {
	doc.Reasons, doc.Changes = reasons, []Change{}
	if len(reasons) == 0 {
		doc.Reasons = []plan.Reason{{Kind: plan.ReasonNone}}
	}
	for _, r := range reasons {
		if r.Kind != plan.ReasonNone {
			doc.Changes = append(doc.Changes, x.change(r))
		}
	}
}

func (x *explainer) now(req WhyRequest) (*WhyDoc, error) {
	req.Targets = []string{req.Stage}
	s, err := x.e.open(x.ctx, req.Request, pinning{}, nil)
	if err != nil {
		return nil, err
	}
	if err := s.consider(x.dir); err != nil {
		return nil, err
	}
	i, ok := s.planner.Index(req.Stage)
	if !ok {
		return nil, invalid("name one instance, like "+firstInstance(s, req.Stage), "%q is a block of several stages", req.Stage)
	}
	x.inputs, x.scan = s.planner.Inputs(i), s.scanner
	d := s.planner.Decision(i)
	doc := &WhyDoc{Schema: Schema, Stage: req.Stage, Decision: d.Verdict, Key: d.Key}
	if req.RunA != "" {
		return x.againstRun(doc, req, d, s.planner.Note(i))
	}
	x.fill(doc, d.Reasons)
	if d.Record != nil {
		doc.NewRun = d.Record.Run
	}
	return doc, x.before(doc, req.Stage, d, s.planner.Note(i))
}

func firstInstance(s *session, block string) string {
	for i := range s.pipeline.Stages {
		if s.pipeline.Stages[i].Block == block {
			return "'" + s.pipeline.Stages[i].Name + "'"
		}
	}
	return block
}

func (x *explainer) againstRun(doc *WhyDoc, req WhyRequest, d plan.Decision, note plan.Note) (*WhyDoc, error) {
	a, err := x.recorded(req.RunA, req.Stage)
	if err != nil {
		return nil, err
	}
	doc.OldKey, doc.OldRun = a.key, a.run
	if d.Action == nil { // pending: what is known of it is in the reasons
		x.fill(doc, d.Reasons)
		return doc, nil
	}
	fields, err := plan.Decode(d.Action)
	if err != nil {
		return nil, fmt.Errorf("reading the action of stage %q: %w", req.Stage, err)
	}
	x.compare(doc, a, &recorded{key: d.Key, fields: fields, note: note})
	return doc, nil
}

// before names what the stage is compared with, and for a hit what changed when
// its result was made.
func (x *explainer) before(doc *WhyDoc, stage string, d plan.Decision, note plan.Note) error {
	if d.Action == nil {
		return nil
	}
	fields, err := plan.Decode(d.Action)
	if err != nil {
		return fmt.Errorf("reading the action of stage %q: %w", stage, err)
	}
	recs := &records{store: x.e.store, project: x.dir}
	earlier, err := recs.Earlier(stage)
	if err != nil {
		return fmt.Errorf("looking up earlier runs of stage %q: %w", stage, err)
	}
	near, reasons := plan.Nearest(earlier, fields, note)
	if near == nil {
		return nil
	}
	old, err := x.action(near.Key)
	if err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	doc.OldKey, doc.OldRun = old.key, old.run
	if d.Verdict == plan.Hit {
		doc.Changes = doc.Changes[:0]
		for _, r := range reasons {
			doc.Changes = append(doc.Changes, x.change(r))
		}
	}
	return nil
}

// change lays one reason open.
func (x *explainer) change(r plan.Reason) Change {
	c := Change{Reason: r}
	switch r.Kind {
	case plan.ReasonCommand:
		c.Diff = lineDiff(commandText(r.Old), commandText(r.New))
	case plan.ReasonInput:
		x.inputChange(&c)
	}
	return c
}

// commandText is the script of a string command, else one argument a line.
func commandText(v string) []byte {
	var args []string
	if json.Unmarshal([]byte(v), &args) != nil {
		return []byte(v + "\n")
	}
	if len(args) == 4 && args[0] == "/bin/sh" && args[2] == "-c" {
		return []byte(args[3] + "\n")
	}
	return []byte(strings.Join(args, "\n") + "\n")
}

func (x *explainer) inputChange(c *Change) {
	oldKind, oldDigest, ok1 := plan.InputDigest(c.Old)
	newKind, newDigest, ok2 := plan.InputDigest(c.New)
	switch {
	case !ok1 || !ok2:
	case oldKind != newKind:
		c.Note = fmt.Sprintf("it was a %s and is a %s", oldKind, newKind)
	case oldDigest == newDigest:
		c.Note = "only its executable bit changed"
	case oldKind == store.KindFile:
		c.Diff, c.Note = x.fileDiff(c.Name, oldDigest, newDigest)
	default:
		c.Entries, c.Note = x.treeDiff(c.Name, oldDigest, newDigest)
	}
}

// errNotKept says that content is neither in the store nor in the project any more.
var errNotKept = errors.New("the earlier content is not kept")

// content reads a file of a stage's inputs: from the store, or from the project
// when it is still as it was hashed.
func (x *explainer) content(path string, d store.Digest) ([]byte, error) {
	if b, err := x.e.store.ReadBlob(d, maxText); err == nil {
		return b, nil
	} else if errors.Is(err, store.ErrTooLarge) {
		return nil, err
	}
	for _, in := range x.inputs {
		rel := strings.TrimPrefix(path, in.Path)
		if in.Project == "" || rel != "" && (rel == path || rel[0] != '/') {
			continue
		}
		b, err := readSmall(filepath.Join(x.dir, filepath.FromSlash(in.Project+rel)))
		if err != nil {
			return nil, err
		}
		if store.Sum(b) == d {
			return b, nil
		}
	}
	return nil, errNotKept
}

func (x *explainer) fileDiff(path string, old, new store.Digest) (lines []string, note string) {
	a, err := x.content(path, old)
	if err == nil {
		var b []byte
		if b, err = x.content(path, new); err == nil {
			if !isText(a) || !isText(b) {
				return nil, fmt.Sprintf("not text: %d bytes before, %d now", len(a), len(b))
			}
			return lineDiff(a, b), ""
		}
	}
	if errors.Is(err, store.ErrTooLarge) {
		return nil, "too large to compare line by line"
	}
	return nil, err.Error()
}

func (x *explainer) entries(path string, d store.Digest) ([]tree.Entry, error) {
	if b, err := x.e.store.ReadBlob(d, 1<<30); err == nil {
		return tree.Decode(b)
	}
	for _, in := range x.inputs {
		if in.Path == path && in.Project != "" && in.Digest == d {
			return x.scan.Entries(x.ctx, in.Project)
		}
	}
	return nil, errNotKept
}

func (x *explainer) treeDiff(path string, old, new store.Digest) ([]Entry, string) {
	a, err := x.entries(path, old)
	if err != nil {
		return nil, err.Error()
	}
	b, err := x.entries(path, new)
	if err != nil {
		return nil, err.Error()
	}
	var out []Entry
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case j == len(b) || i < len(a) && a[i].Path < b[j].Path:
			out = append(out, Entry{Path: a[i].Path, Change: "removed"})
			i++
		case i == len(a) || b[j].Path < a[i].Path:
			out = append(out, Entry{Path: b[j].Path, Change: "added"})
			j++
		default:
			if en := x.entryDiff(path, a[i], b[j], len(out) < 10); en != nil {
				out = append(out, *en)
			}
			i++
			j++
		}
	}
	if len(out) > maxEntries {
		return out[:maxEntries], fmt.Sprintf("and %d more", len(out)-maxEntries)
	}
	return out, ""
}

func (x *explainer) entryDiff(dir string, a, b tree.Entry, open bool) *Entry {
	if a == b {
		return nil
	}
	en := &Entry{Path: b.Path, Change: "changed"}
	if a.Kind == b.Kind && a.Digest == b.Digest && a.Link == b.Link && a.Exec != b.Exec {
		en.Change = "mode"
		return en
	}
	if open && a.Kind == b.Kind && a.Kind == tree.KindFile {
		en.Diff, _ = x.fileDiff(dir+"/"+b.Path, a.Digest, b.Digest)
	}
	return en
}

func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsRune(b, 0)
}

// lineDiff is a unified diff without its file header.
func lineDiff(a, b []byte) []string {
	text := string(diff.Diff("old", a, "new", b))
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 && !strings.HasPrefix(lines[0], "@@") {
		lines = lines[1:]
	}
	if len(lines) > maxDiffLines {
		lines = append(lines[:maxDiffLines], fmt.Sprintf("… and %d lines more", len(lines)-maxDiffLines))
	}
	return lines
}
