package store

// Kind says what an artifact is.
type Kind string

// The kinds of artifact.
const (
	KindFile Kind = "file"
	KindTree Kind = "tree"
)

// Artifact is immutable content known by its digest. For a file Digest is the
// SHA-256 of its bytes, as sha256sum prints it; for a tree it is the SHA-256 of
// its manifest (see package store/tree), which is itself a blob. Size is the
// bytes of the file, or of all files in the tree. Exec is the executable bit of
// a file, false for a tree.
type Artifact struct {
	Kind   Kind   `json:"kind"`
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Exec   bool   `json:"exec,omitempty"`
	Files  int    `json:"files,omitempty"` // regular files of a tree
}
