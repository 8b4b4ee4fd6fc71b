package toolbox

import (
	"context"
	"errors"
	"fmt"
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
