package toolbox

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
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
