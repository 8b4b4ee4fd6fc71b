package inventory

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// maxRecord bounds what is read of one file: dpkg's status of the largest systems
// has a few megabytes.
const maxRecord = 64 << 20

// Packages lists what is installed below root, sorted by type, name, version and
// place. An image without any package manager has none.
func Packages(root string) (_ []Package, err error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	all := []Package{}
	for _, find := range []func(*os.Root) ([]Package, error){debs, pythons} {
		found, err := find(r)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Location, b.Location))
	})
	return slices.Compact(all), nil
}

// open opens a regular file of the image; nil when there is none.
func open(r *os.Root, name string) (*os.File, error) {
	info, err := r.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil // a link that leads out, or to nothing, is as good as no file
	}
	f, err := r.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// paragraphs reads the form that dpkg and Python's metadata share: "Name: value"
// lines, continued by lines that begin with a blank, up to an empty line. Names are
// in lower case.
func paragraphs(f io.Reader, each func(map[string]string)) error {
	in := bufio.NewScanner(io.LimitReader(f, maxRecord))
	in.Buffer(nil, 1<<20)
	one := map[string]string{}
	for in.Scan() {
		line := in.Text()
		if strings.TrimSpace(line) == "" {
			if len(one) > 0 {
				each(one)
			}
			one = map[string]string{}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || line[0] == ' ' || line[0] == '\t' {
			continue
		}
		if name = strings.ToLower(name); one[name] == "" {
			one[name] = strings.TrimSpace(value)
		}
	}
	if len(one) > 0 {
		each(one)
	}
	return in.Err()
}

// debs reads dpkg's status, and the status.d of images made without dpkg.
func debs(r *os.Root) ([]Package, error) {
	names := []string{"var/lib/dpkg/status"}
	if entries, err := fs.ReadDir(r.FS(), "var/lib/dpkg/status.d"); err == nil {
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".md5sums") {
				names = append(names, "var/lib/dpkg/status.d/"+e.Name())
			}
		}
	}
	var all []Package
	for _, name := range names {
		f, err := open(r, name)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		if f == nil {
			continue
		}
		err = paragraphs(f, func(p map[string]string) {
			state := strings.Fields(p["status"])
			if p["package"] == "" || p["version"] == "" || len(state) == 3 && (state[2] == "not-installed" || state[2] == "config-files") {
				return
			}
			all = append(all, Package{Type: "deb", Name: p["package"], Version: p["version"], Architecture: p["architecture"], Source: sourceOf(p)})
		})
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
	}
	return all, nil
}

// sourceOf is the source package, with its version where that is another.
func sourceOf(p map[string]string) string {
	name, version, _ := strings.Cut(p["source"], " ")
	if name == "" {
		name = p["package"]
	}
	if version = strings.Trim(version, "() "); version == "" {
		version = p["version"]
	}
	return name + " " + version
}

// pythonTops are where Python distributions are looked for.
var pythonTops = []string{"usr", "opt", "root", "home", "app", "venv"}

// maxDepth is how deep below a top metadata may lie.
const maxDepth = 8

func pythons(r *os.Root) ([]Package, error) {
	var all []Package
	for _, top := range pythonTops {
		if info, err := r.Lstat(top); err != nil || !info.IsDir() {
			continue
		}
		err := fs.WalkDir(r.FS(), top, func(name string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil //nolint:nilerr // a directory that cannot be read has nothing to tell
			case e.IsDir() && strings.Count(name, "/") > maxDepth:
				return fs.SkipDir
			case !strings.HasSuffix(name, ".dist-info") && !strings.HasSuffix(name, ".egg-info"):
				return nil
			}
			p, err := distribution(r, name, e.IsDir())
			if err != nil {
				return err
			}
			if p != nil {
				all = append(all, *p)
			}
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking for Python distributions: %w", err)
		}
	}
	return all, nil
}

// distribution reads the metadata of one; nil when there is none to read.
func distribution(r *os.Root, name string, isDir bool) (*Package, error) {
	names := []string{name}
	if isDir {
		names = []string{path.Join(name, "METADATA"), path.Join(name, "PKG-INFO")}
	}
	for _, n := range names {
		f, err := open(r, n)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		var p *Package
		err = paragraphs(f, func(m map[string]string) {
			if p == nil && m["name"] != "" && m["version"] != "" {
				p = &Package{Type: "python", Name: m["name"], Version: m["version"], Location: name}
			}
		})
		if errors.Is(err, bufio.ErrTooLong) {
			err = nil // what is before the description was read
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("reading %q: %w", n, err)
		}
		return p, nil
	}
	return nil, nil
}

// ComparePackages lists what was added, removed and changed from a to b.
func ComparePackages(a, b []Package) []PackageChange {
	type id struct{ kind, name string }
	versions := func(all []Package) map[id][]string {
		m := map[id][]string{}
		for _, p := range all {
			k := id{p.Type, p.Name}
			if !slices.Contains(m[k], p.Version) {
				m[k] = append(m[k], p.Version)
			}
		}
		return m
	}
	before, after := versions(a), versions(b)
	out := []PackageChange{}
	for k, old := range before {
		now, ok := after[k]
		switch {
		case !ok:
			out = append(out, PackageChange{"removed", k.kind, k.name, strings.Join(old, ", "), ""})
		case !slices.Equal(old, now):
			out = append(out, PackageChange{"changed", k.kind, k.name, strings.Join(old, ", "), strings.Join(now, ", ")})
		}
	}
	for k, now := range after {
		if _, ok := before[k]; !ok {
			out = append(out, PackageChange{"added", k.kind, k.name, "", strings.Join(now, ", ")})
		}
	}
	slices.SortFunc(out, func(x, y PackageChange) int { return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.Name, y.Name)) })
	return out
}
