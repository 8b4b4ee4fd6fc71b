package hcl

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/hcl/funcs"
)

// WithSnippets adds source lines to diagnostics that were made after the files
// were read: an input that vanished, a stage that failed. A file that cannot be
// read any more leaves its diagnostics as they are.
func (ds Diagnostics) WithSnippets(dir string) Diagnostics {
	files := map[string][]byte{}
	for i := range ds {
		d := &ds[i]
		if d.Snippet != "" || d.Subject.File == "" {
			continue
		}
		src, ok := files[d.Subject.File]
		if !ok {
			src, _ = os.ReadFile(filepath.Join(dir, d.Subject.File)) //nolint:errcheck // see above
			files[d.Subject.File] = src
		}
		d.Snippet = linesOf(src, d.Subject)
	}
	return ds
}

// linesOf cuts out the lines that a range covers.
func linesOf(src []byte, r Range) string {
	if r.Start.Byte > len(src) || r.End.Byte > len(src) || r.End.Byte < r.Start.Byte {
		return ""
	}
	from := bytes.LastIndexByte(src[:r.Start.Byte], '\n') + 1
	to := len(src)
	if n := bytes.IndexByte(src[r.End.Byte:], '\n'); n >= 0 {
		to = r.End.Byte + n
	}
	return strings.TrimRight(string(src[from:to]), "\r\n")
}

// Manifest gives the pinned manifest of an image for a platform. A pin of another
// reference does not count: the block was changed, so it has to be pinned anew.
func (l *Lock) Manifest(name, ref, platform string) (string, bool) {
	im := l.Find(name)
	if im == nil || im.Ref != ref {
		return "", false
	}
	for _, p := range im.Platforms {
		if p.Platform == platform {
			return p.Manifest, true
		}
	}
	return "", false
}

// Add pins an image for a platform, replacing a pin of another reference.
func (l *Lock) Add(name, ref, index, platform, manifest string) {
	im := l.Find(name)
	if im == nil {
		l.Images = append(l.Images, LockedImage{Name: name})
		slices.SortFunc(l.Images, func(a, b LockedImage) int { return strings.Compare(a.Name, b.Name) })
		im = l.Find(name)
	}
	if im.Ref != ref || im.Index != index {
		im.Ref, im.Index, im.Platforms = ref, index, nil
	}
	im.Platforms = slices.DeleteFunc(im.Platforms, func(p LockedPlatform) bool { return p.Platform == platform })
	im.Platforms = append(im.Platforms, LockedPlatform{Platform: platform, Manifest: manifest})
	slices.SortFunc(im.Platforms, func(a, b LockedPlatform) int { return strings.Compare(a.Platform, b.Platform) })
}

// Nearest returns the known name that was most likely meant, "" when none is
// close.
func Nearest(given string, known []string) string { return suggest(given, known) }

// Glob lists the files of the project that match a pattern, sorted; it never
// leaves the project. It is the one meaning that patterns have everywhere.
func Glob(dir, pattern string) (_ []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return funcs.Glob(root.FS(), pattern)
}
