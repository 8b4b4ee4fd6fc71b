package debian

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Blob is a layer as it was stored.
type Blob struct {
	Name   string // "base", "essential", "python3-sklearn", "dpkg", "configured"
	Digest string // "sha256:…", of the uncompressed tar
	Size   int64
}

// path is where programs are looked for, as in a login of root.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Describe makes config and manifest of an image with these layers. Layers are not
// compressed: their digests would depend on the compressor's version.
func (image Image) Describe(layers []Blob) (manifest, config []byte, err error) {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	type step struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	goos, arch, _ := strings.Cut(image.Platform, "/")
	arch, variant, _ := strings.Cut(arch, "/")
	c := struct {
		Created      time.Time      `json:"created"`
		Architecture string         `json:"architecture"`
		Variant      string         `json:"variant,omitempty"`
		OS           string         `json:"os"`
		Config       map[string]any `json:"config"`
		RootFS       struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []step `json:"history"`
	}{
		Created: image.Date.UTC(), Architecture: arch, Variant: variant, OS: goos,
		Config: map[string]any{"Env": []string{"PATH=" + searchPath}, "Cmd": []string{"/bin/sh"}},
	}
	m := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json"}
	c.RootFS.Type = "layers"
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.Digest)
		c.History = append(c.History, step{image.Date.UTC(), "plumb: " + l.Name})
		m.Layers = append(m.Layers, descriptor{"application/vnd.oci.image.layer.v1.tar", l.Digest, l.Size})
	}
	if config, err = json.Marshal(c); err != nil {
		return nil, nil, err
	}
	m.Config = descriptor{"application/vnd.oci.image.config.v1+json", DigestOf(config), int64(len(config))}
	manifest, err = json.Marshal(m)
	return manifest, config, err
}

// DigestOf is "sha256:…" of some bytes.
func DigestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
