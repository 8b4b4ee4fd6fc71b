package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"plumb/engine/plan"
	"plumb/store"
)

// A run records where in the project everything was that it read, and where its exports
// went. Keys do not tell: they know inputs by their place in the workspace. With the
// run's files this is what restoring it takes.
//
// Data is in the store when its stage ran, and stays there with the result. A file that an
// image is made of is not part of any result, so it is taken in here: it is read and
// copied once, and costs a look at its times from then on.

// imagePlaces takes the files in that the session's images are made of.
func (s *session) imagePlaces(ctx context.Context, st *store.Store, write bool) (err error) {
	used := usedImages(s.pipeline, s.selected)
	b := st.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	var kept []store.Artifact
	for i := range s.pipeline.Images {
		im := &s.pipeline.Images[i]
		path := im.Archive
		if im.Debian != nil {
			path = im.Debian.Keyring
		}
		if path == "" || !used[im.Name] {
			continue
		}
		var a store.Artifact
		if write {
			a, err = s.scanner.IngestInto(ctx, path, b)
		} else {
			a, err = s.scanner.Scan(ctx, path)
		}
		if err != nil {
			return &plan.InputError{Path: path, Range: im.LocatorRange, Err: err}
		}
		kept = append(kept, a)
		only := !write && st.Check(a) != nil // its digest is recorded, and its bytes are not taken in
		s.places = append(s.places, store.Place{Path: path, Role: store.PlaceImage, Artifact: a, Source: im.Name, Dropped: only})
	}
	s.leases = append(s.leases, st.LeaseBlobs(kept...))
	if b.Empty() {
		return nil
	}
	if err := st.Commit(ctx, b); err != nil {
		return fmt.Errorf("keeping the files of images: %w", err)
	}
	return nil
}

// recordPlaces lists the places of the run, sorted and each once.
func (r *run) recordPlaces(exported bool) []store.Place {
	out := append([]store.Place{}, r.s.places...) // not nil: that there is none is known
	seen := map[string]int{}
	for i := range r.s.pipeline.Stages {
		if !r.s.selected[i] {
			continue
		}
		for _, in := range r.s.planner.Looked(i) {
			if n, ok := seen[in.Path]; ok {
				out[n].As = withTarget(out[n].As, in)
				continue
			}
			seen[in.Path] = len(out)
			p := store.Place{Path: in.Path, Role: store.PlaceInput, Artifact: in.Artifact, Source: in.Source, Dropped: in.Discard, As: withTarget(nil, in)}
			if from := r.s.remotes[in.Path]; from != nil {
				p.Role, p.From = store.PlaceOutside, from.source.URL+from.source.OCI
			}
			out = append(out, p)
		}
	}
	if exported {
		out = append(out, r.exportPlaces()...)
	}
	slices.SortFunc(out, func(a, b store.Place) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Source, b.Source))
	})
	return out
}

// withTarget adds where a stage has a path, if that is elsewhere.
func withTarget(as []string, in plan.Looked) []string {
	n, known := slices.BinarySearch(as, in.Target)
	if known || in.Target == in.Path {
		return as
	}
	return slices.Insert(as, n, in.Target)
}

// exportPlaces lists what the run exported. What need not be kept is not kept for this.
func (r *run) exportPlaces() []store.Place {
	var out []store.Place
	for i := range r.s.pipeline.Exports {
		ex := &r.s.pipeline.Exports[i]
		n, ok := r.s.planner.Index(ex.Stage)
		if !ok || !r.s.selected[n] || r.s.outside[n] {
			continue
		}
		rec := r.s.planner.Record(n)
		if rec == nil {
			continue
		}
		for _, o := range rec.Outputs {
			if o.Name == ex.Output {
				out = append(out, store.Place{Path: ex.Path, Role: store.PlaceExport, Artifact: o.Artifact, Stage: ex.Stage, Output: ex.Output, Dropped: o.Dropped || r.willGo(n, o.Name)})
			}
		}
	}
	return out
}

// willGo reports whether the bytes of an output go as soon as nobody needs them: an
// export of it does not keep them either.
func (r *run) willGo(i int, output string) bool {
	st := r.s.planner.Stage(i)
	return !r.s.keep[st.Name] && slices.Contains(unkeptOutputs(st), output)
}
