package image

import (
	"encoding/json"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// rootfs makes an image of a plain tar file of a root filesystem, as debootstrap
// and mmdebstrap write one: the file is the only layer, as it lies there. Config
// and manifest say nothing that does not follow from it, so that the same file is
// the same image everywhere.
func (a *archive) rootfs(p v1.Platform) (contents, error) {
	digest, size, err := v1.SHA256(io.NewSectionReader(a.f, 0, a.size))
	if err != nil {
		return contents{}, err
	}
	config := v1.ConfigFile{
		Architecture: p.Architecture, OS: p.OS, Variant: p.Variant,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{digest}},
		Config: v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return contents{}, err
	}
	c := contents{Blobs: map[string]section{digest.String(): {0, a.size}}, Made: map[string][]byte{}}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(raw)), Digest: hashOf(raw)},
		Layers: []v1.Descriptor{{MediaType: types.OCIUncompressedLayer, Size: size, Digest: digest}},
	}
	c.Made[m.Config.Digest.String()] = raw
	return c, c.seal(m)
}
