package containerd

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// Layers are unpacked here and not by containerd's service for it, which mends what
// is wrong with a layer without a word, and unpacks any amount. What an image's own
// tools would write is written by containerd's code all the same (package archive);
// gate.go stands before it and refuses, and limit.go counts.
//
//	content ─▶ decompress ─▶ limit ─▶ digest ─▶ gate ─▶ archive.Apply into the snapshot's directory

// Defaults of Limits. Real layers are two to ten times as large unpacked.
const (
	defaultUnpacked = 64 << 30
	defaultRatio    = 200
	freeOfRatio     = 1 << 30 // so much may a layer always unpack to
	maxEntries      = 4 << 20
)

// unpack applies the layers, and keeps a view of the topmost: its mount names all
// of them, today and after a restart.
func (i *images) unpack(ctx context.Context, dgst digest.Digest, limits runtime.Limits, p *progress) error {
	m, config, err := i.read(ctx, dgst)
	if err != nil {
		return err
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return refuse("unpacking: the manifest has %d layers, the config %d", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	if len(m.Layers) == 0 {
		return refuse("unpacking: the image has no layers")
	}
	parent := ""
	for n, layer := range m.Layers {
		chain := i.chainName(config.RootFS.DiffIDs[:n+1])
		if err := i.unpackLayer(ctx, layerToUnpack{layer, config.RootFS.DiffIDs[n], parent, chain, limits, p}); err != nil {
			return fmt.Errorf("unpacking layer %d of %d (%s): %w", n+1, len(m.Layers), layer.Digest, err)
		}
		parent = chain
	}
	_, err = i.client.SnapshotService(snapshotter).View(ctx, i.viewName(dgst), parent,
		snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "true"}))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("keeping the layers: %w", err)
	}
	return nil
}

type layerToUnpack struct {
	desc          v1.Descriptor
	diffID        digest.Digest
	parent, chain string // snapshots
	limits        runtime.Limits
	p             *progress
}

// unpackLayer makes the snapshot of a layer, unless it is there: images share them.
func (i *images) unpackLayer(ctx context.Context, l layerToUnpack) (err error) {
	// Images share layers, and two may be unpacked at once.
	turn, _ := i.unpacking.LoadOrStore(l.chain, new(sync.Mutex))
	turn.(*sync.Mutex).Lock()
	defer turn.(*sync.Mutex).Unlock()
	if err := i.hold(ctx, "snapshots/"+snapshotter, l.chain); err != nil {
		return err
	}
	s := i.client.SnapshotService(snapshotter)
	if _, err := s.Stat(ctx, l.chain); err == nil {
		l.p.add(l.desc.Size)
		return nil
	} else if !errdefs.IsNotFound(err) {
		return err
	}
	key := strings.ReplaceAll(i.prefix, "/", "-") + "unpack-" + l.chain
	// One that an earlier process began is begun anew.
	if err := ignoreNotFound(s.Remove(ctx, key)); err != nil {
		return err
	}
	mounts, err := s.Prepare(ctx, key, l.parent)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreNotFound(s.Remove(context.WithoutCancel(ctx), key)))
		}
	}()
	if err := i.apply(ctx, mounts, l); err != nil {
		return err
	}
	if err := i.settle(); err != nil {
		return err
	}
	err = s.Commit(ctx, l.chain, key)
	if errdefs.IsAlreadyExists(err) {
		return ignoreNotFound(s.Remove(ctx, key)) // another image brought it meanwhile
	}
	return err
}

func (i *images) apply(ctx context.Context, mounts []mount.Mount, l layerToUnpack) (err error) {
	upper, lower, unsee, err := i.rootfs.writable(mounts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unsee()) }()
	ra, err := i.client.ContentStore().ReaderAt(ctx, l.desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	plain, packed, err := decompress(io.TeeReader(content.NewReader(ra), l.p), l.desc.MediaType)
	if err != nil {
		return err
	}
	defer plain.Close()
	limited := &limiter{r: plain, packed: l.desc.Size, max: orDefault(l.limits.Unpacked, defaultUnpacked), ratio: orDefault(l.limits.Ratio, defaultRatio)}
	// The content store has found the digest of a layer that is not compressed.
	known := !packed && l.desc.Digest == l.diffID
	digester, through := digest.SHA256.Digester(), io.Reader(limited)
	if !known {
		through = io.TeeReader(limited, digester.Hash())
	}
	if err := writeTree(ctx, i.rootfs.gate(upper, lower, limited), through); err != nil {
		return err
	}
	if got := digester.Digest(); !known && got != l.diffID {
		return refuse("its content has the digest %s, and the image's config says %s", got, l.diffID)
	}
	return nil
}

// writeTree unpacks a tar file behind a gate, and reads it to its very end.
func writeTree(ctx context.Context, g *gate, r io.Reader) error {
	ahead := readAhead(r)
	defer ahead.Close()
	opts := []archive.ApplyOpt{archive.WithFilter(g.check)}
	if len(g.lower) > 0 {
		opts = append(opts, archive.WithConvertWhiteout(whiteout), archive.WithParents(g.lower))
	}
	if _, err := archive.Apply(ctx, g.root, ahead, opts...); err != nil {
		return inWords(err, g.root)
	}
	if err := g.finish(); err != nil {
		return err
	}
	// What is behind the tar's end belongs to the layer's digest, too.
	if _, err := io.Copy(io.Discard, ahead); err != nil {
		return inWords(err, g.root)
	}
	return nil
}

// whiteout writes in the overlay's words that something of the layers below is hidden.
func whiteout(h *tar.Header, name string) (write bool, err error) {
	if filepath.Base(name) == ".wh..wh..opq" {
		return false, unix.Setxattr(filepath.Dir(name), overlayAttrs()+"opaque", []byte{'y'}, 0)
	}
	return archive.OverlayConvertWhiteout(h, name)
}

func orDefault(v, byDefault int64) int64 {
	if v == 0 {
		return byDefault
	}
	return v
}

// directories gives where a layer is written, and the layers below it, topmost first.
func directories(mounts []mount.Mount) (upper string, lower []string, err error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return mounts[0].Source, nil, nil
	}
	if len(mounts) == 1 && mounts[0].Type == "overlay" {
		for _, o := range mounts[0].Options {
			if d, ok := strings.CutPrefix(o, "upperdir="); ok {
				upper = d
			}
			if d, ok := strings.CutPrefix(o, "lowerdir="); ok {
				lower = strings.Split(d, ":")
			}
		}
	}
	if upper == "" {
		return "", nil, fmt.Errorf("unexpected mounts %v", mounts)
	}
	return upper, lower, nil
}

// decompress goes by what the bytes say; the media type only tells what they should be.
// packed says whether they were compressed.
func decompress(r io.Reader, mediaType string) (plain io.ReadCloser, packed bool, err error) {
	b := bufio.NewReaderSize(r, 256<<10)
	magic, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, true, refuse("it is no readable gzip: %v", err)
		}
		return z, true, nil
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, true, refuse("it is no readable zstd: %v", err)
		}
		return z.IOReadCloser(), true, nil
	case strings.HasSuffix(mediaType, "gzip"), strings.HasSuffix(mediaType, "zstd"):
		return nil, false, refuse("it is not compressed as its type %q says", mediaType)
	}
	return io.NopCloser(b), false, nil
}

// inWords says of an error of the unpacking what it means, without the machine's
// own paths.
func inWords(err error, upper string) error {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return err
	case errors.Is(err, tar.ErrHeader):
		return refuse("it is no readable tar: %v", err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		return refuse("it is cut off or damaged: %v", err)
	}
	return errors.New(strings.ReplaceAll(err.Error(), upper, ""))
}
