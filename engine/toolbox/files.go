package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func fileTools() map[string]tool {
	return map[string]tool{
		"cp":       {run: cp, usage: "[-aAdfHiLnpPrRTuv] [-t dir] source… target", lacks: "-i, -l, -s, --sparse, --reflink, backups, holes; xattrs are not copied"},
		"mv":       {run: mv, usage: "[-fnTuv] [-t dir] source… target", lacks: "-i and backups"},
		"rm":       {run: rm, usage: "[-dfrRv] file…", lacks: "-i and -I"},
		"rmdir":    {run: rmdir, usage: "[-p] [-v] [--ignore-fail-on-non-empty] dir…"},
		"mkdir":    {run: mkdir, usage: "[-p] [-v] [-m mode] dir…"},
		"ln":       {run: ln, usage: "[-fnrsTv] target… link", lacks: "-i, -b, -L and -P"},
		"touch":    {run: touch, usage: "[-acm] [-h] [-d time | -t [[CC]YY]MMDDhhmm[.ss] | -r file] file…", lacks: "times in words, like 'yesterday'"},
		"chmod":    {run: chmod, usage: "[-fRv] [--reference=file] mode file…", lacks: "-c"},
		"chown":    {run: chown, usage: "[-fhRv] owner[:group] file…", lacks: "-c, --from, --reference, -H, -L and -P"},
		"chgrp":    {run: chown, usage: "[-fhRv] group file…", lacks: "-c, --reference, -H, -L and -P"},
		"install":  {run: install, usage: "[-dDTv] [-m mode] [-o owner] [-g group] [-t dir] source… target", lacks: "-s, -b and -C"},
		"mktemp":   {run: mktemp, usage: "[-dqu] [-p dir] [--tmpdir[=dir]] [--suffix=text] [template]", lacks: "-t with a prefix of BSD's"},
		"truncate": {run: truncate, usage: "-s [+-]size [-c] file…", lacks: "-r, -o and the signs < > / %"},
		"readlink": {run: readlink, usage: "[-fem] [-n] [-z] file…", lacks: "-q and -v, which are taken and do nothing"},
		"realpath": {run: realpath, usage: "[-em] [-s] [-z] [--relative-to=dir] file…", lacks: "-L and --relative-base"},
		"dd":       {run: dd, usage: "[if=file] [of=file] [bs=n] [count=n] [skip=n] [seek=n] [conv=notrunc,fsync] [status=none]", lacks: "ibs and obs, other conversions, iflag and oflag"},
	}
}

// targets calls f for each source and where it goes: to the last operand, into it
// when it is a directory, or into -t's.
func (c *Call) targets(o *options, f func(from, to string) error) error {
	args, dir := o.operands, o.value("t", "")
	if !o.has("t") {
		if len(args) < 2 {
			return usageError("needs a source and a target")
		}
		last := args[len(args)-1]
		info, err := os.Stat(c.path(last))
		into := err == nil && info.IsDir() && !o.has("T") && !(o.has("n") && c.Args[0] == "ln" && c.isLink(last))
		if !into && len(args) > 2 {
			return fmt.Errorf("the target %q is not a directory", last)
		}
		if !into {
			return c.carry(f, args[0], last)
		}
		args, dir = args[:len(args)-1], last
	}
	if len(args) == 0 {
		return usageError("needs a source")
	}
	for _, from := range args {
		to := strings.TrimRight(dir, "/") + "/" + filepath.Base(from)
		if err := c.carry(f, from, to); err != nil {
			return err
		}
	}
	return nil
}

func (c *Call) isLink(name string) bool {
	info, err := os.Lstat(c.path(strings.TrimRight(name, "/")))
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// carry calls f; what goes wrong with one file is told, and the others go on.
func (c *Call) carry(f func(from, to string) error, from, to string) error {
	if err := f(from, to); err != nil {
		return c.warn(err)
	}
	return nil
}

// perFile calls f for each operand like carry.
func (c *Call) perFile(o *options, f func(name string) error) error {
	if len(o.operands) == 0 {
		return usageError("needs a file")
	}
	for _, name := range o.operands {
		if err := f(name); err != nil {
			if err := c.warn(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// told prints what was done, for -v.
func (c *Call) told(o *options, format string, args ...any) {
	if o.has("v") {
		fmt.Fprintf(c.out(), format+"\n", args...)
	}
}

func mv(_ context.Context, c *Call) error {
	o, err := c.options("f,force n,no-clobber T,no-target-directory u,update v,verbose t,target-directory:")
	if err != nil {
		return err
	}
	return c.targets(o, func(from, to string) error {
		if o.last("n", "f") == "n" && c.exists(to) || o.has("u") && !c.newer(from, to) {
			return nil
		}
		if err := c.rename(from, to); err != nil {
			return err
		}
		c.told(o, "renamed '%s' -> '%s'", from, to)
		return nil
	})
}

func (c *Call) exists(name string) bool {
	_, err := os.Lstat(c.path(name))
	return err == nil
}

func (c *Call) newer(a, b string) bool {
	x, err := os.Stat(c.path(a))
	if err != nil {
		return false
	}
	y, err := os.Stat(c.path(b))
	return err != nil || x.ModTime().After(y.ModTime())
}

// rename moves, by a copy where the file system changes.
func (c *Call) rename(from, to string) error {
	a, err := os.Lstat(c.path(from))
	if err != nil {
		return c.named(from, err)
	}
	if b, err := os.Lstat(c.path(to)); err == nil && os.SameFile(a, b) {
		return fmt.Errorf("'%s' and '%s' are the same file", from, to)
	}
	err = syscall.Rename(strings.TrimRight(c.path(from), "/"), strings.TrimRight(c.path(to), "/"))
	if !errors.Is(err, syscall.EXDEV) {
		if err != nil {
			return fmt.Errorf("moving '%s' to '%s': %w", from, to, err)
		}
		return nil
	}
	copier := &copying{c: c, recursive: true, keep: true}
	if err := errors.Join(copier.copy(from, to, true), copier.failed()); err != nil {
		return err
	}
	return os.RemoveAll(c.path(from))
}

func rm(_ context.Context, c *Call) error {
	o, err := c.options("d,dir f,force r,recursive,R v,verbose preserve-root no-preserve-root one-file-system")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 && o.has("f") {
		return nil
	}
	return c.perFile(o, func(name string) error {
		base := filepath.Base(strings.TrimRight(name, "/"))
		if base == "." || base == ".." {
			return fmt.Errorf("refusing to remove '%s'", name)
		}
		path := c.path(name)
		if o.has("r") && filepath.Clean(path) == "/" {
			return errors.New("refusing to remove '/'")
		}
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) && o.has("f") {
			return nil
		}
		if err != nil {
			return c.named(name, err)
		}
		switch {
		case info.IsDir() && o.has("r"):
			err = os.RemoveAll(path)
		case info.IsDir() && !o.has("d"):
			return fmt.Errorf("%s: is a directory", name)
		default:
			err = os.Remove(path)
		}
		if err != nil {
			return c.within(name, path, err)
		}
		c.told(o, "removed '%s'", name)
		return nil
	})
}

// within is an error below path in the words of the operand name.
func (c *Call) within(name, path string, err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return &os.PathError{Op: p.Op, Path: name + strings.TrimPrefix(p.Path, path), Err: p.Err}
	}
	return err
}

func rmdir(_ context.Context, c *Call) error {
	o, err := c.options("p,parents v,verbose ignore-fail-on-non-empty")
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		for dir := strings.TrimRight(name, "/"); ; dir = filepath.Dir(dir) {
			if err := syscall.Rmdir(c.path(dir)); err != nil {
				if o.has("ignore-fail-on-non-empty") && errors.Is(err, syscall.ENOTEMPTY) {
					return nil
				}
				return &os.PathError{Op: "rmdir", Path: dir, Err: err}
			}
			c.told(o, "rmdir: removing directory, '%s'", dir)
			if !o.has("p") || filepath.Dir(dir) == "." || filepath.Dir(dir) == "/" {
				return nil
			}
		}
	})
}

func mkdir(_ context.Context, c *Call) error {
	o, err := c.options("p,parents v,verbose m,mode:")
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		return c.mkdir(o, name)
	})
}

func (c *Call) mkdir(o *options, name string) error {
	path := c.path(name)
	if info, err := os.Stat(path); o.has("p") && err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(strings.TrimRight(name, "/")); o.has("p") && parent != "." && parent != "/" {
		if err := c.mkdir(&options{given: []option{{"p", ""}}}, parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o777); err != nil {
		if errors.Is(err, fs.ErrExist) && o.has("p") {
			// Another one may have been faster; what is no directory is an error.
			if info, e := os.Stat(path); e == nil && info.IsDir() {
				return nil
			}
		}
		return c.named(name, err)
	}
	c.told(o, "mkdir: created directory '%s'", name)
	if !o.has("m") {
		return nil
	}
	mode, err := parseMode(o.value("m", ""), 0o777|fs.ModeDir)
	if err != nil {
		return err
	}
	return syscall.Chmod(path, mode)
}

func ln(_ context.Context, c *Call) error {
	o, err := c.options("f,force n,no-dereference r,relative s,symbolic T,no-target-directory v,verbose t,target-directory:")
	if err != nil {
		return err
	}
	if len(o.operands) == 1 && !o.has("t") {
		o.operands = append(o.operands, "./"+filepath.Base(o.operands[0]))
	}
	return c.targets(o, func(from, to string) error {
		target := from
		if o.has("r") && o.has("s") {
			if target, err = c.relative(from, filepath.Dir(to)); err != nil {
				return err
			}
		}
		if o.has("f") {
			if a, err := os.Lstat(c.path(from)); err == nil && !o.has("s") {
				if b, err := os.Lstat(c.path(to)); err == nil && os.SameFile(a, b) {
					return fmt.Errorf("'%s' and '%s' are the same file", from, to)
				}
			}
			if err := os.Remove(c.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return c.named(to, err)
			}
		}
		if o.has("s") {
			err = os.Symlink(target, c.path(to))
		} else {
			err = os.Link(c.path(from), c.path(to))
		}
		var l *os.LinkError
		if errors.As(err, &l) {
			return fmt.Errorf("linking '%s' to '%s': %w", to, from, l.Err)
		}
		c.told(o, "'%s' -> '%s'", to, target)
		return err
	})
}

// relative is a path as seen from a directory, links resolved.
func (c *Call) relative(name, dir string) (string, error) {
	to, err := c.canonical(name, 'm')
	if err != nil {
		return "", err
	}
	from, err := c.canonical(dir, 'm')
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

func touch(_ context.Context, c *Call) error {
	o, err := c.options("a c,no-create d,date: f h,no-dereference m r,reference: t: time:")
	if err != nil {
		return err
	}
	times := [2]time.Time{time.Now(), time.Time{}}
	times[1] = times[0]
	if err := c.touchTimes(o, &times); err != nil {
		return err
	}
	var stamps [2]unix.Timespec
	word := o.value("time", "")
	access := o.has("a") || word == "access" || word == "atime" || word == "use"
	modify := o.has("m") || word == "modify" || word == "mtime"
	for i, on := range []bool{access || !modify, modify || !access} {
		stamps[i] = unix.NsecToTimespec(times[i].UnixNano())
		if !on {
			stamps[i].Nsec = unix.UTIME_OMIT
		}
	}
	flags := 0
	if o.has("h") {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	return c.perFile(o, func(name string) error {
		path := c.path(name)
		if !o.has("c") && !o.has("h") {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o666)
			if err == nil {
				err = f.Close()
			}
			if err != nil && !errors.Is(err, syscall.EISDIR) && !errors.Is(err, fs.ErrPermission) {
				return c.named(name, err)
			}
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, abs, stamps[:], flags); err != nil && !(o.has("c") && errors.Is(err, fs.ErrNotExist)) {
			return &os.PathError{Op: "touch", Path: name, Err: err}
		}
		return nil
	})
}

func (c *Call) touchTimes(o *options, times *[2]time.Time) error {
	var t time.Time
	var err error
	switch o.last("d", "r", "t") {
	case "r":
		var st syscall.Stat_t
		if err := syscall.Stat(c.path(o.value("r", "")), &st); err != nil {
			return &os.PathError{Op: "stat", Path: o.value("r", ""), Err: err}
		}
		times[0], times[1] = time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix())
		return nil
	case "d":
		t, err = parseTime(o.value("d", ""), c.zone())
	case "t":
		t, err = parseStamp(o.value("t", ""), c.zone())
	default:
		return nil
	}
	times[0], times[1] = t, t
	return err
}

// parseMode applies a mode, octal or of letters, to the one a file has.
func parseMode(text string, old fs.FileMode) (uint32, error) {
	bits := unixMode(old)
	if n, err := strconv.ParseUint(text, 8, 32); err == nil && n <= 0o7777 {
		return uint32(n), nil
	}
	bad := usageError(fmt.Sprintf("invalid mode %q", text))
	for clause := range strings.SplitSeq(text, ",") {
		i := strings.IndexAny(clause, "+-=")
		if i < 0 || strings.Trim(clause[:i], "ugoa") != "" {
			return 0, bad
		}
		who, masked := whoMask(clause[:i]), i == 0
		for rest := clause[i:]; rest != ""; {
			op := rest[0]
			j := strings.IndexAny(rest[1:], "+-=")
			letters := rest[1:]
			if j >= 0 {
				letters = rest[1 : 1+j]
			}
			rest = rest[1+len(letters):]
			set, ok := permissions(letters, bits, old.IsDir())
			if !ok {
				return 0, bad
			}
			change := set & who
			if masked {
				change &^= umask()
			}
			switch op {
			case '+':
				bits |= change
			case '-':
				bits &^= change
			case '=':
				bits = bits&^who | change
			}
		}
	}
	return bits, nil
}

func whoMask(who string) (mask uint32) {
	if who == "" || strings.Contains(who, "a") {
		return 0o7777
	}
	for letter, bits := range map[string]uint32{"u": 0o4700, "g": 0o2070, "o": 0o1007} {
		if strings.Contains(who, letter) {
			mask |= bits
		}
	}
	return mask
}

func permissions(letters string, old uint32, dir bool) (set uint32, ok bool) {
	for _, l := range letters {
		switch l {
		case 'r':
			set |= 0o444
		case 'w':
			set |= 0o222
		case 'x':
			set |= 0o111
		case 'X':
			if dir || old&0o111 != 0 {
				set |= 0o111
			}
		case 's':
			set |= 0o6000
		case 't':
			set |= 0o1000
		case 'u':
			set |= old >> 6 & 7 * 0o111
		case 'g':
			set |= old >> 3 & 7 * 0o111
		case 'o':
			set |= old & 7 * 0o111
		default:
			return 0, false
		}
	}
	return set, true
}

func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for from, to := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&from != 0 {
			bits |= to
		}
	}
	return bits
}

// umask is the process's. To read it it has to be set; /proc says it without.
func umask() uint32 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o022
	}
	_, rest, _ := strings.Cut(string(data), "Umask:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(strings.TrimSpace(line), 8, 32)
	if err != nil {
		return 0o022
	}
	return uint32(n)
}

func chmod(_ context.Context, c *Call) error {
	// A mode may look like a flag: chmod -x file.
	for i, a := range c.Args[1:] {
		if a == "--" || !strings.HasPrefix(a, "-") {
			break
		}
		if strings.Trim(a[1:], "rwxXstugo,+-=a") == "" && a != "-" && !strings.HasPrefix(a, "--") {
			c.Args = append(append(append([]string{}, c.Args[:i+1]...), "--"), c.Args[i+1:]...)
			break
		}
	}
	o, err := c.options("f,silent,quiet R,recursive v,verbose reference:")
	if err != nil {
		return err
	}
	var fixed fs.FileMode
	mode := ""
	if o.has("reference") {
		info, err := os.Stat(c.path(o.value("reference", "")))
		if err != nil {
			return c.named(o.value("reference", ""), err)
		}
		fixed = info.Mode()
		mode = fmt.Sprintf("%o", unixMode(fixed))
	} else {
		if len(o.operands) < 2 {
			return usageError("needs a mode and a file")
		}
		mode, o.operands = o.operands[0], o.operands[1:]
		if _, err := parseMode(mode, 0); err != nil {
			return err
		}
	}
	return c.perTree(o, func(name string, info fs.FileInfo) error {
		bits, err := parseMode(mode, info.Mode())
		if err != nil {
			return err
		}
		if info.IsDir() && len(mode) < 5 && isDigit(rune(mode[0])) && !o.has("reference") {
			bits |= unixMode(info.Mode()) & 0o6000 // as GNU's: octal keeps a directory's set-id bits
		}
		if err := syscall.Chmod(c.path(name), bits); err != nil {
			return &os.PathError{Op: "chmod", Path: name, Err: err}
		}
		return nil
	})
}

// perTree calls f for each operand, with -R also for what is below; links are
// followed only as operands.
func (c *Call) perTree(o *options, f func(name string, info fs.FileInfo) error) error {
	return c.perFile(o, func(name string) error {
		stat := os.Stat
		if o.has("h") {
			stat = os.Lstat
		}
		info, err := stat(c.path(name))
		if err == nil && !(o.has("R") && info.IsDir()) {
			return f(name, info)
		}
		if err != nil {
			if o.has("f") {
				c.status = 1
				return nil
			}
			return c.named(name, err)
		}
		root := c.path(name)
		return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			name := name + strings.TrimPrefix(path, root)
			if err != nil {
				return c.warn(c.named(name, err))
			}
			info, err := d.Info()
			if err == nil && info.Mode()&fs.ModeSymlink == 0 {
				err = f(name, info)
			}
			if err != nil {
				return c.warn(err)
			}
			return nil
		})
	})
}

func chown(_ context.Context, c *Call) error {
	o, err := c.options("f,silent,quiet h,no-dereference R,recursive v,verbose")
	if err != nil {
		return err
	}
	if len(o.operands) < 2 {
		return usageError("needs an owner and a file")
	}
	owner := o.operands[0]
	o.operands = o.operands[1:]
	if c.Args[0] == "chgrp" {
		owner = ":" + owner
	}
	uid, gid, err := parseOwner(owner)
	if err != nil {
		return err
	}
	return c.perTree(o, func(name string, info fs.FileInfo) error {
		change := os.Chown
		if o.has("h") {
			change = os.Lchown
		}
		return c.named(name, change(c.path(name), uid, gid))
	})
}

// parseOwner reads user, user:group or :group, by name or number; -1 is unchanged.
func parseOwner(text string) (uid, gid int, _ error) {
	name, group, _ := strings.Cut(text, ":")
	uid, gid = -1, -1
	if name != "" {
		n, err := strconv.Atoi(name)
		if u, e := user.Lookup(name); e == nil {
			n, err = strconv.Atoi(u.Uid)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("no user %q", name)
		}
		uid = n
	}
	if group != "" {
		n, err := strconv.Atoi(group)
		if g, e := user.LookupGroup(group); e == nil {
			n, err = strconv.Atoi(g.Gid)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("no group %q", group)
		}
		gid = n
	}
	return uid, gid, nil
}

// chownLike gives a file the owner of another; who may not do that keeps it.
func chownLike(f *os.File, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func install(_ context.Context, c *Call) error {
	o, err := c.options("d,directory D m,mode: o,owner: g,group: t,target-directory: T,no-target-directory v,verbose c p,preserve-timestamps")
	if err != nil {
		return err
	}
	mode, err := parseMode(o.value("m", "755"), 0)
	if err != nil {
		return err
	}
	uid, gid, err := parseOwner(o.value("o", "") + ":" + o.value("g", ""))
	if err != nil {
		return err
	}
	finish := func(name string) error {
		return c.named(name, errors.Join(syscall.Chmod(c.path(name), mode), os.Lchown(c.path(name), uid, gid)))
	}
	if o.has("d") {
		return c.perFile(o, func(name string) error {
			if err := c.mkdir(&options{given: []option{{"p", ""}}}, name); err != nil {
				return err
			}
			return finish(name)
		})
	}
	if o.has("D") {
		dir := o.value("t", "")
		if dir == "" && len(o.operands) > 1 {
			dir = filepath.Dir(o.operands[len(o.operands)-1])
		}
		if err := c.mkdir(&options{given: []option{{"p", ""}}}, dir); err != nil {
			return err
		}
	}
	return c.targets(o, func(from, to string) error {
		if err := os.Remove(c.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c.named(to, err)
		}
		k := &copying{c: c, follow: true, keepTimes: o.has("p")}
		if err := k.copy(from, to, true); err != nil {
			return err
		}
		c.told(o, "'%s' -> '%s'", from, to)
		return finish(to)
	})
}

func mktemp(_ context.Context, c *Call) error {
	o, err := c.options("d,directory q,quiet u,dry-run p: tmpdir? suffix: t")
	if err != nil {
		return err
	}
	dir := c.getenv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	template := "tmp.XXXXXXXXXX"
	switch {
	case len(o.operands) > 1:
		return usageError("too many templates")
	case len(o.operands) == 1:
		template = o.operands[0]
		if !o.has("p") && !o.has("tmpdir") && !o.has("t") {
			dir = ""
		}
	}
	if given := o.value(o.last("p", "tmpdir"), ""); given != "" {
		dir = given
	}
	template += o.value("suffix", "")
	i := strings.LastIndex(template, "XXX")
	if i < 0 {
		return usageError(fmt.Sprintf("too few X's in template %q", template))
	}
	end := i + 3
	start := len(strings.TrimRight(template[:end], "X"))
	// os puts random digits where the star is.
	pattern := filepath.Base(template[:start] + "x")[:max(0, len(filepath.Base(template[:start]+"x"))-1)] + "*" + template[end:]
	if prefix := filepath.Dir(template[:start] + "x"); prefix != "." {
		dir = filepath.Join(dir, prefix)
	}
	name, err := c.temporary(dir, pattern, o.has("d"))
	if err != nil {
		if o.has("q") {
			return exit(1)
		}
		return err
	}
	if o.has("u") {
		if err := os.Remove(c.path(name)); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out(), name)
	return nil
}

func (c *Call) temporary(dir, pattern string, directory bool) (string, error) {
	where := c.path(dir)
	if dir == "" {
		if where = c.Dir; where == "" {
			where = "."
		}
	}
	var path string
	if directory {
		made, err := os.MkdirTemp(where, pattern)
		if err != nil {
			return "", err
		}
		path = made
	} else {
		f, err := os.CreateTemp(where, pattern)
		if err != nil {
			return "", err
		}
		if err := f.Close(); err != nil {
			return "", err
		}
		path = f.Name()
	}
	if dir == "" {
		return filepath.Base(path), nil
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

func truncate(_ context.Context, c *Call) error {
	o, err := c.options("s,size: c,no-create")
	if err != nil {
		return err
	}
	n, sign, err := amount(o.value("s", ""))
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		path := c.path(name)
		info, err := os.Stat(path)
		if err != nil {
			if o.has("c") {
				return nil
			}
			f, err := c.create(name, 0)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			if info, err = os.Stat(path); err != nil {
				return err
			}
		}
		to := int64(n)
		switch sign {
		case '+':
			to += info.Size()
		case '-':
			to = max(info.Size()-to, 0)
		}
		return c.named(name, os.Truncate(path, to))
	})
}

func readlink(_ context.Context, c *Call) error {
	o, err := c.options("f,canonicalize e,canonicalize-existing m,canonicalize-missing n,no-newline z,zero q,quiet s,silent v,verbose")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		return usageError("needs a file")
	}
	end := "\n"
	if o.has("z") {
		end = "\x00"
	}
	if o.has("n") && len(o.operands) == 1 {
		end = ""
	}
	for _, name := range o.operands {
		var to string
		if way := o.last("f", "e", "m"); way != "" {
			to, err = c.canonical(name, way[0])
		} else {
			to, err = os.Readlink(c.path(name))
		}
		if err != nil {
			c.status = 1 // readlink says nothing
			continue
		}
		fmt.Fprint(c.out(), to+end)
	}
	return nil
}

func realpath(_ context.Context, c *Call) error {
	o, err := c.options("e,canonicalize-existing m,canonicalize-missing s,strip,no-symlinks z,zero relative-to: q,quiet P,physical")
	if err != nil {
		return err
	}
	end := "\n"
	if o.has("z") {
		end = "\x00"
	}
	way := byte('f')
	if last := o.last("e", "m"); last != "" {
		way = last[0]
	}
	return c.perFile(o, func(name string) error {
		to, err := c.canonical(name, way)
		if o.has("s") {
			to, err = filepath.Abs(c.path(name))
		}
		if err != nil {
			if o.has("q") {
				c.status = 1
				return nil
			}
			return err
		}
		if o.has("relative-to") {
			base, err := c.canonical(o.value("relative-to", ""), way)
			if err != nil {
				return err
			}
			if to, err = filepath.Rel(base, to); err != nil {
				return err
			}
		}
		fmt.Fprint(c.out(), to+end)
		return nil
	})
}

// canonical is the path without links. way is 'e' when all of it must exist, 'f' all
// but the last, 'm' none.
func (c *Call) canonical(name string, way byte) (string, error) {
	path, err := filepath.Abs(c.path(name))
	if err != nil {
		return "", err
	}
	if strings.Contains(name, "..") {
		path = c.path(name) // with its dots, which count behind a link
		if !filepath.IsAbs(path) {
			if path, err = os.Getwd(); err != nil {
				return "", err
			}
			path += "/" + name
		}
	}
	parts := strings.Split(path, "/")
	at := "/"
	for hops := 0; len(parts) > 0; {
		p := parts[0]
		parts = parts[1:]
		switch p {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, p)
		info, err := os.Lstat(next)
		rest := strings.Trim(strings.Join(parts, ""), ".")
		switch {
		case err != nil && (way == 'e' || way == 'f' && (rest != "" || !errors.Is(err, fs.ErrNotExist))):
			return "", c.named(name, err)
		case err == nil && info.Mode()&fs.ModeSymlink != 0:
			if hops++; hops > 40 {
				return "", &os.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
			}
			to, err := os.Readlink(next)
			if err != nil {
				return "", c.named(name, err)
			}
			parts = append(strings.Split(to, "/"), parts...)
			if strings.HasPrefix(to, "/") {
				at = "/"
			}
			continue
		}
		at = next
	}
	return at, nil
}

func dd(ctx context.Context, c *Call) error {
	values := map[string]string{"bs": "512"}
	for _, a := range c.Args[1:] {
		name, value, ok := strings.Cut(a, "=")
		switch name {
		case "--help":
			return errHelp
		case "if", "of", "bs", "count", "skip", "seek", "conv", "status":
		default:
			ok = false
		}
		if !ok {
			return usageError(fmt.Sprintf("unknown operand %q", a))
		}
		values[name] = value
	}
	n := map[string]int64{"count": -1}
	for _, name := range []string{"bs", "count", "skip", "seek"} {
		if v, ok := values[name]; ok {
			var err error
			if n[name], err = size(v); err != nil || n[name] < 0 || name == "bs" && n[name] == 0 {
				return usageError(fmt.Sprintf("invalid number %q", v))
			}
		}
	}
	return c.dd(ctx, values, n)
}

func (c *Call) dd(ctx context.Context, values map[string]string, n map[string]int64) error {
	in, out := c.Stdin, c.Stdout
	if name := values["if"]; name != "" {
		f, err := os.Open(c.path(name))
		if err != nil {
			return c.named(name, err)
		}
		defer f.Close() // was only read
		in = f
	}
	keep, sync := false, false
	for conv := range strings.FieldsFuncSeq(values["conv"], func(r rune) bool { return r == ',' }) {
		switch conv {
		case "notrunc":
			keep = true
		case "fsync", "fdatasync":
			sync = true
		default:
			return usageError(fmt.Sprintf("the conversion %q is not supported", conv))
		}
	}
	if _, err := io.CopyN(io.Discard, in, n["skip"]*n["bs"]); err != nil && err != io.EOF {
		return err
	}
	var f *os.File
	if name := values["of"]; name != "" {
		mode := os.O_TRUNC
		if keep || n["seek"] > 0 {
			mode = 0
		}
		var err error
		if f, err = c.create(name, mode); err != nil {
			return err
		}
		if n["seek"] > 0 {
			if !keep {
				err = f.Truncate(n["seek"] * n["bs"])
			}
			if _, e := f.Seek(n["seek"]*n["bs"], io.SeekStart); e != nil || err != nil {
				return errors.Join(err, e, f.Close())
			}
		}
		out = f
	}
	full, part, total, err := ddBlocks(ctx, in, out, n)
	if f != nil {
		if sync && err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if values["status"] != "none" && err == nil {
		fmt.Fprintf(c.Stderr, "%d+%d records in\n%d+%d records out\n", full, part, full, part)
		if values["status"] != "noxfer" {
			fmt.Fprintf(c.Stderr, "%d bytes copied\n", total)
		}
	}
	return err
}

func ddBlocks(ctx context.Context, in io.Reader, out io.Writer, n map[string]int64) (full, part, total int64, _ error) {
	buf := make([]byte, n["bs"])
	for i := int64(0); (n["count"] < 0 || i < n["count"]) && ctx.Err() == nil; i++ {
		got, err := in.Read(buf)
		if got > 0 {
			if _, err := out.Write(buf[:got]); err != nil {
				return full, part, total, err
			}
			total += int64(got)
			if int64(got) == n["bs"] {
				full++
			} else {
				part++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return full, part, total, err
		}
	}
	return full, part, total, ctx.Err()
}
