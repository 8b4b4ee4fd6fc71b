package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/event"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/tree"
)

// capture takes over the outputs, and makes record, history and small blobs
// visible in one commit.
func (r *run) capture(ctx context.Context, i int, a *attempt, attempts []store.Attempt) (*store.Record, *event.Failure) {
	s := r.s.planner.Stage(i)
	d := r.s.planner.Decision(i)
	b := r.e.store.NewBatch()
	defer b.Close()
	// What is captured is taken away, so first of all everything must be there: a failed
	// attempt is left as it was.
	if what, path, err := missing(s, a.sandbox.work); err != nil {
		return nil, outputFailure(s, a, what, path, err)
	}
	r.warnOfKeptSecrets(s, a.sandbox.work)
	rec := &store.Record{Key: d.Key, Action: d.Action, Note: r.s.planner.Note(i).Encode(), Run: r.id, Stage: s.Name, Created: r.e.cfg.Now().UTC(), Attempts: attempts}
	for _, o := range s.Outputs {
		art, err := tree.Capture(ctx, r.e.store, b, a.sandbox.work, o.Path)
		if err == nil && o.Dir && art.Kind != store.KindTree {
			err = errors.New("it was declared as a directory and is a file")
		}
		if err != nil {
			return nil, outputFailure(s, a, fmt.Sprintf("output %q", o.Name), o.Path, err)
		}
		rec.Outputs = append(rec.Outputs, store.Output{Name: o.Name, Path: o.Path, Artifact: art})
	}
	if fail := r.captureMetrics(ctx, s, a, b, rec); fail != nil {
		return nil, fail
	}
	if err := r.unmoved(i, a); err != nil {
		return nil, &event.Failure{Class: store.ClassVoid, Message: err.Error()}
	}
	rec.Inputs = r.recordedInputs(i)
	b.PutRecord(rec)
	if s.Effect {
		b.FinishEffect(rec)
	}
	b.History(r.req.Project.Dir, s.Name, d.Key)
	r.e.commits.Add(1)
	err := r.e.room()
	if err == nil {
		err = r.e.store.Commit(ctx, b)
	}
	r.e.commits.Add(1) // again: a plan in between has seen what was there before
	if err != nil {
		return nil, &event.Failure{Class: store.ClassInfra, Message: fmt.Sprintf("recording the result: %v", err)}
	}
	return rec, nil
}

// missing finds the first output that was not written. What else is wrong with one
// shows when it is captured.
func missing(s *hcl.Stage, work string) (what, path string, err error) {
	root, err := os.OpenRoot(work)
	if err != nil {
		return "the workspace", ".", err
	}
	defer root.Close()
	for _, o := range s.Outputs {
		if _, err := root.Lstat(filepath.FromSlash(o.Path)); errors.Is(err, os.ErrNotExist) {
			return fmt.Sprintf("output %q", o.Name), o.Path, err
		}
	}
	if s.Metrics != "" {
		if _, err := root.Lstat(filepath.FromSlash(s.Metrics)); errors.Is(err, os.ErrNotExist) {
			return "the metrics file", s.Metrics, err
		}
	}
	return "", "", nil
}

// kept lists what stage i reads from the store: it stays there with the result, so
// that what differs from a later run can be shown.
func (r *run) kept(i int) []store.Artifact {
	var out []store.Artifact
	for _, in := range r.s.planner.Inputs(i) {
		if !in.Discard {
			out = append(out, in.Artifact)
		}
	}
	return out
}

// unmoved checks the inputs that were bound from the project and not kept.
func (r *run) unmoved(i int, a *attempt) error {
	for _, in := range r.s.planner.Inputs(i) {
		if !in.Discard {
			continue
		}
		now, err := stampOf(filepath.Join(r.req.Project.Dir, filepath.FromSlash(in.Project)))
		if err != nil {
			return fmt.Errorf("looking again at %q: %w", in.Project, err)
		}
		if now != a.stamps[in.Project] {
			return fmt.Errorf("%q changed while the stage read it, and it is not kept (keep = false): the attempt is void", in.Project)
		}
	}
	return nil
}

// metricsOutput is the name under which a metrics file is kept that is no
// declared output.
const metricsOutput = ".metrics"

func (r *run) captureMetrics(ctx context.Context, s *hcl.Stage, a *attempt, b *store.Batch, rec *store.Record) *event.Failure {
	if s.Metrics == "" {
		return nil
	}
	art, err := metricsIn(b, rec, s.Metrics)
	if err == nil && art.Digest.IsZero() {
		if art, err = tree.Capture(ctx, r.e.store, b, a.sandbox.work, s.Metrics); err != nil {
			return outputFailure(s, a, "the metrics file", s.Metrics, err)
		}
		rec.Outputs = append(rec.Outputs, store.Output{Name: metricsOutput, Path: s.Metrics, Artifact: art})
	}
	const most = 16 << 20
	var data []byte
	if err == nil {
		data, err = b.ReadBlob(art.Digest, most)
	}
	if err == nil {
		rec.Metrics, err = parseMetrics(data)
	}
	if err != nil {
		return &event.Failure{Class: store.ClassOutput, Message: fmt.Sprintf("the metrics file %q: %v", s.Metrics, err), Hint: `it must be JSON with numbers, like {"accuracy": 0.97}`}
	}
	return nil
}

// metricsIn finds the metrics file among the captured outputs: as one of them, or in
// a directory; zero when it is in none.
func metricsIn(b *store.Batch, rec *store.Record, file string) (store.Artifact, error) {
	for _, o := range rec.Outputs {
		if o.Path == file {
			return o.Artifact, nil
		}
		rel, inside := strings.CutPrefix(file, o.Path+"/")
		if !inside || o.Kind != store.KindTree {
			continue
		}
		const most = 1 << 30
		manifest, err := b.ReadBlob(o.Digest, most)
		if err != nil {
			return store.Artifact{}, err
		}
		entries, err := tree.Decode(manifest)
		if err != nil {
			return store.Artifact{}, err
		}
		for i := range entries {
			if entries[i].Path == rel && entries[i].Kind == tree.KindFile {
				return entries[i].Artifact(), nil
			}
		}
		return store.Artifact{}, fmt.Errorf("it is not in the output %q", o.Name)
	}
	return store.Artifact{}, nil
}

// parseMetrics reads flat or nested numbers; nested names are joined by dots. What
// is no number is left out.
func parseMetrics(data []byte) (map[string]float64, error) {
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("reading it as JSON: %w", err)
	}
	out := map[string]float64{}
	var twice error
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case float64:
			if _, ok := out[prefix]; ok {
				twice = fmt.Errorf("two numbers are called %q", prefix)
			}
			out[prefix] = v
		case map[string]any:
			for k, e := range v {
				walk(strings.TrimPrefix(prefix+"."+k, "."), e)
			}
		}
	}
	walk("", v)
	if twice != nil {
		return nil, twice
	}
	if len(out) == 0 {
		return nil, errors.New("there is no number in it")
	}
	return out, nil
}

// outputFailure explains a missing output by what was written instead.
func outputFailure(s *hcl.Stage, a *attempt, what, path string, err error) *event.Failure {
	f := &event.Failure{Class: store.ClassOutput, Message: fmt.Sprintf("%s (%q): %v", what, path, err)}
	if !errors.Is(err, os.ErrNotExist) {
		f.Hint = "an output is a file, or a directory of files, directories and links that stay in it"
		return f
	}
	f.Message = fmt.Sprintf("%s was not written: %q is not there", what, path)
	if names := leftIn(a.sandbox, written(s)); len(names) > 0 {
		f.Hint = "it wrote instead: " + strings.Join(names, ", ")
	} else {
		f.Hint = "it wrote nothing else in its workspace"
	}
	return f
}

// leftIn lists what a stage wrote besides what it declares, at most a screenful.
func leftIn(sb *sandbox, declared []string) []string {
	const most = 20
	var names []string
	err := filepath.WalkDir(sb.work, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(sb.work, p)
		if err != nil || rel == "." {
			return err
		}
		if sb.points[filepath.ToSlash(rel)] {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.Contains(declared, filepath.ToSlash(rel)) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if len(names) == most {
			names = append(names, "…")
			return filepath.SkipAll
		}
		names = append(names, filepath.ToSlash(rel))
		return nil
	})
	if err != nil {
		return append(names, "…")
	}
	return names
}
