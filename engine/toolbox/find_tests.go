package toolbox

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	glob "mvdan.cc/sh/v3/pattern"
)

// list is expressions with commas, or -o, or -a and nothing between.
func (f *finder) list() (test, error) {
	a, err := f.or()
	for err == nil && f.take(",") {
		var b test
		first := a
		if b, err = f.or(); err == nil {
			a = func(v *visit) bool { first(v); return b(v) }
		}
	}
	return a, err
}

func (f *finder) take(words ...string) bool {
	if len(f.args) > 0 && slices.Contains(words, f.args[0]) {
		f.args = f.args[1:]
		return true
	}
	return false
}

func (f *finder) or() (test, error) {
	a, err := f.and()
	for err == nil && f.take("-o", "-or") {
		var b test
		first := a
		if b, err = f.and(); err == nil {
			a = func(v *visit) bool { return first(v) || b(v) }
		}
	}
	return a, err
}

func (f *finder) and() (test, error) {
	a, err := f.primary()
	for err == nil && len(f.args) > 0 && !slices.Contains([]string{"-o", "-or", ",", ")"}, f.args[0]) {
		f.take("-a", "-and")
		var b test
		first := a
		if b, err = f.primary(); err == nil {
			a = func(v *visit) bool { return first(v) && b(v) }
		}
	}
	return a, err
}

func (f *finder) primary() (test, error) {
	if len(f.args) == 0 {
		return nil, usageError("an expression is missing")
	}
	word := f.args[0]
	f.args = f.args[1:]
	switch word {
	case "!", "-not":
		t, err := f.primary()
		return func(v *visit) bool { return !t(v) }, err
	case "(":
		t, err := f.list()
		if err == nil && !f.take(")") {
			err = usageError("a ) is missing")
		}
		return t, err
	case "-exec":
		return f.exec()
	}
	if t := f.plainTest(word); t != nil {
		return t, nil
	}
	if len(f.args) == 0 {
		return nil, usageError(fmt.Sprintf("unknown, or without its argument: '%s'", word))
	}
	value := f.args[0]
	f.args = f.args[1:]
	return f.valueTest(word, value)
}

// plainTest is a test or action without an argument, or nil.
func (f *finder) plainTest(word string) test {
	yes := func(*visit) bool { return true }
	access := func(mode uint32) test {
		return func(v *visit) bool { return accessible(f.c.path(v.path), mode) }
	}
	switch word {
	case "-true", "-noleaf", "-warn", "-nowarn":
		return yes
	case "-false":
		return func(*visit) bool { return false }
	case "-depth", "-d":
		f.depth = true
		return yes
	case "-xdev", "-mount":
		f.xdev = true
		return yes
	case "-prune":
		return func(*visit) bool { f.prune = !f.depth; return true }
	case "-quit":
		f.acts = true
		return func(*visit) bool { f.quit = true; return true }
	case "-print":
		f.acts = true
		return func(v *visit) bool { return f.print(v.path, '\n') }
	case "-print0":
		f.acts = true
		return func(v *visit) bool { return f.print(v.path, 0) }
	case "-delete":
		f.acts, f.depth = true, true
		return f.remove
	case "-empty":
		return f.empty
	case "-executable":
		return access(1)
	case "-readable":
		return access(4)
	case "-writable":
		return access(2)
	}
	return nil
}

func (f *finder) remove(v *visit) bool {
	if v.path == "." {
		return true
	}
	if err := os.Remove(f.c.path(v.path)); err != nil {
		f.told(f.c.named(v.path, err))
		return false
	}
	return true
}

func (f *finder) empty(v *visit) bool {
	if v.info.IsDir() {
		entries, err := os.ReadDir(f.c.path(v.path))
		return err == nil && len(entries) == 0
	}
	return v.info.Mode().IsRegular() && v.info.Size() == 0
}

func (f *finder) valueTest(word, value string) (test, error) {
	switch word {
	case "-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename", "-lname":
		return f.glob(word, value)
	case "-regex", "-iregex":
		n, groups, err := parsePattern(value, dialect{}, 0)
		if err != nil {
			return nil, err
		}
		whole := &node{kind: kindCat, sub: []*node{{kind: kindTextBegin}, {kind: kindGroup, sub: []*node{n}}, {kind: kindTextEnd}}}
		re, err := newPattern(whole, groups, dialect{fold: word == "-iregex"})
		return func(v *visit) bool {
			ok, err := re.matches([]byte(v.path))
			f.told(err)
			return ok
		}, err
	case "-type":
		return findType(value)
	case "-maxdepth", "-mindepth":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return nil, usageError(fmt.Sprintf("invalid depth %q", value))
		}
		if word == "-maxdepth" {
			f.high = n
		} else {
			f.low = n
		}
		return func(*visit) bool { return true }, nil
	case "-newer", "-samefile":
		info, err := os.Stat(f.c.path(value))
		return func(v *visit) bool {
			if word == "-samefile" {
				return os.SameFile(v.info, info)
			}
			return v.info.ModTime().After(info.ModTime())
		}, f.c.named(value, err)
	case "-perm":
		return findPerm(value)
	case "-user", "-group":
		owner := value
		if word == "-group" {
			owner = ":" + value
		}
		uid, gid, err := parseOwner(owner)
		return func(v *visit) bool {
			e := entryOf(v.info)
			return uid >= 0 && int(e.st.Uid) == uid || gid >= 0 && int(e.st.Gid) == gid
		}, err
	case "-printf":
		f.acts = true
		return func(v *visit) bool { return f.printf(value, v) }, f.checkFormat(value)
	}
	return f.numberTest(word, value)
}

func (f *finder) glob(word, value string) (test, error) {
	expression, err := glob.Regexp(value, glob.EntireString|glob.NoGlobStar)
	if err != nil {
		return nil, usageError(fmt.Sprintf("invalid pattern %q", value))
	}
	re, err := compileGlob(expression, strings.HasPrefix(word, "-i"))
	return func(v *visit) bool {
		text := v.path
		switch {
		case strings.HasSuffix(word, "lname"):
			text, _ = os.Readlink(f.c.path(v.path)) // what is no link has no target
			if text == "" {
				return false
			}
		case strings.HasSuffix(word, "name") && !strings.HasSuffix(word, "wholename"):
			text = filepath.Base(v.path)
		}
		return re.MatchString(text)
	}, err
}

func findType(value string) (test, error) {
	kinds := map[string]fs.FileMode{"f": 0, "d": fs.ModeDir, "l": fs.ModeSymlink, "p": fs.ModeNamedPipe, "s": fs.ModeSocket, "b": fs.ModeDevice, "c": fs.ModeDevice | fs.ModeCharDevice}
	var wanted []fs.FileMode
	for k := range strings.SplitSeq(value, ",") {
		m, ok := kinds[k]
		if !ok {
			return nil, usageError(fmt.Sprintf("unknown type %q", k))
		}
		wanted = append(wanted, m)
	}
	return func(v *visit) bool { return slices.Contains(wanted, v.info.Mode().Type()) }, nil
}

func findPerm(value string) (test, error) {
	how := byte(0)
	if value != "" && (value[0] == '-' || value[0] == '/') {
		how, value = value[0], value[1:]
	}
	bits, err := parseMode(value, 0)
	return func(v *visit) bool {
		has := unixMode(v.info.Mode())
		switch how {
		case '-':
			return has&bits == bits
		case '/':
			return bits == 0 || has&bits != 0
		}
		return has == bits
	}, err
}

// numberTest compares with +N, -N or N.
func (f *finder) numberTest(word, value string) (test, error) {
	var of func(v *visit) int64
	digits, unit := value, int64(1)
	switch word {
	case "-size":
		unit = 512
		if i := strings.IndexByte("bcwkMG", value[max(len(value)-1, 0)]); value != "" && i >= 0 {
			digits, unit = value[:len(value)-1], []int64{512, 1, 2, 1024, 1 << 20, 1 << 30}[i]
		}
		of = func(v *visit) int64 { return (v.info.Size() + unit - 1) / unit }
	case "-mtime":
		of = func(v *visit) int64 { return int64(f.now.Sub(v.info.ModTime()) / (24 * time.Hour)) }
	case "-mmin":
		of = func(v *visit) int64 { return int64((f.now.Sub(v.info.ModTime()) + time.Minute - 1) / time.Minute) }
	case "-links":
		of = func(v *visit) int64 { _, n := identity(v.info); return int64(n) }
	case "-inum":
		of = func(v *visit) int64 { key, _ := identity(v.info); return int64(key[1]) }
	default:
		return nil, usageError(fmt.Sprintf("'%s' is unknown or not supported", word))
	}
	sign := byte(0)
	if digits != "" && (digits[0] == '+' || digits[0] == '-') {
		sign, digits = digits[0], digits[1:]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil, usageError(fmt.Sprintf("invalid number %q", value))
	}
	return func(v *visit) bool {
		switch has := of(v); sign {
		case '+':
			return has > n
		case '-':
			return has < n
		default:
			return has == n
		}
	}, nil
}
