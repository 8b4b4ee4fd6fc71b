package debian

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/md5" //nolint:gosec // what dpkg's database has
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"
)

// Assembly makes the layers of one image. Its methods are called in the order of
// the layers, each once: a layer depends on what is in those below.
type Assembly struct {
	image    Image
	places   *places
	packs    []*unpacked // in the order of the layers
	ahead    *ahead
	progress func(done, total int64)
	done     int64 // bytes of .deb files
	total    int64
	written  int // layers
}

// unpacked is what is known of a package whose data was written.
type unpacked struct {
	Package
	control   []controlFile
	paragraph string
	multiArch bool // "same": its files in dpkg's database carry the architecture
	replaces  []dependency.Relation
	list      []string // absolute, as the package has them
	conffiles map[string]string
}

// Assemble begins an image. Close must be called. progress, which may be nil, is
// told how many bytes of .deb files are unpacked.
func Assemble(ctx context.Context, image Image, progress func(done, total int64)) *Assembly {
	a := &Assembly{image: image, places: newPlaces(), progress: progress}
	image.Layers = slices.Clone(image.Layers)
	var all []Package
	for i, l := range image.Layers {
		image.Layers[i].Packages = slices.Clone(l.Packages)
		slices.SortFunc(image.Layers[i].Packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, image.Layers[i].Packages...)
	}
	a.image = image
	a.ahead = newAhead(ctx, all)
	for _, p := range all {
		a.total += p.Size
	}
	if progress == nil {
		a.progress = func(int64, int64) {}
	}
	return a
}

// Close ends what still runs.
func (a *Assembly) Close() { a.ahead.close() }

// WriteLayer writes the next layer as a tar file: first the base (WriteBase), then
// the layers of packages, then dpkg's database (WriteDatabase).
func (a *Assembly) WriteLayer(w io.Writer) error {
	l := a.image.Layers[a.written]
	a.written++
	out := newLayerWriter(w, a.image.Date)
	for _, p := range l.Packages {
		if err := a.unpack(out, p); err != nil {
			if out.to.err != nil {
				return out.to.err
			}
			if _, known := IsPackage(err); known || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return &PackageError{p.Name, err}
		}
		a.done += p.Size
		a.progress(a.done, a.total)
	}
	return out.close()
}

// layerWriter writes entries in the one form that layers have.
type layerWriter struct {
	buf  *bufio.Writer
	tar  *tar.Writer
	date time.Time
	to   *outlet
}

// outlet remembers why nothing more can be written: that is no package's fault.
type outlet struct {
	w   io.Writer
	err error
}

func (o *outlet) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		o.err = err
	}
	return n, err
}

func newLayerWriter(w io.Writer, date time.Time) *layerWriter {
	to := &outlet{w: w}
	buf := bufio.NewWriterSize(to, 512<<10)
	return &layerWriter{buf: buf, tar: tar.NewWriter(buf), date: date, to: to}
}

func (l *layerWriter) close() error { return errors.Join(l.tar.Close(), l.buf.Flush()) }

// add writes an entry. Only what h says of kind, name, target, mode, owner, size and
// time is taken.
func (l *layerWriter) add(h *tar.Header, content io.Reader) error {
	clean := &tar.Header{
		Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, Size: h.Size,
		ModTime: clamp(h.ModTime, l.date), PAXRecords: xattrsOf(h),
	}
	if clean.Typeflag == tar.TypeDir && !strings.HasSuffix(clean.Name, "/") {
		clean.Name += "/"
	}
	if clean.Typeflag != tar.TypeReg {
		clean.Size = 0
	}
	if err := l.tar.WriteHeader(clean); err != nil {
		return err
	}
	if clean.Size == 0 {
		return nil
	}
	n, err := io.Copy(l.tar, content)
	if err == nil && n != clean.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// clamp takes from a time what is younger than the release, and what a tar file of
// seconds does not hold.
func clamp(t, date time.Time) time.Time {
	t = t.Truncate(time.Second)
	switch {
	case t.After(date):
		return date
	case t.Before(time.Unix(0, 0)):
		return time.Unix(0, 0)
	}
	return t
}

// xattrsOf keeps what programs need: the capabilities of a file.
func xattrsOf(h *tar.Header) map[string]string {
	const capability = "SCHILY.xattr.security.capability"
	if value, ok := h.PAXRecords[capability]; ok {
		return map[string]string{capability: value}
	}
	return nil
}

// unpack writes what is in a package.
func (a *Assembly) unpack(out *layerWriter, p Package) error {
	n := len(a.packs)
	d, data, err := a.ahead.begin(n)
	if err != nil {
		return err
	}
	u, err := newUnpacked(p, d)
	if err != nil {
		return err
	}
	a.packs = append(a.packs, u)
	r := tar.NewReader(data)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading its data: %w", err)
		}
		if err := a.entry(out, n, h, r); err != nil {
			return err
		}
	}
	// What is behind the tar's end is read, so that the checksum behind it is checked.
	if _, err := io.Copy(io.Discard, data); err != nil {
		return fmt.Errorf("reading its data: %w", err)
	}
	return nil
}

func newUnpacked(p Package, d *debFile) (*unpacked, error) {
	u := &unpacked{Package: p, control: d.control, paragraph: strings.Trim(d.file("control"), "\n"), conffiles: map[string]string{}, list: []string{"/."}}
	if name, v := fieldOf(u.paragraph, "Package"), fieldOf(u.paragraph, "Version"); name != p.Name || v != p.Version {
		return nil, fmt.Errorf("the file holds %s %s, not %s %s", name, v, p.Name, p.Version)
	}
	u.multiArch = fieldOf(u.paragraph, "Multi-Arch") == "same"
	if text := fieldOf(u.paragraph, "Replaces"); text != "" {
		d, err := dependency.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading its Replaces: %w", err)
		}
		u.replaces = d.Relations
	}
	for line := range strings.SplitSeq(d.file("conffiles"), "\n") {
		// "remove-on-upgrade /path" is of files that are not there.
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") {
			u.conffiles[line] = ""
		}
	}
	return u, nil
}

// entry writes one entry of package n.
func (a *Assembly) entry(out *layerWriter, n int, h *tar.Header, content io.Reader) error {
	name, err := cleanName(h.Name)
	if err != nil || name == "." {
		return err
	}
	u := a.packs[n]
	u.list = append(u.list, "/"+name)
	if h.Name, err = a.places.of(name); err != nil {
		return err
	}
	a.places.under(path.Dir(h.Name))
	switch h.Typeflag {
	case tar.TypeDir:
		if have := a.places.nodes[h.Name]; have.kind == isFile {
			return fmt.Errorf("its directory %q is a file in %s", "/"+h.Name, a.ownerOf(have))
		}
		if !a.places.newDir(h.Name, int32(n)) {
			return nil
		}
		return out.add(h, nil)
	case tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeFifo:
	default:
		return fmt.Errorf("its entry %q is neither a file nor a directory nor a link", name)
	}
	if ok, err := a.owned(n, h); !ok || err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		if err := a.hardLink(h); err != nil {
			return err
		}
	}
	var sum hash.Hash
	if _, ok := u.conffiles["/"+name]; ok && h.Typeflag == tar.TypeReg {
		sum = md5.New() //nolint:gosec // see above
		content = io.TeeReader(content, sum)
	}
	if err := out.add(h, content); err != nil {
		return err
	}
	if sum != nil {
		u.conffiles["/"+name] = hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

// hardLink finds what an entry is another name of.
func (a *Assembly) hardLink(h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err == nil {
		h.Linkname, err = a.places.of(target)
	}
	if k := a.places.nodes[h.Linkname].kind; err == nil && k != isFile && k != isLink {
		err = fmt.Errorf("its file %q is another name of %q, which is not there", "/"+h.Name, "/"+h.Linkname)
	}
	return err
}

// owned decides whose a file is that another package has, too, and notes it.
func (a *Assembly) owned(n int, h *tar.Header) (bool, error) {
	k := isFile
	if h.Typeflag == tar.TypeSymlink {
		k = isLink
	}
	have, there := a.places.nodes[h.Name]
	switch {
	case !there:
	case have.kind == isDir:
		if k == isLink {
			return false, nil // a directory is never replaced by a link
		}
		return false, fmt.Errorf("its file %q is a directory in %s", "/"+h.Name, a.ownerOf(have))
	case have.owner < 0:
		return false, nil // a link of the base, such as /bin
	default:
		other := a.packs[have.owner]
		if other.replacesFilesOf(a.packs[n].Package) {
			return false, nil
		}
		if !a.packs[n].replacesFilesOf(other.Package) {
			return false, fmt.Errorf("its file %q is in package %q, too, and neither says that it replaces the other; an image can have only one of them", "/"+h.Name, other.Name)
		}
	}
	a.places.nodes[h.Name] = node{k, int32(n), h.Linkname}
	return true, nil
}

func (a *Assembly) ownerOf(n node) string {
	if n.owner < 0 {
		return "the image"
	}
	return fmt.Sprintf("package %q", a.packs[n.owner].Name)
}

// replacesFilesOf says whether a package's Replaces names another.
func (u *unpacked) replacesFilesOf(other Package) bool {
	return slices.ContainsFunc(u.replaces, func(r dependency.Relation) bool {
		return slices.ContainsFunc(r.Possibilities, func(p dependency.Possibility) bool {
			if p.Name != other.Name {
				return false
			}
			v, err := version.Parse(other.Version)
			return err == nil && (p.Version == nil || p.Version.SatisfiedBy(v))
		})
	})
}

// under notes that a directory is there, with or without an entry of its own.
func (p *places) under(dir string) {
	for ; dir != "." && p.nodes[dir].kind == 0; dir = path.Dir(dir) {
		p.nodes[dir] = node{kind: isDir, owner: unnamed}
	}
}

// unnamed is the owner of a directory that only has something in it.
const unnamed = -2

// newDir notes a directory, and says whether it is the first that names it.
func (p *places) newDir(name string, owner int32) bool {
	have, there := p.nodes[name]
	if there && (have.kind != isDir || have.owner != unnamed) {
		return false // also a link: it is followed
	}
	p.nodes[name] = node{kind: isDir, owner: owner}
	return true
}
