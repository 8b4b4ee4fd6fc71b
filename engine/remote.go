package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plumb/engine/event"
	"plumb/engine/fetch"
	"plumb/engine/image"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/tree"
)

// A source by URL or from a container registry is pinned in the lock by the digest
// of its bytes. Planning takes the lock's word; the bytes are brought into the
// store when a stage that runs reads them, and are held against the digest then.

// remote is a source that is not in the project, as it is pinned.
type remote struct {
	source   *hcl.Source
	have     hcl.LockedSource
	artifact store.Artifact
	manifest []byte // of a tree
}

// sources pins those that are used, by their place in the workspace. One that is
// not pinned and may not be is left out.
func (p *pinner) sources(ctx context.Context, pl *hcl.Pipeline, used map[string]bool) (map[string]*remote, error) {
	out := map[string]*remote{}
	for i := range pl.Sources {
		src := &pl.Sources[i]
		if !used[src.Name] {
			continue
		}
		r, err := p.source(ctx, src)
		if err != nil {
			return nil, err
		}
		out[src.Path] = r
	}
	return out, nil
}

func (p *pinner) source(ctx context.Context, src *hcl.Source) (*remote, error) {
	have := p.lock.Source(src.Name)
	if have != nil && (have.URL != src.URL || have.OCI != src.OCI) {
		have = nil
	}
	if have == nil || p.how.moving(src.Name) {
		if err := p.mayLookUp("source", src.Name, src.URL+src.OCI); err != nil {
			return nil, err
		}
		if !p.how.write {
			return &remote{source: src}, nil
		}
		found, err := p.lookAt(ctx, src)
		if err != nil {
			return nil, sourceError(src, err)
		}
		p.lock.SetSource(*found)
		p.found.SetSource(*found)
		have = found
	}
	r, err := newRemote(src, *have)
	if err != nil {
		return nil, sourceError(src, err)
	}
	return r, nil
}

// newRemote makes the artifact that a pin stands for.
func newRemote(src *hcl.Source, have hcl.LockedSource) (*remote, error) {
	r := &remote{source: src, have: have}
	if len(have.Files) == 0 {
		return nil, errors.New("its pin has no file")
	}
	if len(have.Files) == 1 && have.Files[0].Path == "" {
		d, err := store.ParseDigest(have.Files[0].Digest)
		r.artifact = store.Artifact{Kind: store.KindFile, Digest: d, Size: have.Files[0].Size}
		return r, err
	}
	entries, err := treeOf(have.Files)
	if err != nil {
		return nil, err
	}
	r.manifest = tree.Encode(entries)
	r.artifact = store.Artifact{Kind: store.KindTree, Digest: store.Sum(r.manifest), Files: len(have.Files)}
	for _, f := range have.Files {
		r.artifact.Size += f.Size
	}
	return r, nil
}

// treeOf lists files with the directories above them.
func treeOf(files []hcl.LockedFile) ([]store.Entry, error) {
	all := map[string]store.Entry{}
	for _, f := range files {
		d, err := store.ParseDigest(f.Digest)
		if err != nil {
			return nil, err
		}
		if f.Path != path.Clean(f.Path) || path.IsAbs(f.Path) || strings.HasPrefix(f.Path, "..") {
			return nil, fmt.Errorf("its pin has the path %q, which leads out of it", f.Path)
		}
		all[f.Path] = store.Entry{Path: f.Path, Kind: store.EntryFile, Size: f.Size, Digest: d}
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if e, ok := all[dir]; ok && e.Kind != store.EntryDir {
				return nil, fmt.Errorf("its pin has %q as a file and as a directory", dir)
			}
			all[dir] = store.Entry{Path: dir, Kind: store.EntryDir}
		}
	}
	entries := make([]store.Entry, 0, len(all))
	for _, e := range all {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b store.Entry) int { return strings.Compare(a.Path, b.Path) })
	return entries, nil
}

// lookAt finds out what a source is today. Of a URL that means reading it all,
// which keeps it in the store at once.
func (p *pinner) lookAt(ctx context.Context, src *hcl.Source) (*hcl.LockedSource, error) {
	have := &hcl.LockedSource{Name: src.Name, URL: src.URL, OCI: src.OCI}
	if src.OCI != "" {
		a, err := p.out.images(p.e).ResolveArtifact(ctx, src.OCI)
		if err != nil {
			return nil, err
		}
		have.Manifest = a.Manifest
		for _, f := range a.Files {
			have.Files = append(have.Files, hcl.LockedFile{Path: f.Path, Size: f.Size, Digest: f.Digest})
		}
		return have, nil
	}
	r, err := p.out.client.Open(ctx, fetch.Object{URL: src.URL, Unchecked: true})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	keep := p.e.store.Put
	if p.how.check {
		keep = digestOnly
	}
	a, err := keep(ctx, io.TeeReader(r, &meter{total: r.Size(), tell: p.sourceProgress(src.Name)}), false)
	if err != nil {
		return nil, err
	}
	have.Files = []hcl.LockedFile{{Size: a.Size, Digest: a.Digest.String()}}
	return have, nil
}

func (p *pinner) sourceProgress(name string) func(done, total int64) {
	return func(done, total int64) {
		p.tell(event.Event{Type: event.Progress, Message: "source " + name, Done: done, Total: total})
	}
}

// digestOnly reads content without keeping it.
func digestOnly(_ context.Context, r io.Reader, _ bool) (store.Artifact, error) {
	d, n, err := store.SumReader(r)
	return store.Artifact{Kind: store.KindFile, Digest: d, Size: n}, err
}

// meter tells how many bytes went by.
type meter struct {
	done, total int64
	tell        func(done, total int64)
}

func (m *meter) Write(b []byte) (int, error) {
	m.done += int64(len(b))
	m.tell(m.done, max(m.total, m.done))
	return len(b), nil
}

// bring makes a remote source's bytes present in the store, each checked against
// its pin.
func (p *pinner) bring(ctx context.Context, r *remote) error {
	if r.artifact.Digest.IsZero() {
		return fmt.Errorf("source %q is not pinned", r.source.Name)
	}
	if p.e.store.Has(r.artifact) && p.e.store.Check(r.artifact) == nil {
		return nil
	}
	if p.how.offline {
		return &Error{
			Kind: Machine, Message: fmt.Sprintf("source %q (%s) is not in the store, and --offline allows no download", r.source.Name, r.source.URL+r.source.OCI),
			Hint: "run once without --offline",
		}
	}
	for _, f := range r.have.Files {
		if err := p.bringFile(ctx, r, f); err != nil {
			return sourceError(r.source, err)
		}
	}
	if r.manifest != nil {
		if _, err := p.e.store.PutBytes(ctx, r.manifest, false); err != nil {
			return fmt.Errorf("keeping source %q: %w", r.source.Name, err)
		}
	}
	return nil
}

func (p *pinner) bringFile(ctx context.Context, r *remote, f hcl.LockedFile) error {
	want, err := store.ParseDigest(f.Digest)
	if err != nil {
		return err
	}
	if p.e.store.Has(store.Artifact{Kind: store.KindFile, Digest: want, Size: f.Size}) {
		return nil
	}
	tell := p.sourceProgress(r.source.Name)
	if r.source.OCI != "" {
		return p.bringBlob(ctx, r, f, want, tell)
	}
	// Through a file, so that a download goes on where a killed one was.
	dir := filepath.Join(p.e.cfg.Dir, "downloads", "sources")
	name := filepath.Join(dir, want.Hex())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := p.out.client.Download(ctx, fetch.Object{URL: r.source.URL, Size: f.Size}, want.Hex(), name, tell); err != nil {
		return err
	}
	return p.adopt(ctx, dir, r.source, want)
}

// adopt takes a downloaded file into the store, by its name: nothing is copied.
func (p *pinner) adopt(ctx context.Context, dir string, src *hcl.Source, want store.Digest) (err error) {
	b := p.e.store.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	a, err := tree.Capture(ctx, p.e.store, b, dir, want.Hex())
	if err != nil {
		return err
	}
	if err := sameDigest(src, a.Digest, want); err != nil {
		return err
	}
	return p.e.store.Commit(ctx, b)
}

// staleDownload is how old what is left of a download is when nobody will go on
// with it.
const staleDownload = 24 * time.Hour

// dropDownloads removes what was left of downloads that nobody went on with.
func (e *Engine) dropDownloads() error {
	dir := filepath.Join(e.cfg.Dir, "downloads", "sources")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		info, ierr := entry.Info()
		if ierr == nil && e.cfg.Now().Sub(info.ModTime()) > staleDownload {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}

func (p *pinner) bringBlob(ctx context.Context, r *remote, f hcl.LockedFile, want store.Digest, tell func(done, total int64)) error {
	in, err := p.out.images(p.e).OpenArtifact(ctx, image.ArtifactLocator{Ref: r.source.OCI, Digest: f.Digest, Size: f.Size})
	if err != nil {
		return err
	}
	defer in.Close()
	a, err := p.e.store.Put(ctx, io.TeeReader(in, &meter{total: f.Size, tell: tell}), false)
	if err != nil {
		return err
	}
	return sameDigest(r.source, a.Digest, want)
}

func sameDigest(src *hcl.Source, have, want store.Digest) error {
	if have == want {
		return nil
	}
	return &fetch.MismatchError{URL: src.URL + src.OCI, What: "digest", Have: have.String(), Want: want.String()}
}

// sourceError says at which source it went wrong, and that a pin can be moved.
func sourceError(src *hcl.Source, err error) error {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	hint := image.Hint(err)
	if fetch.IsMismatch(err) {
		hint = fmt.Sprintf("what is there is not what was pinned: bring the old content back, or plumb lock --update %s takes the new one", src.Name)
	}
	return &Error{Kind: Machine, Message: fmt.Sprintf("source %q (%s): %v", src.Name, src.URL+src.OCI, err), Hint: hint}
}
