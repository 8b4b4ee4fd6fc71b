package containerd

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// bareImage answers the layers of bare containers of img: its own and nothing else.
// Their user is root.
func (i *images) bareImage(img *image) (furnished, error) {
	img.mu.Lock()
	defer img.mu.Unlock()
	if img.bare != nil {
		return *img.bare, nil
	}
	layers, err := i.rootfs.mapLayers(img.layers)
	if err != nil {
		return furnished{}, err
	}
	img.bare = &furnished{layers: layers}
	return *img.bare, nil
}

// checkPlaces refuses a bare container for which libcontainer would make something in
// the image's files: a place to mount on, the working directory.
func checkPlaces(img *image, mounts []specs.Mount, dir string) error {
	var under []string // what is below these is not the image's
	for _, m := range mounts {
		if !below(m.Destination, under) {
			if info, _ := findIn(img.layers, strings.TrimPrefix(m.Destination, "/")); info == nil || info.Mode()&os.ModeSymlink != 0 {
				return fmt.Errorf("its image has no %q to mount on", m.Destination)
			}
		}
		under = append(under, m.Destination)
	}
	if dir == "/" || below(dir, under) {
		return nil
	}
	if info, _ := findIn(img.layers, strings.TrimPrefix(dir, "/")); info == nil || !info.IsDir() {
		return fmt.Errorf("its image has no directory %q to work in", dir)
	}
	return nil
}

func below(path string, dirs []string) bool {
	for _, dir := range dirs {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
