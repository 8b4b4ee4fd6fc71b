package engine

import (
	"time"

	"plumb/engine/inventory"
)

// LockRequest asks to pin what comes from outside.
type LockRequest struct {
	Request
	Update    []string `json:"update,omitempty"`     // images and sources whose pins may move
	UpdateAll bool     `json:"update_all,omitempty"` // all may
	Check     bool     `json:"check,omitempty"`      // write nothing, only say what would move
	Platforms []string `json:"platforms,omitempty"`  // besides the request's own
}

// LockDoc says what the lock has, and what changed in it; or, of a check, what would.
type LockDoc struct {
	Schema     int    `json:"schema"`
	Path       string `json:"path"`
	Differs    bool   `json:"differs"` // there is a pin that is not unchanged
	Written    bool   `json:"written"`
	Attributes bool   `json:"git_attributes"` // .gitattributes was told how the lock is merged
	Pins       []Pin  `json:"pins"`
}

// PinChange says what happened to a pin.
type PinChange string

// What may happen to a pin.
const (
	PinAdded     PinChange = "added"
	PinMoved     PinChange = "moved"
	PinRemoved   PinChange = "removed"
	PinUnchanged PinChange = "unchanged"
)

// Pin is one thing from outside and the content that it stands for.
type Pin struct {
	Kind     string                    `json:"kind"` // image or source
	Name     string                    `json:"name"`
	Platform string                    `json:"platform,omitempty"`
	Change   PinChange                 `json:"change"`
	From     string                    `json:"from"`     // reference, path, URL or suite
	OldFrom  string                    `json:"old_from"` // when that changed
	Old      string                    `json:"old"`      // digest
	New      string                    `json:"new"`
	Packages []inventory.PackageChange `json:"packages,omitempty"` // of a debian image
	Detail   string                    `json:"detail,omitempty"`
}

// ImagesRequest lists images; or names those that are to be removed, by the name of
// an image block of the project, a reference, or the beginning of a digest.
type ImagesRequest struct {
	Request
	Names []string `json:"names,omitempty"`
}

// ImagesDoc lists images.
type ImagesDoc struct {
	Schema int        `json:"schema"`
	Images []ImageRow `json:"images"`
}

// ImageRow is one image that is kept. Sizes are bytes.
type ImageRow struct {
	Digest   string    `json:"digest"`
	Blocks   []string  `json:"blocks"` // image blocks of the project that are pinned to it
	Names    []string  `json:"names"`
	Platform string    `json:"platform"`
	Packed   int64     `json:"packed_size"`
	Unpacked int64     `json:"unpacked_size"`
	Created  time.Time `json:"created"`
}

// ImageRequest names one image.
type ImageRequest struct {
	Request
	Name  string `json:"name"`
	Files bool   `json:"files,omitempty"`
}

// ImageDoc is what is inside an image.
type ImageDoc struct {
	Schema int `json:"schema"`
	ImageRow
	Layers   []string            `json:"layers"`
	Packages []inventory.Package `json:"packages"`
}

// ImageDiffRequest names two images.
type ImageDiffRequest struct {
	Request
	A string `json:"a"`
	B string `json:"b"`
}

// ImageDiffDoc says in which packages and files they differ.
type ImageDiffDoc struct {
	Schema   int                       `json:"schema"`
	A        string                    `json:"a"` // digests
	B        string                    `json:"b"`
	Packages []inventory.PackageChange `json:"packages"`
	Files    []inventory.FileChange    `json:"files"`
}

// ImageExportRequest names an image and the file to write, an OCI archive that
// docker load, podman load and skopeo read. Path is absolute.
type ImageExportRequest struct {
	Request
	Name      string `json:"name"`
	Path      string `json:"path"`
	Overwrite bool   `json:"overwrite,omitempty"`
}

// ImageExportDoc says what was written.
type ImageExportDoc struct {
	Schema int    `json:"schema"`
	Digest string `json:"digest"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
}
