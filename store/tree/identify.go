package tree

import (
	"plumb/store"
)

// Identify finds what kind of artifact a digest alone stands for. Bytes that are a
// manifest are taken for the tree; a file that is kept in both modes is taken for
// one that is not executable.
func Identify(st *store.Store, d store.Digest) (store.Artifact, bool) {
	size, ok := st.Stat(d)
	if !ok {
		return store.Artifact{}, false
	}
	a := store.Artifact{Kind: store.KindFile, Digest: d, Size: size}
	if st.LooksLikeTree(d) {
		if entries, err := ReadManifest(st, a); err == nil {
			return artifactOf(entries, d), true
		}
	}
	if size > store.SmallBlob {
		if _, plain := st.BlobFile(a); !plain {
			a.Exec = true
		}
	}
	return a, true
}
