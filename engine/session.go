package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"plumb/engine/event"
	"plumb/engine/graph"
	"plumb/engine/plan"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/tree"
)

// session is a pipeline with everything resolved that a plan, an explanation or a
// run starts from.
type session struct {
	pipeline     *hcl.Pipeline
	images       map[string]pinned
	pins         *pinner
	remotes      map[string]*remote // sources that are not in the project, by their place in the workspace
	planner      *plan.Planner
	selected     []bool
	outside      []bool // needed by --from, but not to be run
	scanner      *tree.Scanner
	leases       []func()        // on what was taken into the store, until the run is over
	keys         []store.Key     // of results, on which it has a lease, too
	keep         map[string]bool // stages whose outputs are kept whatever they say
	before       before          // what had been dropped when it began
	outfit       outfit          // devices; none for a plan
	sources      *sources
	unkeptStages bool         // there are stages with outputs that are not kept
	batch        *store.Batch // what a run reads of the project for the first time; nil for a plan
	read         []hcl.File   // the pipeline
	files        []store.RunFile
	places       []store.Place // of what images are made of
}

// open loads the pipeline, selects stages, pins what comes from outside and makes the
// planner. Nothing is decided yet. What a look-up takes is told to tell, which may
// be nil.
func (e *Engine) open(ctx context.Context, req Request, how pinning, tell func(event.Event)) (*session, error) {
	ingest := how.ingest
	l, files, err := e.loadFrom(req.Project, ingest)
	if err != nil {
		return nil, err
	}
	p, g := l.pipeline, l.shape.Graph()
	s := &session{pipeline: p, read: files, unkeptStages: slices.ContainsFunc(p.Stages, func(st hcl.Stage) bool { return len(unkeptOutputs(&st)) > 0 })}
	if s.selected, s.outside, err = choose(p, g, req); err != nil {
		return nil, err
	}
	forced, err := forcedStages(p, g, req.Force)
	if err != nil {
		return nil, err
	}
	repeat, err := s.mayRepeat(req)
	if err != nil {
		return nil, err
	}
	if s.keep, err = forcedStages(p, g, req.Keep); err != nil {
		return nil, err
	}
	if err := s.pin(ctx, e, req, how, tell); err != nil {
		return nil, withInputs(req.Project.Dir, p, err)
	}
	if s.scanner, err = e.scanners.of(e.store, req.Project.Dir); err != nil {
		return nil, err
	}
	digests, platforms := map[string]store.Digest{}, map[string]string{}
	for name, pin := range s.images {
		digests[name], platforms[name] = pin.digest, pin.platform
	}
	s.before = e.dropped()
	var memory *plan.Memory
	if ingest { // a run: what it finds is asked again; Plan and Why decide anew
		s.batch = e.store.NewBatch()
		memory = l.remembered(e.commits.Load(), e.sweeps.Load(), s.before)
	}
	s.sources = &sources{ctx: ctx, dir: req.Project.Dir, scanner: s.scanner, batch: s.batch, discard: discarded(p), remotes: s.remotes}
	s.planner = plan.New(plan.Config{
		Pipeline: p, Shape: l.shape, Memory: memory, Concealer: &e.concealer, Images: digests, Platforms: platforms, Isolation: req.Place.isolation(), Forced: forced, Repeat: repeat, Wanted: s.wanted(ctx, s.keep),
		Sources: s.sources,
		Records: &records{store: e.store, project: req.Project.Dir},
	})
	return s, nil
}

// pin finds the digests of all that comes from outside, and keeps what had to be
// looked up in the lock.
func (s *session) pin(ctx context.Context, e *Engine, req Request, how pinning, tell func(event.Event)) (err error) {
	if s.pins, err = e.newPinner(req, how, tell); err != nil {
		return err
	}
	s.images, err = s.pins.images(ctx, s.pipeline, usedImages(s.pipeline, s.selected))
	if err == nil {
		s.remotes, err = s.pins.sources(ctx, s.pipeline, usedSources(s.pipeline, s.selected))
	}
	// What was found before something else failed is not looked up again.
	return errors.Join(err, s.pins.save(ctx))
}

// close lets go of what was not committed. What is looked at later is not taken in.
func (s *session) close() error {
	if s.batch == nil {
		return nil
	}
	s.sources.batch = nil
	return s.batch.Close()
}

// ingest makes the project's part of what will run present in the store, in one
// commit, so that a stage reads what was hashed however the project changes
// meanwhile. A hit needs nothing: its inputs were kept when it ran.
func (s *session) ingest(ctx context.Context, st *store.Store) error {
	var kept []store.Artifact
	for i := range s.pipeline.Stages {
		if v := s.planner.Decision(i).Verdict; !s.selected[i] || v != plan.Execute && v != plan.Pending && v != plan.Refused {
			continue
		}
		paths, err := s.planner.ProjectInputs(i)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if r := s.remotes[p.Project]; r != nil {
				kept = append(kept, r.artifact)
				continue
			}
			now, err := s.scanner.IngestInto(ctx, p.Project, s.batch)
			if err != nil {
				return &plan.InputError{Path: p.Project, Range: p.Range, Err: err}
			}
			if now != p.Artifact {
				return errMoved
			}
			kept = append(kept, now)
		}
	}
	if err := s.keepRead(ctx, st); err != nil {
		return err
	}
	s.leases = append(s.leases, st.LeaseBlobs(kept...))
	return s.bring(ctx)
}

// keepRead commits what was read of the project so far.
func (s *session) keepRead(ctx context.Context, st *store.Store) error {
	if s.batch.Empty() {
		return nil
	}
	if err := st.Commit(ctx, s.batch); err != nil {
		return fmt.Errorf("keeping the inputs: %w", err)
	}
	return nil
}

// bring makes the bytes of the sources that stages will read present.
func (s *session) bring(ctx context.Context) error {
	for _, r := range s.wantedSources() {
		if err := s.pins.bring(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// wantedSources lists those from outside the project that stages will read.
func (s *session) wantedSources() []*remote {
	var out []*remote
	for i := range s.pipeline.Stages {
		if v := s.planner.Decision(i).Verdict; !s.selected[i] || v != plan.Execute && v != plan.Pending && v != plan.Refused {
			continue
		}
		for _, in := range s.pipeline.Stages[i].Inputs {
			r := s.remotes[in.Path]
			if in.Kind == hcl.InputSource && r != nil && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// errMoved says that a file changed between planning and taking it into the store.
var errMoved = errors.New("the project changes while it is read")

// withInputs tells all paths that are wrong at once, when an image is one of them.
func withInputs(dir string, p *hcl.Pipeline, err error) error {
	var diags hcl.Diagnostics
	if !errors.As(err, &diags) {
		return err
	}
	if checked := hcl.Check(dir, p); checked.HasErrors() {
		return checked
	}
	return err
}

// consider decides about all selected stages.
func (s *session) consider(dir string) error {
	err := s.planner.ConsiderAll(s.selected)
	if err == nil {
		return nil
	}
	return s.placed(dir, err)
}

// placed turns an error about an input or a stage into diagnostics that point at
// it; all missing inputs are told at once.
func (s *session) placed(dir string, err error) error {
	var in *plan.InputError
	if errors.As(err, &in) {
		if diags := hcl.Check(dir, s.pipeline); diags.HasErrors() {
			return diags
		}
		return hcl.Diagnostics{{Severity: hcl.SeverityError, Summary: "Input cannot be read", Detail: in.Error() + ".", Subject: in.Range}}
	}
	var st *plan.StageError
	if errors.As(err, &st) {
		var diags hcl.Diagnostics
		if errors.As(err, &diags) {
			return diags
		}
		return hcl.Diagnostics{{Severity: hcl.SeverityError, Summary: "Stage cannot be planned", Detail: st.Error() + ".", Subject: st.Range}}
	}
	return err
}

// sources gives the planner the project's files. For a run, what has to be read is
// put into a batch on the way.
type sources struct {
	ctx     context.Context
	dir     string
	scanner *tree.Scanner
	batch   *store.Batch
	discard map[string]bool // paths of sources with keep = false
	remotes map[string]*remote
}

func (s *sources) Scan(path string) (store.Artifact, error) {
	if r := s.remotes[path]; r != nil {
		return r.artifact, nil
	}
	if s.batch == nil || s.discard[path] {
		return s.scanner.Scan(s.ctx, path)
	}
	return s.scanner.ScanInto(s.ctx, path, s.batch)
}

func (s *sources) Glob(pattern string) ([]string, error) { return hcl.Glob(s.dir, pattern) }

func discarded(p *hcl.Pipeline) map[string]bool {
	out := map[string]bool{}
	for i := range p.Sources {
		if p.Sources[i].Discard && !p.Sources[i].Remote() {
			out[p.Sources[i].Path] = true
		}
	}
	return out
}

// records gives the planner the store's records as a project sees them.
type records struct {
	store   *store.Store
	project string
	lately  lately
}

func (r *records) Lookup(k store.Key) (*store.Record, *store.Miss, error) { return r.store.Lookup(k) }

// Intact looks for outputs that are files of their own: what lies in the records'
// database is there as long as the database is.
func (r *records) Intact(rec *store.Record) bool {
	for _, o := range rec.Outputs {
		if !o.Dropped && (o.Kind == store.KindTree || o.Size > store.SmallBlob) && r.store.Check(o.Artifact) != nil {
			return false
		}
	}
	return true
}

func (r *records) Effect(k store.Key) (*store.Effect, error) { return r.store.Effect(k) }

// Failure passes over what was canceled: nothing failed there.
func (r *records) Failure(k store.Key) (*store.Failure, error) {
	f, err := r.store.Failure(k)
	if f != nil && canceled(f.Attempts) {
		f = nil
	}
	return f, err
}

// canceled says that somebody, or something from outside, ended the last attempt.
func canceled(attempts []store.Attempt) bool {
	if len(attempts) == 0 {
		return false
	}
	last := attempts[len(attempts)-1].Class
	return last == store.ClassCanceled || last == store.ClassPreempted
}

// actionOf reads a kept action and its note: of a result, also one that is not of use
// any more, or of a failure; nil when none is kept.
func actionOf(st *store.Store, k store.Key) (action, note []byte, err error) {
	rec, err := st.Remembered(k)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the record %s: %w", k.Short(), err)
	}
	if rec != nil {
		return rec.Action, rec.Note, nil
	}
	f, err := st.Failure(k)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the failure %s: %w", k.Short(), err)
	}
	if f != nil {
		return f.Action, f.Note, nil
	}
	return nil, nil, nil
}

// choose marks the stages that a request is about. outside marks those that are
// needed only as what --from starts from.
func choose(p *hcl.Pipeline, g *graph.Graph, req Request) (selected, outside []bool, err error) {
	targets, err := stagesNamed(p, append(append([]string(nil), req.Targets...), req.Until...))
	if err != nil {
		return nil, nil, err
	}
	if len(targets) == 0 {
		for i := range p.Stages {
			targets = append(targets, i)
		}
	}
	selected = g.Ancestors(targets)
	outside = make([]bool, len(selected))
	if req.From == "" {
		return selected, outside, nil
	}
	from, err := stagesNamed(p, []string{req.From})
	if err != nil {
		return nil, nil, err
	}
	behind := g.Descendants(from)
	hit := false
	for i := range selected {
		outside[i] = selected[i] && !behind[i]
		hit = hit || selected[i] && behind[i]
	}
	if !hit {
		return nil, nil, invalid("name a target that lies behind it", "stage %q is not on the way to the targets", req.From)
	}
	return selected, outside, nil
}

// stagesNamed finds stages by instance name or by the label of their block.
func stagesNamed(p *hcl.Pipeline, names []string) ([]int, error) {
	var out []int
	for _, n := range names {
		found := false
		for i := range p.Stages {
			if p.Stages[i].Name == n || p.Stages[i].Block == n {
				out = append(out, i)
				found = true
			}
		}
		if !found {
			return nil, invalid(stageHint(p, n), "there is no stage %q", n)
		}
	}
	return out, nil
}

func stageHint(p *hcl.Pipeline, name string) string {
	var names []string
	for i := range p.Stages {
		names = append(names, p.Stages[i].Name)
	}
	if near := hcl.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "plumb plan lists the stages"
}

func forcedStages(p *hcl.Pipeline, g *graph.Graph, names []string) (map[string]bool, error) {
	idx, err := stagesNamed(p, names)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, i := range idx {
		out[g.Name(i)] = true
	}
	return out, nil
}
