package runtime

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrBadImage is in the errors of Prepare that are about what is in an image, not
// about the machine or the network: trying again is of no use.
var ErrBadImage = errors.New("the image is not usable")

// Images is what a runtime tells of the images it keeps. It is a part of its own,
// since running stages does not need it.
type Images interface {
	// Images lists what is present and unpacked, sorted by digest.
	Images(ctx context.Context) ([]StoredImage, error)
	// Has says whether Prepare for this manifest would return at once.
	Has(ctx context.Context, manifest string) (bool, error)
	// Remove forgets an image and frees what no other image needs. Containers of it
	// that live keep running. One that is not there is no error.
	Remove(ctx context.Context, manifest string) error
	// OpenBlob opens the manifest, the config or a layer of a stored image.
	OpenBlob(ctx context.Context, digest string) (io.ReadCloser, error)
	// View calls fn with a directory that shows the image's whole file tree,
	// read-only, with the owners of the image. It is gone when View returns.
	View(ctx context.Context, manifest string, fn func(root string) error) error
}

// StoredImage is an image that is present and unpacked. Sizes are bytes.
type StoredImage struct {
	Manifest string
	Platform string    // "linux/amd64", from its config
	Names    []string  // what Prepare was told that it is called, sorted
	Packed   int64     // of its layers as they came
	Unpacked int64     // on disk, layers that others share included
	Layers   []string  // digests as in the manifest, bottom first
	Created  time.Time // when it was first prepared
}

// Named is what an ImageSource implements to say what people call the image: a
// reference, a path. Prepare remembers it, for a present image too.
type Named interface{ Name() string }

// Resumer is what an ImageSource implements to open a blob from an offset on, so
// that an import that was cut goes on where it was.
type Resumer interface {
	BlobAt(ctx context.Context, digest string, offset int64) (io.ReadCloser, error)
}

// Limited is what an ImageSource implements to bound what its layers unpack to.
type Limited interface{ Limits() Limits }

// Limits bounds what one layer may unpack to. 0 is the runtime's default.
type Limits struct {
	Unpacked int64 // bytes
	Ratio    int64 // of unpacked to packed bytes, once a layer is beyond 1 GiB
}
