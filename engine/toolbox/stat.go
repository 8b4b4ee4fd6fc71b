package toolbox

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// modeText is a mode as ls -l shows it.
func modeText(mode uint32) string {
	kinds := map[uint32]byte{syscall.S_IFDIR: 'd', syscall.S_IFLNK: 'l', syscall.S_IFIFO: 'p', syscall.S_IFSOCK: 's', syscall.S_IFCHR: 'c', syscall.S_IFBLK: 'b'}
	out := []byte("-rwxrwxrwx")
	if k, ok := kinds[mode&syscall.S_IFMT]; ok {
		out[0] = k
	}
	for i := range 9 {
		if mode&(0o400>>i) == 0 {
			out[i+1] = '-'
		}
	}
	for i, special := range []struct {
		bit      uint32
		on, only byte
	}{{0o4000, 's', 'S'}, {0o2000, 's', 'S'}, {0o1000, 't', 'T'}} {
		at := 3 * (i + 1)
		switch {
		case mode&special.bit == 0:
		case out[at] == 'x':
			out[at] = special.on
		default:
			out[at] = special.only
		}
	}
	return string(out)
}

func stat(_ context.Context, c *Call) error {
	o, err := c.options("L,dereference c,format: printf: t,terse")
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		e, err := c.entry(c.path(name), name, o.has("L"))
		if err != nil {
			return err
		}
		format := o.value("c", "")
		switch {
		case o.has("printf"):
			format = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\0`, "\x00").Replace(o.value("printf", ""))
		case o.has("t"):
			format = "%n %s %b %f %u %g %D %i %h %t %T %X %Y %Z %W %o\n"
		case !o.has("c"):
			format = "  File: %N\n  Size: %s\tBlocks: %b\tIO Block: %o\t%F\nDevice: %d\tInode: %i\tLinks: %h\nAccess: (0%a/%A)  Uid: (%u/%U)   Gid: (%g/%G)\nAccess: %x\nModify: %y\nChange: %z\n"
		default:
			format += "\n"
		}
		text, err := c.statText(format, e)
		c.out().WriteString(text) // seen when flushed
		return err
	})
}

func (c *Call) statText(format string, e entry) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 >= len(format) {
			b.WriteByte(format[i])
			continue
		}
		j := i + 1
		for j < len(format)-1 && strings.IndexByte("0123456789-+#. ", format[j]) >= 0 {
			j++
		}
		value, ok := c.statValue(format[j], e)
		if !ok {
			return "", usageError(fmt.Sprintf("the format %q is not supported", format[i:j+1]))
		}
		flags := format[i+1 : j]
		switch {
		case strings.HasPrefix(flags, "0"):
			width, _ := strconv.Atoi(flags) // digits alone
			value = strings.Repeat("0", max(width-len(value), 0)) + value
		case flags == "#":
			value = "0" + value
		case flags != "":
			width, err := strconv.Atoi(flags)
			if err != nil {
				return "", usageError(fmt.Sprintf("the format %q is not supported", format[i:j+1]))
			}
			value = fmt.Sprintf("%*s", width, value)
		}
		b.WriteString(value)
		i = j
	}
	return b.String(), nil
}

func (c *Call) statValue(letter byte, e entry) (string, bool) {
	s := e.st
	number := func(n int64) (string, bool) { return strconv.FormatInt(n, 10), true }
	when := func(t syscall.Timespec) (string, bool) {
		return time.Unix(t.Unix()).In(c.zone()).Format("2006-01-02 15:04:05.000000000 -0700"), true
	}
	switch letter {
	case '%':
		return "%", true
	case 'a':
		return strconv.FormatUint(uint64(s.Mode&0o7777), 8), true
	case 'A':
		return modeText(s.Mode), true
	case 'b':
		return number(s.Blocks)
	case 'B':
		return "512", true
	case 'd':
		return number(int64(s.Dev))
	case 'D':
		return strconv.FormatUint(s.Dev, 16), true
	case 'f':
		return strconv.FormatUint(uint64(s.Mode), 16), true
	case 'F':
		return statKind(s), true
	case 'g':
		return number(int64(s.Gid))
	case 'G':
		name, _ := nameOf("group", int(s.Gid))
		return name, true
	case 'h':
		return number(int64(s.Nlink))
	case 'i':
		return strconv.FormatUint(s.Ino, 10), true
	case 'n':
		return e.name, true
	case 'N':
		if e.link != "" {
			return "'" + e.name + "' -> '" + e.link + "'", true
		}
		return "'" + e.name + "'", true
	case 'o':
		return number(int64(s.Blksize))
	case 's':
		return number(s.Size)
	case 't':
		return strconv.FormatUint(uint64(unix.Major(s.Rdev)), 16), true
	case 'T':
		return strconv.FormatUint(uint64(unix.Minor(s.Rdev)), 16), true
	case 'u':
		return number(int64(s.Uid))
	case 'U':
		name, _ := nameOf("user", int(s.Uid))
		return name, true
	case 'w':
		return "-", true
	case 'W':
		return "0", true
	case 'x':
		return when(s.Atim)
	case 'X':
		return number(s.Atim.Sec)
	case 'y':
		return when(s.Mtim)
	case 'Y':
		return number(s.Mtim.Sec)
	case 'z':
		return when(s.Ctim)
	case 'Z':
		return number(s.Ctim.Sec)
	}
	return "", false
}

func statKind(s *syscall.Stat_t) string {
	switch s.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		return "directory"
	case syscall.S_IFLNK:
		return "symbolic link"
	case syscall.S_IFIFO:
		return "fifo"
	case syscall.S_IFSOCK:
		return "socket"
	case syscall.S_IFCHR:
		return "character special file"
	case syscall.S_IFBLK:
		return "block special file"
	}
	if s.Size == 0 {
		return "regular empty file"
	}
	return "regular file"
}
