package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Artifact is data in a container registry: files under a manifest.
type Artifact struct {
	Manifest string         // digest
	Files    []ArtifactFile // sorted by path; a single one without a title has none
}

// ArtifactFile is one file of an artifact.
type ArtifactFile struct {
	Path   string // slash-separated, below the artifact
	Size   int64
	Digest string
}

// ArtifactLocator names one file of an artifact.
type ArtifactLocator struct {
	Ref    string
	Digest string
	Size   int64
}

// titleKey is the annotation that gives a layer of an artifact its file name.
const titleKey = "org.opencontainers.image.title"

// ResolveArtifact asks a registry what an artifact holds today.
func (r Resolver) ResolveArtifact(ctx context.Context, ref string) (*Artifact, error) {
	a, err := r.resolveArtifact(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("resolving artifact %q: %w", ref, err)
	}
	return a, nil
}

func (r Resolver) resolveArtifact(ctx context.Context, ref string) (*Artifact, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	d, err := r.manifest(ctx, parsed)
	if err != nil {
		return nil, err
	}
	if d.mediaType.IsIndex() {
		return nil, errors.New("it is an index of several; name one by its digest")
	}
	m, err := v1.ParseManifest(bytes.NewReader(d.body))
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	a := &Artifact{Manifest: d.digest}
	seen := map[string]bool{}
	for _, layer := range m.Layers {
		f := ArtifactFile{Path: layer.Annotations[titleKey], Size: layer.Size, Digest: layer.Digest.String()}
		if f.Path == "" && len(m.Layers) > 1 {
			return nil, fmt.Errorf("it has %d files, and one without a name (annotation %s)", len(m.Layers), titleKey)
		}
		if f.Path != "" && (path.Clean(f.Path) != f.Path || path.IsAbs(f.Path) || f.Path == ".." || f.Path == "." || strings.HasPrefix(f.Path, "../")) {
			return nil, fmt.Errorf("it has a file %q, which leads out of it", f.Path)
		}
		if seen[f.Path] {
			return nil, fmt.Errorf("it has two files %q", f.Path)
		}
		seen[f.Path] = true
		a.Files = append(a.Files, f)
	}
	if len(a.Files) == 0 {
		return nil, errors.New("it holds no file")
	}
	if len(a.Files) == 1 {
		a.Files[0].Path = "" // the source's own path names it
	}
	slices.SortFunc(a.Files, func(x, y ArtifactFile) int { return strings.Compare(x.Path, y.Path) })
	return a, nil
}

// OpenArtifact reads a file of an artifact. Whoever reads it checks its digest.
func (r Resolver) OpenArtifact(ctx context.Context, l ArtifactLocator) (io.ReadCloser, error) {
	parsed, err := name.ParseReference(l.Ref)
	if err != nil {
		return nil, fmt.Errorf("reading artifact %q: %w", l.Ref, err)
	}
	b := &remoteBlobs{registries: r.registries(), repo: parsed.Context(), sizes: map[string]int64{l.Digest: l.Size}}
	rc, err := b.open(ctx, l.Digest, 0)
	if err != nil {
		return nil, fmt.Errorf("reading artifact %q: %w", l.Ref, err)
	}
	return rc, nil
}
