package toolbox

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func tarTool() tool {
	return tool{
		run: tarFiles, fail: 2,
		usage: "-c|-x|-t|-r [-f file] [-C dir] [-hkmopvzO] [-T file] [--exclude glob] [--strip-components n] [--sort=name] [--mtime time] [--owner id] [--group id] [--numeric-owner] [--no-recursion] [--null] [--format=…] [file]…",
		lacks: "bzip2, xz and zstd (-j, -J, --zstd), -u, -d, --transform, incremental archives, sparse files as such, xattrs, and reading more than one volume; extraction does not leave the directory, by '..' or by links",
	}
}

// archiver is tar at work.
type archiver struct {
	c        *Call
	o        *options
	dir      string // of -C, as it is now
	names    []string
	exclude  []string
	mtime    time.Time
	uid, gid int
	strip    int
	seen     map[[2]uint64]string
	listing  io.Writer
	found    map[string]bool
	dirs     []*tar.Header // whose times and modes are set last
	root     *os.Root
}

const tarOptions = "c,create x,extract,get t,list r,append f,file: C,directory: h,dereference k,keep-old-files m,touch o,no-same-owner same-owner p,preserve-permissions,same-permissions v,verbose z,gzip,gunzip O,to-stdout " +
	"T,files-from: exclude: strip-components: sort: mtime: owner: group: numeric-owner no-recursion null format: a,auto-compress P,absolute-names no-same-permissions overwrite warning: totals S,sparse no-xattrs clamp-mtime one-file-system"

func tarFiles(_ context.Context, c *Call) error {
	// The first word may be flags without a dash: tar czf file.
	sub := *c
	if len(c.Args) > 1 && !strings.HasPrefix(c.Args[1], "-") {
		sub.Args = tarBundle(c.Args)
	}
	// -C counts for the names behind it, so that names and flags are read as they stand.
	a := &archiver{c: c, uid: -1, gid: -1, seen: map[[2]uint64]string{}, found: map[string]bool{}}
	o, err := sub.ordered(tarOptions)
	if err != nil {
		return err
	}
	a.o = o
	modes := 0
	for _, m := range []string{"c", "x", "t", "r"} {
		if o.has(m) {
			modes++
		}
	}
	if modes != 1 {
		return usageError("needs one of -c, -x, -t and -r")
	}
	if err := a.settings(); err != nil {
		return err
	}
	switch {
	case o.has("c"):
		return a.create()
	case o.has("r"):
		return a.append()
	}
	return a.read()
}

// tarBundle writes "tar czf file" as "tar -c -z -f file".
func tarBundle(args []string) []string {
	out, rest := args[:1:1], args[2:]
	for _, l := range args[1] {
		out = append(out, "-"+string(l))
		if strings.ContainsRune("fCT", l) && len(rest) > 0 {
			out, rest = append(out, rest[0]), rest[1:]
		}
	}
	return append(out, rest...)
}

// ordered is options with the operands among the flags, under the name "".
func (c *Call) ordered(spec string) (*options, error) {
	all := &options{}
	args := c.Args[1:]
	for len(args) > 0 {
		if args[0] == "-" || !strings.HasPrefix(args[0], "-") {
			all.given, args = append(all.given, option{"", args[0]}), args[1:]
			continue
		}
		if args[0] == "--" {
			for _, a := range args[1:] {
				all.given = append(all.given, option{"", a})
			}
			break
		}
		sub := *c
		sub.Args = append([]string{c.Args[0]}, args...)
		o, err := sub.options("+" + spec)
		if err != nil {
			return nil, err
		}
		all.given = append(all.given, o.given...)
		args = o.operands
	}
	all.operands = all.values("")
	return all, nil
}

func (a *archiver) settings() (err error) {
	o := a.o
	a.exclude = o.values("exclude")
	if s := o.value("sort", "name"); s != "name" && s != "none" {
		return usageError(fmt.Sprintf("--sort=%s is not supported", s))
	}
	if f := o.value("format", "gnu"); !slices.Contains([]string{"gnu", "pax", "posix", "ustar"}, f) {
		return usageError(fmt.Sprintf("--format=%s is not supported", f))
	}
	if o.has("mtime") {
		if a.mtime, err = parseTime(o.value("mtime", ""), a.c.zone()); err != nil {
			return err
		}
	}
	if a.strip, err = strconv.Atoi(o.value("strip-components", "0")); err != nil {
		return usageError("invalid number for --strip-components")
	}
	if o.has("owner") {
		if a.uid, _, err = parseOwner(strings.Split(o.value("owner", ""), ":")[0]); err != nil {
			return err
		}
	}
	if o.has("group") {
		if _, a.gid, err = parseOwner(":" + strings.Split(o.value("group", ""), ":")[0]); err != nil {
			return err
		}
	}
	a.listing = a.c.out()
	if name := o.value("f", "-"); name == "-" && (o.has("c") || o.has("O")) {
		a.listing = a.c.Stderr
	}
	return nil
}

func (a *archiver) excluded(name string) bool {
	for _, glob := range a.exclude {
		glob = strings.TrimSuffix(glob, "/")
		for at := name; ; {
			if ok, err := path.Match(glob, at); err == nil && ok {
				return true
			}
			_, rest, ok := strings.Cut(at, "/")
			if !ok {
				break
			}
			at = rest
		}
	}
	return false
}

func (a *archiver) create() error {
	var out io.Writer = a.c.Stdout
	var f *os.File
	name := a.o.value("f", "-")
	if name != "-" {
		var err error
		if f, err = a.c.create(name, os.O_TRUNC); err != nil {
			return err
		}
		out = f
	}
	buffered := bufio.NewWriterSize(out, bufferSize)
	out = buffered
	var z *gzip.Writer
	if a.o.has("z") || a.o.has("a") && (strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".tgz")) {
		z = gzip.NewWriter(buffered)
		out = z
	}
	w := tar.NewWriter(out)
	err := a.members(w)
	errs := []error{err, w.Close()}
	if z != nil {
		errs = append(errs, z.Close())
	}
	errs = append(errs, buffered.Flush())
	if f != nil {
		errs = append(errs, f.Close())
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// append writes over the end marks of an archive.
func (a *archiver) append() error {
	f, err := os.OpenFile(a.c.path(a.o.value("f", "")), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	end := int64(0)
	counter := &counter{r: f}
	r := tar.NewReader(counter)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("reading %q: %w", f.Name(), err), f.Close())
		}
		_ = h
		end = (counter.n + 511) / 512 * 512
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return errors.Join(err, f.Close())
	}
	w := tar.NewWriter(f)
	return errors.Join(a.members(w), w.Close(), f.Close())
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// members writes what the command line names, in its order.
func (a *archiver) members(w *tar.Writer) error {
	some := false
	for _, g := range a.o.given {
		switch g.name {
		case "C":
			a.dir = a.within(g.value)
		case "T":
			some = true
			mark := byte('\n')
			if a.o.has("null") {
				mark = 0
			}
			names, err := a.c.readLines([]string{g.value}, mark)
			if err != nil {
				return err
			}
			for _, n := range names {
				if err := a.add(w, string(n)); err != nil {
					return err
				}
			}
		case "":
			some = true
			if err := a.add(w, g.value); err != nil {
				return err
			}
		}
	}
	if !some {
		return usageError("will not make an empty archive")
	}
	return nil
}

// within is a path below what -C said so far.
func (a *archiver) within(name string) string {
	if filepath.IsAbs(name) || a.dir == "" {
		return name
	}
	return a.dir + "/" + name
}

func (a *archiver) add(w *tar.Writer, name string) error {
	if a.excluded(strings.TrimSuffix(name, "/")) {
		return nil
	}
	at := a.c.path(a.within(name))
	stat := os.Lstat
	if a.o.has("h") {
		stat = os.Stat
	}
	info, err := stat(at)
	if err != nil {
		return a.c.warn(a.c.named(name, err))
	}
	if err := a.member(w, name, at, info); err != nil {
		return err
	}
	if !info.IsDir() || a.o.has("no-recursion") {
		return nil
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return a.c.warn(a.c.named(name, err))
	}
	for _, e := range entries {
		if err := a.add(w, strings.TrimRight(name, "/")+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) member(w *tar.Writer, name, at string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSocket != 0 {
		return a.c.warn(fmt.Errorf("%s: socket ignored", name))
	}
	h, err := a.header(name, at, info)
	if err != nil {
		return a.c.warn(err)
	}
	var f *os.File
	if h.Typeflag == tar.TypeReg {
		if f, err = os.Open(at); err != nil {
			return a.c.warn(a.c.named(name, err))
		}
		defer f.Close() // was only read
	}
	if a.o.has("v") {
		fmt.Fprintln(a.listing, h.Name)
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if f == nil {
		return nil
	}
	n, err := io.CopyN(w, f, h.Size)
	if err == io.EOF { // it shrank; the archive stays readable
		if _, err := io.CopyN(w, zeros{}, h.Size-n); err != nil {
			return err
		}
		return a.c.warn(fmt.Errorf("%s: file shrank while it was read", name))
	}
	return err
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (a *archiver) header(name, at string, info fs.FileInfo) (*tar.Header, error) {
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(at); err != nil {
			return nil, a.c.named(name, err)
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return nil, err
	}
	h.Name = name
	if !a.o.has("P") {
		h.Name = memberName(name)
	}
	if info.IsDir() {
		h.Name = strings.TrimRight(h.Name, "/") + "/"
	}
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.ModTime = h.ModTime.Truncate(time.Second)
	h.Format = tar.FormatGNU
	switch a.o.value("format", "gnu") {
	case "pax", "posix":
		h.Format = tar.FormatPAX
	case "ustar":
		h.Format = tar.FormatUSTAR
	}
	if key, names := identity(info); names > 1 && !info.IsDir() {
		if first, ok := a.seen[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			a.seen[key] = h.Name
		}
	}
	if a.o.has("mtime") && !(a.o.has("clamp-mtime") && h.ModTime.Before(a.mtime)) {
		h.ModTime = a.mtime
	}
	if a.uid >= 0 {
		h.Uid = a.uid
		h.Uname, _ = nameOf("user", a.uid)
	}
	if a.gid >= 0 {
		h.Gid = a.gid
		h.Gname, _ = nameOf("group", a.gid)
	}
	if a.o.has("numeric-owner") || isNumber(h.Uname) {
		h.Uname = ""
	}
	if a.o.has("numeric-owner") || isNumber(h.Gname) {
		h.Gname = ""
	}
	return h, nil
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// memberName is without what would lead out of the directory it is unpacked in.
func memberName(name string) string {
	for strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") {
		name = strings.TrimPrefix(strings.TrimPrefix(name, "/"), "../")
	}
	if i := strings.LastIndex(name, "/../"); i >= 0 {
		name = name[i+4:]
	}
	if name == "" || name == ".." {
		return "./"
	}
	return name
}

func (a *archiver) read() error {
	in, err := a.c.open(a.o.value("f", "-"))
	if err != nil {
		return err
	}
	defer in.Close() // was only read
	for _, d := range a.o.values("C") {
		a.dir = a.within(d)
	}
	b := bufio.NewReaderSize(in, bufferSize)
	var src io.Reader = b
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		src = z
	} else if a.o.has("z") {
		return errors.New("the archive is not gzip's")
	}
	a.names = a.o.values("")
	if a.o.has("x") && !a.o.has("O") {
		dir := a.c.path(a.within("."))
		if a.root, err = os.OpenRoot(dir); err != nil {
			return err
		}
		defer a.root.Close() // was only a way to files
	}
	r := tar.NewReader(src)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		if err := a.one(r, h); err != nil {
			return err
		}
	}
	if err := a.finish(); err != nil {
		return err
	}
	for _, n := range a.names {
		if !a.found[n] {
			a.c.say(fmt.Errorf("%s: not found in archive", n))
			a.c.status = 2
		}
	}
	return nil
}

func (a *archiver) one(r io.Reader, h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader || a.excluded(strings.TrimSuffix(h.Name, "/")) || !a.asked(h.Name) {
		return nil
	}
	shown := h.Name
	if a.o.has("v") && a.o.has("t") {
		shown = a.longLine(h)
	}
	switch {
	case a.o.has("t"):
		_, err := fmt.Fprintln(a.c.out(), shown)
		return err
	case a.o.has("v"):
		fmt.Fprintln(a.listing, shown)
	}
	if a.o.has("O") {
		if h.Typeflag == tar.TypeReg {
			_, err := io.Copy(a.c.out(), r)
			return err
		}
		return nil
	}
	if err := a.extract(r, h); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		return a.c.warn(fmt.Errorf("%s: %w", h.Name, plainest(err)))
	}
	return nil
}

// plainest is the reason of a file's error.
func plainest(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// asked says whether a member is one of the operands or below one.
func (a *archiver) asked(name string) bool {
	if len(a.names) == 0 {
		return true
	}
	name = strings.TrimSuffix(name, "/")
	ok := false
	for _, n := range a.names {
		t := strings.TrimSuffix(n, "/")
		if name == t || strings.HasPrefix(name, t+"/") {
			a.found[n], ok = true, true
		}
	}
	return ok
}

func (a *archiver) longLine(h *tar.Header) string {
	kind := map[byte]string{tar.TypeDir: "d", tar.TypeSymlink: "l", tar.TypeLink: "h", tar.TypeFifo: "p", tar.TypeChar: "c", tar.TypeBlock: "b"}[h.Typeflag]
	if kind == "" {
		kind = "-"
	}
	owner, group := h.Uname, h.Gname
	if owner == "" || a.o.has("numeric-owner") {
		owner = strconv.Itoa(h.Uid)
	}
	if group == "" || a.o.has("numeric-owner") {
		group = strconv.Itoa(h.Gid)
	}
	name := h.Name
	switch h.Typeflag {
	case tar.TypeSymlink:
		name += " -> " + h.Linkname
	case tar.TypeLink:
		name += " link to " + h.Linkname
	}
	length := strconv.FormatInt(h.Size, 10)
	who := owner + "/" + group
	return fmt.Sprintf("%s%s %s %*s %s %s", kind, modeText(uint32(h.Mode & 0o7777))[1:], who, max(18-len(who), len(length)), length, h.ModTime.In(a.c.zone()).Format("2006-01-02 15:04"), name)
}

// extract makes a member. The root keeps it in the directory.
func (a *archiver) extract(r io.Reader, h *tar.Header) error {
	name := path.Clean(memberName(h.Name))
	if a.strip > 0 {
		parts := strings.Split(name, "/")
		if len(parts) <= a.strip {
			return nil
		}
		name = strings.Join(parts[a.strip:], "/")
	}
	name = strings.TrimLeft(name, "/")
	if name == "." || name == "" {
		name = "."
	}
	if dir := path.Dir(name); dir != "." {
		if err := a.root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		if err := a.root.Mkdir(name, 0o777); err != nil && !(errors.Is(err, fs.ErrExist) && a.isDir(name)) {
			return err
		}
		later := *h
		later.Name = name
		a.dirs = append(a.dirs, &later)
		return nil
	}
	if there, err := a.root.Lstat(name); err == nil {
		if a.o.has("k") {
			return fs.ErrExist
		}
		if there.IsDir() {
			return syscall.EISDIR
		}
		if err := a.root.Remove(name); err != nil {
			return err
		}
	}
	if err := a.make(r, h, name); err != nil {
		return err
	}
	return a.dress(name, h)
}

func (a *archiver) isDir(name string) bool {
	info, err := a.root.Stat(name)
	return err == nil && info.IsDir()
}

func (a *archiver) make(r io.Reader, h *tar.Header, name string) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		f, err := a.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode&0o777))
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink:
		return a.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target := path.Clean(memberName(h.Linkname))
		if a.strip > 0 {
			parts := strings.Split(target, "/")
			target = strings.Join(parts[min(a.strip, len(parts)-1):], "/")
		}
		return a.root.Link(target, name)
	case tar.TypeFifo:
		parent, err := a.root.OpenRoot(path.Dir(name))
		if err != nil {
			return err
		}
		defer parent.Close() // was only a way to the file
		dir, err := parent.Open(".")
		if err != nil {
			return err
		}
		defer dir.Close() // as above
		return unix.Mkfifoat(int(dir.Fd()), path.Base(name), uint32(h.Mode&0o777))
	}
	return fmt.Errorf("members of type %q are not supported", string(h.Typeflag))
}

// dress gives a member its mode, owner and time.
func (a *archiver) dress(name string, h *tar.Header) error {
	if h.Typeflag == tar.TypeLink {
		return nil
	}
	root := os.Geteuid() == 0
	if (root || a.o.has("same-owner")) && !a.o.has("o") {
		if err := a.root.Lchown(name, h.Uid, h.Gid); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) {
			return err
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	mode := h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if !a.o.has("p") && (!root || a.o.has("no-same-permissions")) {
		mode = mode.Perm() &^ fs.FileMode(umask())
	}
	if err := a.root.Chmod(name, mode); err != nil {
		return err
	}
	if a.o.has("m") {
		return nil
	}
	return a.root.Chtimes(name, h.ModTime, h.ModTime)
}

// finish dresses directories, the inner ones first: a time that was set before
// would be lost again, and a mode may forbid writing.
func (a *archiver) finish() error {
	for _, h := range slices.Backward(a.dirs) {
		if err := a.dress(h.Name, h); err != nil {
			if err := a.c.warn(fmt.Errorf("%s: %w", h.Name, plainest(err))); err != nil {
				return err
			}
		}
	}
	return nil
}
