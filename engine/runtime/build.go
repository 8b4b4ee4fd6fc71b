package runtime

import (
	"archive/tar"
	"context"
	"io"
)

// Builder is what a runtime offers to make images of its own: of layers that are
// written straight into its store, and of what a container of the half-made image
// changes. Running stages does not need it.
//
//	Build ─▶ AddLayer… ─▶ Add(config, manifest) ─▶ Prepare ─▶ Create(Bare) ─▶ Start ─▶ Wait
//	                                                                              │
//	                   Close ◀─ Remove(half-made) ◀─ Prepare ◀─ Add(one more) ◀─ Changes
//
// The layers of the half-made image are shared by the whole one: preparing that
// unpacks the topmost only.
type Builder interface {
	// Build begins to make an image. What is added is kept until Close; after that
	// only what a prepared image needs stays.
	Build(ctx context.Context) (Build, error)
}

// Build is one image being made. All methods may be called from several goroutines,
// Close when the others have returned.
type Build interface {
	// Add stores what write writes and answers its digest ("sha256:…") and size in
	// bytes, which are found while it is written. Nothing is kept when write fails;
	// its error is in Add's. Writes are gathered: small ones cost little.
	Add(ctx context.Context, write func(w io.Writer) error) (digest string, size int64, err error)
	// AddLayer is Add of a layer, an uncompressed tar file, which is unpacked while it is
	// written: preparing an image with it has that behind it. below are the digests of
	// the layers under it, bottom first. expect is what its digest was the last time, ""
	// when that is not known: a layer that is there is not unpacked again.
	AddLayer(ctx context.Context, below []string, expect string, write func(w io.Writer) error) (digest string, size int64, err error)
	// Prepare is Runtime.Prepare for an image of which some or all blobs, also its
	// manifest, were added: of img only the others are read. An image that is not the
	// last one is the caller's to remove, before or after Close.
	Prepare(ctx context.Context, img ImageSource) error
	// Changes calls fn for each difference that a bare container, which has ended and
	// is not deleted yet, has made to its image: the entries of the layer that makes
	// its files of the image's. See Change for what they are.
	Changes(ctx context.Context, c Container, fn Change) error
	// Close waits for the disk and lets go of what was added. A build that is not
	// closed, because the process died, is let go of after a day.
	Close(ctx context.Context) error
}

// Change takes one entry of a layer. content is empty but for regular files, holds
// header.Size bytes and need not be read to its end.
//
// A directory comes before what is in it, and names within a directory in the order
// of their bytes. Names are relative and clean; those of directories end in a slash.
// Owners are those inside the container, without names. The root directory is "./", and
// there only if its mode or owner changed. A removed name is, in its place, an empty
// file ".wh.NAME"; a directory that was made anew in the place of the image's is
// followed by an empty file ".wh..wh..opq" in it. Files with several names are whole
// at the first, and hard links to it at the others. Sockets are left out, and so is
// what is as in the image, whatever was done to it meanwhile: a file with the same
// content, mode, owner and time, a directory with the same mode and owner. The time
// of a directory is no difference: each name that comes or goes changes it. Headers
// have what a layer has: no times but that of modification, in full seconds, no
// extended attributes but file capabilities.
type Change func(header *tar.Header, content io.Reader) error
