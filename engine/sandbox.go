package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/erase"
	"plumb/store/tree"
)

// What a stage sees. The working directory mirrors the project: every input stands
// at its own relative path, read-only, and outputs are written beside them.
//
// Inputs come from the store, never from the project, so nothing that is edited
// meanwhile gets in. A directory that holds inputs and in which no output is
// declared is one read-only mount, however many inputs are in it; elsewhere each
// input is a mount of its own, so that outputs can be written next to it. A mount
// costs about a tenth of a millisecond, which is why a thousand inputs must not be
// a thousand mounts. plan.Sandbox is the version of all this: change it when a
// stage could notice.
const (
	workspace = "/workspace"
	home      = "/home/plumb"
	hostname  = "plumb"
	// sourceDateEpoch is 1980-01-01, the earliest time a zip archive can hold.
	sourceDateEpoch = "315532800"
)

// sandbox is the prepared place of one attempt.
type sandbox struct {
	dir     string   // temporary, on the store's filesystem
	work    string   // the workspace, writable
	root    *os.Root // of work, while it is furnished
	mounts  []runtime.Mount
	points  map[string]bool // paths in the workspace that are mount points
	release []func()
	ctx     context.Context // of removing it
}

// letGo says that nobody reads the inputs any more.
func (s *sandbox) letGo() {
	for _, f := range s.release {
		f()
	}
	s.release = nil
}

func (s *sandbox) close() error {
	s.letGo()
	return erase.All(s.ctx, s.dir)
}

// furnish makes the workspace of one attempt: an empty one, or of what another left.
func (e *Engine) furnish(ctx context.Context, s *hcl.Stage, project string, inputs []plan.Resolved, left string) (_ *sandbox, err error) {
	dir, err := e.store.TempDir("stage-")
	if err != nil {
		return nil, fmt.Errorf("making a place for stage %q: %w", s.Name, err)
	}
	sb := &sandbox{dir: dir, work: filepath.Join(dir, "work"), points: map[string]bool{}, ctx: e.removing}
	defer func() {
		if err != nil {
			err = lostContent(err)
			sb.close() //nolint:errcheck // the first error says more; leftovers are swept
		}
	}()
	if left != "" {
		err = os.Rename(left, sb.work)
	} else {
		err = os.Mkdir(sb.work, 0o755)
	}
	if err != nil {
		return nil, err
	}
	// What another left may lead anywhere.
	if sb.root, err = os.OpenRoot(sb.work); err != nil {
		return nil, err
	}
	defer sb.root.Close()
	sb.mounts = append(sb.mounts, runtime.Mount{Source: sb.work, Target: workspace})
	for _, o := range writable(s) {
		if err := sb.root.MkdirAll(filepath.FromSlash(path.Dir(o)), 0o755); err != nil {
			return nil, err
		}
	}
	for _, g := range groupInputs(inputs, writable(s)) {
		if err := e.mountGroup(ctx, sb, project, g); err != nil {
			return nil, err
		}
	}
	return sb, nil
}

// written lists the paths a stage writes.
func written(s *hcl.Stage) []string {
	var out []string
	for _, o := range s.Outputs {
		out = append(out, o.Path)
	}
	if s.Metrics != "" {
		out = append(out, s.Metrics)
	}
	return out
}

// writable lists the paths in whose directories a stage may write.
func writable(s *hcl.Stage) []string {
	if s.Checkpoint == "" {
		return written(s)
	}
	return append(written(s), s.Checkpoint)
}

// group is what one mount shows: at is its place in the workspace; whole tells
// that the only input is the mount itself.
type group struct {
	at     string
	inputs []plan.Resolved
	whole  bool
}

// groupInputs finds, for each input, the topmost directory without any output in
// it, and gathers the inputs below it. Inputs with keep = false are bound from the
// project and so stand alone.
func groupInputs(inputs []plan.Resolved, outputs []string) []group {
	open := map[string]bool{".": true}
	for _, o := range outputs {
		for d := path.Dir(o); d != "."; d = path.Dir(d) {
			open[d] = true
		}
	}
	alone := map[string]bool{} // directories above an input that must be its own mount
	for _, in := range inputs {
		if in.Discard {
			for d := path.Dir(in.Path); d != "."; d = path.Dir(d) {
				alone[d] = true
			}
		}
	}
	index := map[string]int{}
	var out []group
	for _, in := range inputs {
		at := in.Path
		for d := path.Dir(at); d != "."; d = path.Dir(d) {
			if open[d] || alone[d] {
				break
			}
			at = d
		}
		if n, ok := index[at]; ok {
			out[n].inputs = append(out[n].inputs, in)
			continue
		}
		index[at] = len(out)
		out = append(out, group{at, []plan.Resolved{in}, at == in.Path})
	}
	return out
}

func (e *Engine) mountGroup(ctx context.Context, sb *sandbox, project string, g group) error {
	source, isDir, err := e.groupSource(ctx, sb, project, g)
	if err != nil {
		return err
	}
	sb.points[g.at] = true
	if err := makePoint(sb.root, filepath.FromSlash(g.at), isDir); err != nil {
		return fmt.Errorf("making the place of input %q: %w", g.at, err)
	}
	sb.mounts = append(sb.mounts, runtime.Mount{Source: source, Target: path.Join(workspace, g.at), ReadOnly: true})
	return nil
}

func (e *Engine) groupSource(ctx context.Context, sb *sandbox, project string, g group) (source string, isDir bool, err error) {
	if g.whole {
		in := g.inputs[0]
		isDir = in.Kind == store.KindTree
		if in.Discard {
			return filepath.Join(project, filepath.FromSlash(in.Project)), isDir, nil
		}
		p, release, err := tree.PlaceArtifact(ctx, e.store, in.Artifact)
		if err != nil {
			return "", false, fmt.Errorf("placing input %q: %w", in.Path, err)
		}
		sb.release = append(sb.release, release)
		return p, isDir, nil
	}
	items := make([]tree.Item, len(g.inputs))
	for i, in := range g.inputs {
		items[i] = tree.Item{Path: strings.TrimPrefix(in.Path, g.at+"/"), Artifact: in.Artifact}
	}
	p, release, err := tree.Place(ctx, e.store, items)
	if err != nil {
		return "", false, fmt.Errorf("placing the inputs in %q: %w", g.at, err)
	}
	sb.release = append(sb.release, release)
	return p, true, nil
}

// makePoint makes what an input is mounted on. It may be there already, when the
// workspace was another attempt's.
func makePoint(root *os.Root, point string, dir bool) error {
	if dir {
		return root.MkdirAll(point, 0o755)
	}
	if err := root.MkdirAll(filepath.Dir(point), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(point, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		if info, serr := root.Lstat(point); serr == nil && info.Mode().IsRegular() {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// environment is all that a stage finds in its environment besides what its image
// sets; later entries win.
func environment(declared []string, seed *int64, key store.Key, attempt int) []string {
	hash := "0"
	var extra []string
	if seed != nil {
		n := strconv.FormatInt(*seed, 10)
		extra = append(extra, "PLUMB_SEED="+n)
		// Python takes 0…2³²-1 and refuses everything else.
		hash = strconv.FormatUint(uint64(*seed)&0xffffffff, 10)
	}
	env := []string{
		"HOME=" + home, "TZ=UTC", "LANG=C.UTF-8", "SOURCE_DATE_EPOCH=" + sourceDateEpoch,
		"PYTHONHASHSEED=" + hash, "PLUMB_KEY=" + key.Hex(), "PLUMB_ATTEMPT=" + strconv.Itoa(attempt),
	}
	env = append(env, extra...)
	for _, d := range declared {
		name, _, _ := strings.Cut(d, "=")
		env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		env = append(env, d)
	}
	return env
}
