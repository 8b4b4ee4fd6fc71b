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
	"time"

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
	if len(r.s.pipeline.Exports) > 0 {
		if err := r.stillThere(); err != nil {
			return nil, err
		}
	}
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
			if lost := lostContent(err); lost != err {
				return out, lost
			}
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

// stillThere requires that the project's directory is the one that was read. When its
// file system was unmounted there may be another one of that name, and what is exported
// into that would be found by nobody, or be in somebody's way.
func (r *run) stillThere() error {
	now, err := os.Stat(r.req.Project.Dir)
	if err == nil && os.SameFile(now, r.dir) {
		return nil
	}
	text := "is another one than when the run began"
	if err != nil {
		text = "is not there any more"
	}
	return &Error{
		Kind:    Machine,
		Message: fmt.Sprintf("exporting: the project's directory %q %s", r.req.Project.Dir, text),
		Hint:    "mount it again, or move it back, and run again: what was done stays done",
	}
}

// exported is what plumb remembers of a path that it wrote.
type exported struct {
	Artifact store.Artifact `json:"artifact"`
	When     time.Time      `json:"when"`
}

// confirmAfter is how old the memory of an export may become before it is written
// anew: what gc finds unused for long it drops.
const confirmAfter = 24 * time.Hour

func (r *run) exportOne(ctx context.Context, path string, art store.Artifact) (changed bool, err error) {
	dir := r.req.Project.Dir
	dest := filepath.Join(dir, filepath.FromSlash(path))
	name := "export/" + dir + "\x00" + path
	now, err := r.s.scanner.Scan(ctx, path)
	switch {
	case err == nil && same(now, art):
		return false, r.confirm(name, art)
	case err == nil && !r.req.Overwrite && !r.wrote(name, now):
		return false, fmt.Errorf("exporting to %q: something that plumb did not write is there", path)
	case err != nil:
		if _, lerr := os.Lstat(dest); lerr == nil && !r.req.Overwrite {
			return false, fmt.Errorf("exporting to %q: something that plumb did not write is there: %w", path, err)
		}
	}
	if err := staysInside(dir, filepath.Dir(dest)); err != nil {
		return false, fmt.Errorf("exporting to %q: %w", path, err)
	}
	if err := tree.Materialise(ctx, r.e.store, art, dest, tree.MaterialiseOptions{}); err != nil {
		return false, fmt.Errorf("exporting to %q: %w", path, err)
	}
	return true, r.remember(name, art)
}

func (r *run) remember(name string, art store.Artifact) error {
	b, err := json.Marshal(exported{art, r.e.cfg.Now()})
	if err == nil {
		err = r.e.store.PutCache(name, b)
	}
	if err != nil {
		return fmt.Errorf("remembering an export: %w", err)
	}
	return nil
}

// confirm keeps the memory of an export that is in place: also one that was written
// when the agent was killed before it could remember it.
func (r *run) confirm(name string, art store.Artifact) error {
	var e exported
	b, ok := r.e.store.GetCache(name)
	if ok && json.Unmarshal(b, &e) == nil && same(e.Artifact, art) && r.e.cfg.Now().Sub(e.When) < confirmAfter {
		return nil
	}
	return r.remember(name, art)
}

// staysInside refuses a directory to which a symlink leads out of the project.
func staysInside(project, dir string) error {
	at := dir
	for {
		real, err := filepath.EvalSymlinks(at)
		if errors.Is(err, os.ErrNotExist) {
			if _, lerr := os.Lstat(at); lerr == nil {
				return fmt.Errorf("%q is a symlink that leads nowhere", at)
			}
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return err
		}
		if real != project && !strings.HasPrefix(real, project+"/") {
			return fmt.Errorf("%q is a symlink that leaves the project", at)
		}
		return nil
	}
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
