// Package inventory says what is inside an image: its packages, as the package
// managers' own records have them, and its files.
//
//	packages.go  dpkg's status, Python's metadata
//	compare.go   two trees, entry by entry
//	sbom.go      CycloneDX and SPDX
//
// An image is somebody else's: everything is read through os.Root, so that no link
// in it leads out of it, and only regular files of a bounded size are read.
package inventory

// Package is one installed piece of software.
type Package struct {
	Type         string `json:"type"` // "deb", "python"
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture,omitempty"`
	Source       string `json:"source,omitempty"`   // deb: the source package with its version
	Location     string `json:"location,omitempty"` // python: the directory of its metadata, from the root
}

// PackageChange is one difference between two lists of packages.
type PackageChange struct {
	Change string `json:"change"` // added, removed, changed
	Type   string `json:"type"`
	Name   string `json:"name"`
	Old    string `json:"old,omitempty"` // versions
	New    string `json:"new,omitempty"`
}

// FileChange is one difference between two trees.
type FileChange struct {
	Change string `json:"change"` // added, removed, changed
	Path   string `json:"path"`
	Detail string `json:"detail,omitempty"` // what differs: "mode 0644 → 0755", "content"
}

// Document is what an inventory is of.
type Document struct {
	Name     string // what people call the image
	Manifest string // digest
	Platform string
	Version  string // of plumb
	Packages []Package
}
