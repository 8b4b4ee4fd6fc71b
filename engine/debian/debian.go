// Package debian makes an image of Debian packages: it turns .deb files into the
// layers of an OCI image, with no dpkg and no root on this machine.
//
//	deb.go        a .deb file: its control files, its data
//	ahead.go      packages decompressed before their turn, in bounded memory
//	base.go       what every image stands on
//	place.go      where a path of a package lies in the image
//	layer.go      the entries of packages ─▶ a layer
//	database.go   what dpkg would know after unpacking ─▶ a layer
//	configure.go  what is run in the image itself, and what of its traces is kept
//	keystore.go   Java's certificates, which say when they were added
//	manifest.go   layers ─▶ config and manifest
//
// The same packages, in the same layers, of the same date give the same bytes on any
// machine: packages come in order of their names and their entries in the order that
// the package has them, owners are numbers, no time is younger than the release,
// and what differs from run to run (logs, caches, locks, backups) is left out.
//
// What dpkg does to the files when it unpacks, this does too: a directory belongs to
// whoever has it first and is never replaced by a link, paths lead through the links
// that are there (so a merged /usr needs no case of its own), a file that two
// packages have goes to the one that says Replaces, and is an error otherwise. The
// preinst scripts are run afterwards, in the image (configure.go): on a system that
// has nothing yet they prepare for postinst, and have no older files to look after.
// Diversions of files of another package in the same image are the exception, and
// are refused.
package debian

import (
	"errors"
	"fmt"
	"time"
)

// Recipe is the version of the rules above. It changes when the same packages would
// give another image, and stands in the lock: a lock of another recipe is of images
// that this build cannot make.
const Recipe = "1"

// Package is one package of an image.
type Package struct {
	Name         string
	Version      string
	Architecture string // "amd64" or "all"
	Size         int64  // bytes of the .deb
	SHA256       string // 64 hex digits
	File         string // the .deb
}

// Layer is a part of an image that others may share.
type Layer struct {
	Name     string
	Packages []Package
}

// Image is what is to be made.
type Image struct {
	Architecture string    // Debian's word: "amd64"
	Platform     string    // OCI's: "linux/amd64"
	Date         time.Time // nothing is younger
	Layers       []Layer   // bottom first
}

// PackageError is an error of one package: what is in it cannot be used, or not
// together with what is there.
type PackageError struct {
	Package string
	Err     error
}

func (e *PackageError) Error() string { return fmt.Sprintf("package %q: %v", e.Package, e.Err) }
func (e *PackageError) Unwrap() error { return e.Err }

// IsPackage says whether a package is to blame, and which.
func IsPackage(err error) (name string, ok bool) {
	var p *PackageError
	if errors.As(err, &p) {
		return p.Package, true
	}
	return "", false
}
