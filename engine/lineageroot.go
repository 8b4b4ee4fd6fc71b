package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"plumb/store"
	"plumb/store/tree"
)

// file takes the name for a path.
func (w *walk) file() (bool, error) {
	if w.req.File == "" || w.asked != nil {
		return false, nil
	}
	a, err := tree.Outside(w.ctx, w.req.File)
	if err != nil {
		return false, invalid("name a file or a directory that can be read", "%v", err)
	}
	w.hashed = &a
	if !w.req.Inside {
		if found, err := w.placed(a.Digest); found || err != nil {
			return found, err
		}
	}
	if found, err := w.content(a.Digest); found || err != nil {
		return found, err
	}
	return w.formerly(a.Digest)
}

// placed begins at a file of the project that a run knows by its place: it is what the run
// exported there, or found there. Other content of the same bytes is another thing.
func (w *walk) placed(d store.Digest) (bool, error) {
	at, err := filepath.Rel(w.req.Project.Dir, w.req.File)
	if err != nil || w.req.Project.Dir == "" || !filepath.IsLocal(at) {
		return false, nil //nolint:nilerr // it is elsewhere
	}
	ids, err := w.runsAbout(d)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		run, err := w.runOf(id)
		if err != nil {
			return false, err
		}
		if run == nil || run.Project != w.req.Project.Dir {
			continue
		}
		for _, role := range []store.PlaceRole{store.PlaceExport, store.PlaceInput} {
			i := slices.IndexFunc(run.Places, func(p store.Place) bool { return p.Role == role && p.Digest == d && p.Path == filepath.ToSlash(at) })
			if i < 0 {
				continue
			}
			if role == store.PlaceInput {
				w.about(run)
				return true, w.beginFound(d)
			}
			if st := w.table(run)[run.Places[i].Stage]; st != nil && !st.Key.IsZero() {
				w.about(run)
				return true, w.begin(node{d, st.Key})
			}
		}
	}
	return false, nil
}

// runsAbout names runs that may have had content at a place: the project's newest, and
// those of the newest actions that made or read it.
func (w *walk) runsAbout(d store.Digest) ([]store.RunID, error) {
	var ids []store.RunID
	last, err := w.e.store.LastRun(w.req.Project.Dir)
	if err != nil {
		return nil, err
	}
	if last != nil {
		ids = append(ids, last.ID)
	}
	for _, kind := range []store.Link{store.LinkMade, store.LinkRead} {
		recs, err := w.linked(kind, d, rootMade)
		if err != nil {
			return nil, err
		}
		for _, r := range recs[:min(len(recs), rootMade)] {
			if !slices.Contains(ids, r.Run) {
				ids = append(ids, r.Run)
			}
		}
	}
	return ids, nil
}

// begin begins at content as one action made it, or none did.
func (w *walk) begin(roots ...node) error {
	w.doc.Of.Kind, w.doc.Of.Digest, w.roots = "artifact", roots[0].digest, roots
	for _, n := range roots {
		if n.by.IsZero() || !w.doc.Of.Up {
			continue
		}
		rec, err := w.load(n.by)
		if err != nil {
			return err
		}
		if rec != nil {
			if err := w.up(steps([]*store.Record{rec})); err != nil {
				return err
			}
		}
	}
	if !w.doc.Of.Down {
		return nil
	}
	for _, n := range roots {
		recs, err := w.readers(n)
		if err != nil {
			return err
		}
		if err := w.down(steps(recs)); err != nil {
			return err
		}
	}
	return nil
}

// beginFound begins at content that the project's stages found in it: as none made it, or
// as those had that delivered it.
func (w *walk) beginFound(d store.Digest) error {
	recs, err := w.linked(store.LinkRead, d, rootMade)
	if err != nil {
		return err
	}
	var roots []node
	for _, r := range recs[:min(len(recs), rootMade)] {
		run, err := w.runOf(r.Run)
		if err != nil {
			return err
		}
		if run == nil || run.Project != w.req.Project.Dir {
			continue
		}
		uses, err := w.usesOf(r)
		if err != nil {
			return err
		}
		for _, u := range uses {
			if n := (node{d, u.By}); u.Digest == d && u.Stage == "" && !slices.Contains(roots, n) {
				roots = append(roots, n)
			}
		}
	}
	if len(roots) == 0 {
		roots = []node{{digest: d}}
	}
	return w.begin(roots...)
}

// content begins at an artifact, if anything is known of it, whoever made it. A file that
// is known only as a part of directories stands for those.
func (w *walk) content(d store.Digest) (bool, error) {
	known, err := w.e.touches(w.ctx, d)
	if err != nil {
		return false, err
	}
	var inside []store.Inside
	if !known || w.req.Inside {
		const places, bytes = 20, 1 << 30
		found, how, err := w.e.store.Containing(w.ctx, d, places, bytes)
		if err != nil {
			return false, err
		}
		inside, w.doc.Searched = found, &how
	}
	if !known && len(inside) == 0 {
		return false, nil
	}
	w.doc.Of.Kind, w.doc.Of.Digest, w.doc.Of.Inside = "artifact", d, inside
	w.contents = []store.Digest{d}
	for _, in := range inside {
		w.contents = append(w.contents, in.Tree)
	}
	for _, root := range w.contents {
		if err := w.root(root); err != nil {
			return false, err
		}
	}
	return true, nil
}

// root begins at content: at every action that made it, and every one that read it.
func (w *walk) root(d store.Digest) error {
	if w.doc.Of.Up {
		recs, more, err := w.e.store.Linked(w.ctx, store.LinkMade, d, rootMade)
		if err != nil {
			return err
		}
		w.doc.More = w.doc.More || more
		if err := w.up(steps(recs)); err != nil {
			return err
		}
	}
	limit := w.limit
	if !w.doc.Of.Down {
		limit = 1 // that tells where it was
	}
	recs, err := w.linked(store.LinkRead, d, limit)
	if err != nil {
		return err
	}
	if w.doc.Of.Down {
		w.doc.More = w.doc.More || w.links[linkOf{store.LinkRead, d}].more
		return w.down(steps(recs))
	}
	for _, r := range recs[:min(len(recs), 1)] {
		run, err := w.runOf(r.Run)
		if err != nil {
			return err
		}
		w.had = append(w.had, run)
	}
	return nil
}

// touches reports whether any action made or read content.
func (e *Engine) touches(ctx context.Context, d store.Digest) (bool, error) {
	for _, kind := range []store.Link{store.LinkMade, store.LinkRead} {
		recs, _, err := e.store.Linked(ctx, kind, d, 1)
		if err != nil || len(recs) > 0 {
			return len(recs) > 0, err
		}
	}
	return false, nil
}

// output takes the name for STAGE.OUTPUT.
func (w *walk) output() (bool, error) {
	if w.asked != nil {
		return false, nil
	}
	made, err := w.e.findMade(w.req.Project.Dir, w.req.Name)
	var e *Error
	if errors.As(err, &e) {
		stage, _ := splitOutput(w.req.Name)
		if w.hashed == nil && w.hasStage(stage) {
			return false, err
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w.about(made.run)
	return true, w.begin(node{made.output.Digest, made.key})
}
