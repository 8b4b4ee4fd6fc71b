package image

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
)

// Locked is where an image of a registry is, of which a lock file knows the
// manifest: whatever tag ref has is not looked at any more.
func Locked(ref, manifest string) (Locator, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return Locator{}, fmt.Errorf("reading the reference %q: %w", ref, err)
	}
	return Locator{Ref: parsed.Context().Digest(manifest).String(), Manifest: manifest}, nil
}
