package engine

import (
	"fmt"

	"plumb/engine/toolbox"
	"plumb/hcl"
	"plumb/store"
)

// toolbox is the image that is this binary. It is pinned by being it: another build
// of plumb is another image, and the lock has nothing to say about that.
func (p *pinner) toolbox(im *hcl.Image, platform string) (*pinned, error) {
	if platform != machinePlatform() {
		return nil, imageError(im, fmt.Errorf("the toolbox is this binary, which is for %s, not for %s", machinePlatform(), platform))
	}
	img, err := toolbox.Open("/proc/self/exe", imageCache{p.e})
	if err != nil {
		return nil, imageError(im, err)
	}
	d, err := store.ParseDigest(img.Manifest())
	if err != nil {
		return nil, imageError(im, err)
	}
	return &pinned{name: im.Name, digest: d, platform: platform, source: &toolboxImage{img}}, nil
}

// toolboxImage is a supplier; it is there at once.
type toolboxImage struct{ *toolbox.Image }

func (*toolboxImage) onProgress(func(done, total int64)) {}
