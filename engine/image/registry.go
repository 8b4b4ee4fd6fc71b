package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"plumb/engine/fetch"
)

// Locked is where an image of a registry is, of which a lock file knows the
// manifest: whatever tag ref has is not looked at any more.
// index is the one that it was found in, "" for none: the two have to agree.
func Locked(ref, index, manifest string) (Locator, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return Locator{}, fmt.Errorf("reading the reference %q: %w", ref, err)
	}
	return Locator{Ref: parsed.Context().Digest(manifest).String(), Manifest: manifest, Index: index}, nil
}

// fromRegistry needs the network only when the reference's digest is that of an
// index whose manifests are not known yet.
func (r Resolver) fromRegistry(ctx context.Context, l Locator, p v1.Platform) (*Image, error) {
	ref, err := name.NewDigest(l.Ref)
	if err != nil {
		return nil, errors.New("the reference has no digest: a tag may stand for something else tomorrow; run plumb lock, or write NAME@sha256:…")
	}
	found := pinned{Index: ref.DigestStr(), Manifest: l.Manifest}
	key := fmt.Sprintf("index 2 %q %q", ref.DigestStr(), p.String())
	if found.Manifest == "" && !r.recall(key, &found) {
		if found, err = r.pin(ctx, ref, p); err != nil {
			return nil, err
		}
		r.remember(key, found)
	}
	img := &Image{Index: found.Index, manifest: found.Manifest}
	if img.Index == img.manifest {
		img.Index = ""
	}
	blobs := &remoteBlobs{registries: r.registries(), repo: ref.Context(), manifest: found.Manifest, index: l.Index}
	img.open = func(ctx context.Context, digest string) (io.ReadCloser, error) { return blobs.open(ctx, digest, 0) }
	img.openAt = blobs.open
	return img, nil
}

func (r Resolver) registries() *Registries {
	if r.Registries != nil {
		return r.Registries
	}
	return &Registries{}
}

// ResolveTag asks the registry what a reference stands for today: the digest of
// an index ("" when there is none) and of the platform's manifest.
func (r Resolver) ResolveTag(ctx context.Context, ref, platform string) (index, manifest string, err error) {
	p, err := parsePlatform(platform)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, err)
	}
	found, err := r.pin(ctx, parsed, p)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, err)
	}
	return found.Index, found.Manifest, nil
}

// pinned is what a digest or a tag was found to stand for.
type pinned struct{ Index, Manifest string }

// pin follows a reference to the platform's manifest, through indexes in indexes.
func (r Resolver) pin(ctx context.Context, ref name.Reference, p v1.Platform) (pinned, error) {
	var found pinned
	seen := map[string]bool{}
	for range maxNesting {
		d, err := r.manifest(ctx, ref)
		if err != nil {
			return pinned{}, err
		}
		if !d.mediaType.IsIndex() {
			found.Manifest = d.digest
			return found, r.checkPlatform(ctx, ref.Context(), d, p)
		}
		if found.Index == "" {
			found.Index = d.digest
		}
		seen[d.digest] = true
		next, err := chooseDeep(d, p)
		if err != nil {
			return pinned{}, err
		}
		if seen[next.Digest.String()] {
			return pinned{}, fmt.Errorf("its index %q refers to itself", d.digest)
		}
		if !next.MediaType.IsIndex() {
			found.Manifest = next.Digest.String()
			return found, nil
		}
		ref = ref.Context().Digest(next.Digest.String())
	}
	return pinned{}, fmt.Errorf("its index is nested more than %d times", maxNesting)
}

// chooseDeep takes the platform's manifest out of an index, or the one index in it.
func chooseDeep(d *document, p v1.Platform) (v1.Descriptor, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(d.body))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading its index: %w", err)
	}
	if len(index.Manifests) == 1 && index.Manifests[0].MediaType.IsIndex() {
		return index.Manifests[0], nil
	}
	return choose(index, p)
}

// checkPlatform asks the config of an image that is no index which platform it is
// for. One that says nothing will do.
func (r Resolver) checkPlatform(ctx context.Context, repo name.Repository, d *document, p v1.Platform) error {
	m, err := v1.ParseManifest(bytes.NewReader(d.body))
	if err != nil {
		return fmt.Errorf("reading its manifest: %w", err)
	}
	if m.Config.MediaType != types.OCIConfigJSON && m.Config.MediaType != types.DockerConfigJSON {
		return fmt.Errorf("it is no image but an artifact of type %q", m.Config.MediaType)
	}
	blobs := &remoteBlobs{registries: r.registries(), repo: repo, sizes: map[string]int64{}}
	rc, err := blobs.open(ctx, m.Config.Digest.String(), 0)
	if err != nil {
		return fmt.Errorf("reading its config: %w", err)
	}
	defer rc.Close()
	raw, err := readVerified(rc, m.Config.Digest.String())
	if err != nil {
		return fmt.Errorf("reading its config: %w", err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("reading its config: %w", err)
	}
	if have := config.Platform(); have != nil && have.Architecture != "" && !have.Satisfies(p) {
		return fmt.Errorf("it is for platform %q, not for %q; set platform, or use another image", have.String(), p.String())
	}
	return nil
}

// document is a manifest or an index as a registry gave it.
type document struct {
	digest    string
	mediaType types.MediaType
	body      []byte
}

// accepted is what is asked for, the usual forms first.
var accepted = []types.MediaType{
	types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2,
}

// manifest reads what a reference stands for, from the first place that has it.
func (r Resolver) manifest(ctx context.Context, ref name.Reference) (*document, error) {
	var doc *document
	err := r.registries().each(ctx, ref.Context(), func(ctx context.Context, s *session, c *fetch.Client) error {
		var err error
		doc, err = readManifest(ctx, s, c, ref.Identifier())
		return err
	})
	return doc, err
}

// each asks the places of a repository one after the other, until one answers well.
func (r *Registries) each(ctx context.Context, repo name.Repository, ask func(context.Context, *session, *fetch.Client) error) error {
	places, err := r.places(repo)
	if err != nil {
		return err
	}
	var mirrors []string
	for i, place := range places {
		s, err := r.open(ctx, place)
		if err == nil {
			c := r.client()
			c.HTTP = s.http
			err = ask(ctx, s, &c)
		}
		if err == nil {
			return nil
		}
		err = explain(place.RegistryStr(), err)
		if i == len(places)-1 || ctx.Err() != nil {
			if len(mirrors) > 0 {
				return fmt.Errorf("%w (and no mirror had it: %s)", err, strings.Join(mirrors, "; "))
			}
			return err
		}
		mirrors = append(mirrors, err.Error())
	}
	return nil
}

func readManifest(ctx context.Context, s *session, c *fetch.Client, identifier string) (*document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/manifests/"+identifier, nil)
	if err != nil {
		return nil, err
	}
	for _, t := range accepted {
		req.Header.Add("Accept", string(t))
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	if len(body) > maxMetadata {
		return nil, fmt.Errorf("its manifest is larger than %d MiB", maxMetadata>>20)
	}
	d := &document{digest: digestOf(body), body: body}
	want := resp.Header.Get("Docker-Content-Digest")
	if strings.HasPrefix(identifier, "sha256:") {
		want = identifier
	}
	if strings.HasPrefix(want, "sha256:") && want != d.digest {
		return nil, fmt.Errorf("the manifest that came has the digest %q, not %q", d.digest, want)
	}
	return d, d.classify(resp.Header.Get("Content-Type"))
}

// classify finds out what a document is: what it says itself counts, then what the
// registry says.
func (d *document) classify(contentType string) error {
	var says struct {
		MediaType     types.MediaType   `json:"mediaType"`
		SchemaVersion int               `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
		Config        *json.RawMessage  `json:"config"`
	}
	if err := json.Unmarshal(d.body, &says); err != nil {
		return errors.New("its manifest is no JSON")
	}
	d.mediaType = says.MediaType
	if d.mediaType == "" {
		t, _, _ := mime.ParseMediaType(contentType)
		d.mediaType = types.MediaType(t)
	}
	if d.mediaType == "" || d.mediaType == "application/json" {
		switch {
		case says.Manifests != nil:
			d.mediaType = types.OCIImageIndex
		case says.Config != nil:
			d.mediaType = types.OCIManifestSchema1
		}
	}
	if says.SchemaVersion == 1 || d.mediaType == types.DockerManifestSchema1 || d.mediaType == types.DockerManifestSchema1Signed {
		return errors.New("its manifest is of Docker's schema 1, which has no digests of its layers; push the image again with a newer tool")
	}
	if !d.mediaType.IsIndex() && !d.mediaType.IsImage() {
		return fmt.Errorf("its manifest is of the unknown type %q", d.mediaType)
	}
	return nil
}

func digestOf(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

// readVerified reads a small blob and checks it.
func readVerified(r io.Reader, digest string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMetadata))
	if err == nil && digestOf(b) != digest {
		err = fmt.Errorf("what came has the digest %q, not %q", digestOf(b), digest)
	}
	return b, err
}

// remoteBlobs reads the blobs of one repository.
type remoteBlobs struct {
	registries *Registries
	repo       name.Repository
	manifest   string // is asked for in another way than blobs are
	index      string // that the lock has the manifest from, "" for none

	mu    sync.Mutex
	sizes map[string]int64 // as the manifest has them
}

// open reads a blob from an offset on. Of a manifest, and of a blob whose size is
// known from it, more or fewer bytes are an error.
func (b *remoteBlobs) open(ctx context.Context, digest string, offset int64) (rc io.ReadCloser, err error) {
	err = b.registries.each(ctx, b.repo, func(ctx context.Context, s *session, c *fetch.Client) error {
		if digest == b.manifest {
			d, err := readManifest(ctx, s, c, digest)
			if err == nil {
				err = b.vouched(ctx, s, c)
			}
			if err == nil {
				b.learn(d.body)
				rc = io.NopCloser(bytes.NewReader(d.body[min(offset, int64(len(d.body))):]))
			}
			return err
		}
		b.mu.Lock()
		size := b.sizes[digest]
		b.mu.Unlock()
		r, err := c.Open(ctx, fetch.Object{URL: s.base + "/blobs/" + digest, Size: size, Offset: offset})
		if err == nil {
			rc = r
		}
		return err
	})
	return rc, err
}

// vouched holds the lock's index against its manifest: a lock in which one of the two
// was edited stands for nothing that anybody pushed. An index that is gone from the
// registry says nothing.
func (b *remoteBlobs) vouched(ctx context.Context, s *session, c *fetch.Client) error {
	if b.index == "" || b.index == b.manifest {
		return nil
	}
	d, err := readManifest(ctx, s, c, b.index)
	if fetch.Status(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(d.body))
	if err != nil {
		return fmt.Errorf("reading its index: %w", err)
	}
	listed := slices.ContainsFunc(index.Manifests, func(m v1.Descriptor) bool {
		return m.Digest.String() == b.manifest || m.MediaType.IsIndex() // which may have it
	})
	if !listed {
		return &explained{fetch.Permanent(fmt.Errorf("the lock has it from the index %s, in which there is no manifest %s", b.index, b.manifest)), "the lock was edited: take its line from git, or plumb lock --update moves the pin"}
	}
	return nil
}

// learn notes the sizes that a manifest tells.
func (b *remoteBlobs) learn(manifest []byte) {
	m, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return // whoever reads the manifest says so
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sizes = map[string]int64{}
	for _, d := range append(m.Layers, m.Config) {
		b.sizes[d.Digest.String()] = d.Size
	}
}
