package debian

import (
	"fmt"
	"path"
	"strings"
)

// kind is what stands at a path.
type kind byte

const (
	isDir kind = iota + 1
	isLink
	isFile // or anything else that is no directory and no symlink
)

// node is what is known of a path of the image.
type node struct {
	kind  kind
	owner int32  // package that it came from, -1 for the image's own
	to    string // of a symlink
}

// places is the image's tree as it grows.
type places struct {
	nodes map[string]node
	dirs  map[string]string // directory as a package names it → where it is
}

func newPlaces() *places {
	return &places{nodes: map[string]node{".": {kind: isDir, owner: -1}}, dirs: map[string]string{}}
}

// maxLinks is how many symlinks a path may lead through, as in the kernel.
const maxLinks = 40

// of tells where an entry of a package goes: its name, with the directories above
// it followed through links.
func (p *places) of(name string) (string, error) {
	dir, base := path.Split(name)
	if dir == "" {
		return name, nil
	}
	dir = strings.TrimSuffix(dir, "/")
	at, ok := p.dirs[dir]
	if !ok {
		var err error
		if at, err = p.follow(dir); err != nil {
			return "", err
		}
		p.dirs[dir] = at
	}
	return path.Join(at, base), nil
}

func (p *places) follow(dir string) (string, error) {
	rest := strings.Split(dir, "/")
	at := "."
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if at == "." {
				continue // as the kernel has it: above the root is the root
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, step)
		n := p.nodes[next]
		switch n.kind {
		case isLink:
			if links++; links > maxLinks {
				return "", fmt.Errorf("the path %q leads through more than %d links", "/"+dir, maxLinks)
			}
			if path.IsAbs(n.to) {
				at = "."
			}
			rest = append(strings.Split(n.to, "/"), rest...)
		case isFile:
			return "", fmt.Errorf("the path %q leads through %q, which is no directory", "/"+dir, "/"+next)
		default:
			at = next
		}
	}
	return at, nil
}

// cleanName is the name of an entry without what only decorates it; "." for the
// root itself.
func cleanName(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("its entry %q leads out of the image", name)
	}
	if strings.ContainsAny(name, "\x00\n") { // dpkg's lists are of lines
		return "", fmt.Errorf("its entry %q has a name of more than a line", name)
	}
	if strings.Contains("/"+clean, "/.wh.") {
		return "", fmt.Errorf("its entry %q has a name that means a deletion in an image", name)
	}
	return clean, nil
}
