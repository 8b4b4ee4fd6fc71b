package debian

import (
	"archive/tar"
	"io"
	"time"
)

// Every image stands on a layer of directories that containers mount something on,
// and of the links that make /bin and /usr/bin one: Debian's packages expect the
// latter since 12, and do not have them all themselves.

// baseDirs are the directories, with the modes that the package base-files gives
// them.
var baseDirs = []struct {
	name string
	mode int64
}{
	{"dev", 0o755}, {"etc", 0o755}, {"home", 0o755}, {"proc", 0o755}, {"root", 0o700}, {"run", 0o755}, {"sys", 0o755}, {"tmp", 0o1777},
	{"usr", 0o755}, {"usr/bin", 0o755}, {"usr/lib", 0o755}, {"usr/sbin", 0o755}, {"var", 0o755}, {"var/lib", 0o755}, {"var/tmp", 0o1777},
}

// mergedDirs are linked to the directory of their name below /usr, besides bin, lib
// and sbin: where the loader of an architecture is.
var mergedDirs = map[string][]string{
	"amd64": {"lib32", "lib64", "libx32"}, "i386": {"lib64", "libx32"}, "ppc64el": {"lib64"}, "s390x": {"lib32"},
}

// WriteBase writes the layer that all others stand on. It is the same for all images
// of an architecture.
func (a *Assembly) WriteBase(w io.Writer) error {
	out := newLayerWriter(w, time.Unix(0, 0))
	merged := append([]string{"bin", "lib", "sbin"}, mergedDirs[a.image.Architecture]...)
	for _, d := range baseDirs {
		if err := out.add(&tar.Header{Typeflag: tar.TypeDir, Name: d.name, Mode: d.mode}, nil); err != nil {
			return err
		}
		a.places.newDir(d.name, -1)
	}
	for _, name := range merged {
		if a.places.newDir("usr/"+name, -1) {
			if err := out.add(&tar.Header{Typeflag: tar.TypeDir, Name: "usr/" + name, Mode: 0o755}, nil); err != nil {
				return err
			}
		}
		if err := out.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "usr/" + name, Mode: 0o777}, nil); err != nil {
			return err
		}
		a.places.nodes[name] = node{isLink, -1, "usr/" + name}
	}
	return out.close()
}
