package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"plumb/engine/event"
	"plumb/store"
	"plumb/store/tree"
)

// export puts the declared outputs into the project, after everything else went
// well. A path is replaced only when it differs, and only when what stands there
// is what plumb put there, so that nobody's file is lost.
func (r *run) export(ctx context.Context) ([]event.Export, error) {
	var out []event.Export
	var errs []string
	for i := range r.s.pipeline.Exports {
		ex := &r.s.pipeline.Exports[i]
		n, ok := r.s.planner.Index(ex.Stage)
		if !ok || !r.s.selected[n] || r.s.outside[n] {
			continue
		}
		rec := r.s.planner.Record(n)
		if rec == nil { // skipped by its condition
			continue
		}
		for _, o := range rec.Outputs {
			if o.Name != ex.Output {
				continue
			}
			changed, err := r.exportOne(ctx, ex.Path, o.Artifact)
			if err != nil {
				errs = append(errs, err.Error())
				continue
			}
			e := event.Export{Path: ex.Path, Stage: ex.Stage, Output: ex.Output, Changed: changed}
			out = append(out, e)
			if changed {
				r.emit(event.Event{Type: event.Exported, Stage: ex.Stage, Path: ex.Path, Changed: true})
			}
		}
	}
	if len(errs) > 0 {
		return out, &Error{Kind: Invalid, Message: strings.Join(errs, "\n"), Hint: "move it away, or run with --overwrite"}
	}
	return out, nil
}

// exported is what plumb remembers of a path that it wrote.
type exported struct {
	Artifact store.Artifact `json:"artifact"`
}

func (r *run) exportOne(ctx context.Context, path string, art store.Artifact) (changed bool, err error) {
	dir := r.req.Project.Dir
	dest := filepath.Join(dir, filepath.FromSlash(path))
	name := "export/" + dir + "\x00" + path
	now, err := r.s.scanner.Scan(ctx, path)
	switch {
	case err == nil && same(now, art):
		return false, nil
	case err == nil && !r.req.Overwrite && !r.wrote(name, now):
		return false, fmt.Errorf("exporting to %q: something that plumb did not write is there", path)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		if _, lerr := os.Lstat(dest); lerr == nil && !r.req.Overwrite {
			return false, fmt.Errorf("exporting to %q: %w", path, err)
		}
	}
	if err := tree.Materialise(ctx, r.e.store, art, dest, tree.MaterialiseOptions{}); err != nil {
		return false, fmt.Errorf("exporting to %q: %w", path, err)
	}
	b, err := json.Marshal(exported{art})
	if err != nil {
		return true, fmt.Errorf("remembering the export %q: %w", path, err)
	}
	return true, r.e.store.PutCache(name, b)
}

// wrote reports whether what stands at an exported path is what plumb put there.
func (r *run) wrote(name string, now store.Artifact) bool {
	b, ok := r.e.store.GetCache(name)
	if !ok {
		return false
	}
	var e exported
	return json.Unmarshal(b, &e) == nil && same(e.Artifact, now)
}

func same(a, b store.Artifact) bool {
	return a.Kind == b.Kind && a.Digest == b.Digest && a.Exec == b.Exec
}

// readSmall reads a file up to maxText bytes.
func readSmall(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxText {
		return nil, store.ErrTooLarge
	}
	return b, nil
}
