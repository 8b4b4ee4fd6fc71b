// Package tree turns files and directories into artifacts and back.
//
//	Scanner.Scan      a path of the project ─▶ its digest; writes nothing
//	Scanner.Ingest    the same, and its content is in the store then
//	Capture           what a stage wrote ─▶ artifact, by renaming and not by copying
//	Place             artifacts ─▶ a read-only directory of hard links for a running stage
//	Materialise       an artifact ─▶ a file or directory that belongs to the user
//
// A directory is known by its manifest, a blob that lists what is in it: paths,
// kinds, executable bits, sizes and digests. Nothing else of a file is part of
// its identity: no owner, no time, no other mode bits. Symlinks are kept as what
// they say; empty directories are kept.
//
// # The stat cache
//
// A file that did not change costs one lstat. What is remembered of it is device,
// inode, size, and modification and change time in nanoseconds. Times are the
// kernel's coarse clock, though: a file that is written twice in one tick has the
// same times both times. So a file is only remembered when both times were older
// than a tick at the moment its hashing began, otherwise it is hashed again the
// next time.
//
// # Symlinks in the project
//
// A named path may be or contain a symlink as long as it stays in the project; it
// stands for what it points to. A symlink inside a directory is kept as a symlink,
// and must not be absolute or lead out of the project.
package tree

import "plumb/store"

// Entry is one path of a tree.
type Entry = store.Entry

// Kind is the kind of an entry.
type Kind = store.EntryKind

// The kinds of entry.
const (
	KindFile = store.EntryFile
	KindDir  = store.EntryDir
	KindLink = store.EntryLink
)

// Encode writes the manifest of entries, which must be sorted by Path.
func Encode(entries []Entry) []byte { return store.EncodeTree(entries) }

// Decode reads a manifest, of which Encode would write the very bytes.
func Decode(b []byte) ([]Entry, error) { return store.DecodeTree(b) }

// artifactOf is the tree that entries make, with the digest of its manifest.
func artifactOf(entries []Entry, manifest store.Digest) store.Artifact {
	a := store.Artifact{Kind: store.KindTree, Digest: manifest}
	for i := range entries {
		if entries[i].Kind == KindFile {
			a.Size += entries[i].Size
			a.Files++
		}
	}
	return a
}
