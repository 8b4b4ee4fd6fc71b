package toolbox

import (
	"bytes"
	"context"
	"errors"
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

func findTool() tool {
	return tool{
		run:   find,
		usage: "[-H|-L|-P] [path]… [expression]: ( ) ! -not -a -o , -name -iname -path -ipath -regex -type -size -empty -newer -mtime -mmin -perm -user -group -links -inum -samefile -maxdepth -mindepth -depth -xdev -prune -print -print0 -printf -delete -exec … ; -exec … + -quit -true -false -executable -readable -writable",
		lacks: "-ok, -ls, -fprint and the like, -regextype, -execdir, -atime, -ctime, -newerXY; -printf has %p %f %h %P %s %m %M %y %d %l %u %g %T@ %%; -regex is a basic pattern over the whole path",
	}
}

// visit is a file that find looks at.
type visit struct {
	path  string // as it is printed
	root  string // the operand it is below
	depth int
	info  fs.FileInfo
}

// test is one part of an expression.
type test func(v *visit) bool

type finder struct {
	ctx    context.Context
	c      *Call
	args   []string
	follow bool
	roots  bool // -H
	depth  bool
	xdev   bool
	low    int
	high   int
	acts   bool // an action was given, so that -print is not meant
	prune  bool
	quit   bool
	err    error
	atEnd  []func() // what -exec … + still has to do
	now    time.Time
}

func find(ctx context.Context, c *Call) error {
	f := &finder{ctx: ctx, c: c, args: c.Args[1:], high: 1 << 30, now: time.Now()}
	var roots []string
	for len(f.args) > 0 && (f.args[0] == "-H" || f.args[0] == "-L" || f.args[0] == "-P") {
		f.follow, f.roots = f.args[0] == "-L", f.args[0] == "-H"
		f.args = f.args[1:]
	}
	for len(f.args) > 0 && !strings.HasPrefix(f.args[0], "-") && f.args[0] != "(" && f.args[0] != "!" {
		roots, f.args = append(roots, f.args[0]), f.args[1:]
	}
	if slices.Contains(f.args, "--help") {
		return errHelp
	}
	expression := func(*visit) bool { return true }
	if len(f.args) > 0 {
		e, err := f.list()
		if err == nil && len(f.args) > 0 {
			err = usageError(fmt.Sprintf("unexpected %q", f.args[0]))
		}
		if err != nil {
			return err
		}
		expression = e
	}
	if !f.acts {
		wanted := expression
		expression = func(v *visit) bool { return wanted(v) && f.print(v.path, '\n') }
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	for _, root := range roots {
		f.walk(&visit{path: root, root: root}, expression, nil)
	}
	for _, last := range f.atEnd {
		last()
	}
	return errors.Join(f.err, ctx.Err())
}

func (f *finder) print(text string, end byte) bool {
	_, err := f.c.out().WriteString(text)
	if err == nil {
		err = f.c.out().WriteByte(end)
	}
	f.fail(err)
	return true
}

// fail ends it all.
func (f *finder) fail(err error) {
	if err != nil && f.err == nil {
		f.err, f.quit = err, true
	}
}

// told says an error of one file and goes on.
func (f *finder) told(err error) {
	if err != nil {
		f.fail(f.c.warn(err))
	}
}

func (f *finder) walk(v *visit, expression test, above []fs.FileInfo) {
	if f.quit || f.ctx.Err() != nil {
		return
	}
	stat := os.Lstat
	if f.follow || f.roots && v.depth == 0 {
		stat = os.Stat
	}
	info, err := stat(f.c.path(v.path))
	if err != nil && f.follow {
		info, err = os.Lstat(f.c.path(v.path))
	}
	if err != nil {
		f.told(f.c.named(v.path, err))
		return
	}
	v.info = info
	for _, a := range above {
		if os.SameFile(a, info) {
			f.told(fmt.Errorf("%s: a loop of directories", v.path))
			return
		}
	}
	f.prune = false
	if !f.depth && v.depth >= f.low {
		expression(v)
	}
	if info.IsDir() && !f.prune && !f.quit && v.depth < f.high && (!f.xdev || len(above) == 0 || device(above[0]) == device(info)) {
		f.below(v, expression, append(above[:len(above):len(above)], info))
	}
	if f.depth && v.depth >= f.low && !f.quit {
		expression(v)
	}
}

func device(info fs.FileInfo) uint64 {
	key, _ := identity(info)
	return key[0]
}

func (f *finder) below(v *visit, expression test, above []fs.FileInfo) {
	entries, err := os.ReadDir(f.c.path(v.path))
	if err != nil {
		f.told(f.c.named(v.path, err))
	}
	if !f.follow {
		above = above[:1] // without links there are no loops; the first says the device
	}
	for _, e := range entries {
		path := v.path + "/" + e.Name()
		if strings.HasSuffix(v.path, "/") {
			path = v.path + e.Name()
		}
		f.walk(&visit{path: path, root: v.root, depth: v.depth + 1}, expression, above)
	}
}

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

// exec is -exec … ; or -exec … {} +.
func (f *finder) exec() (test, error) {
	f.acts = true
	end := slices.IndexFunc(f.args, func(a string) bool { return a == ";" || a == "+" })
	for end > 0 && f.args[end] == "+" && f.args[end-1] != "{}" {
		next := slices.IndexFunc(f.args[end+1:], func(a string) bool { return a == ";" || a == "+" })
		if next < 0 {
			return nil, usageError("-exec has no ; or {} +")
		}
		end += 1 + next
	}
	if end < 1 {
		return nil, usageError("-exec has no command, or no ; or {} +")
	}
	command, many := slices.Clone(f.args[:end]), f.args[end] == "+"
	f.args = f.args[end+1:]
	run := func(args []string) bool {
		f.fail(f.c.out().Flush())
		return f.c.command(f.ctx, args, f.c.Env) == 0
	}
	if !many {
		return func(v *visit) bool {
			var args []string
			for _, a := range command {
				args = append(args, strings.ReplaceAll(a, "{}", v.path))
			}
			return run(args)
		}, nil
	}
	command = command[:len(command)-1]
	var waiting []string
	size := 0
	flush := func() {
		if len(waiting) > 0 && !run(append(slices.Clone(command), waiting...)) {
			f.c.status = 1
		}
		waiting, size = nil, 0
	}
	f.atEnd = append(f.atEnd, flush)
	return func(v *visit) bool {
		if waiting, size = append(waiting, v.path), size+len(v.path)+1; size > 100_000 {
			flush()
		}
		return true
	}, nil
}

func (f *finder) checkFormat(format string) error {
	_, err := f.format(format, nil)
	return err
}

func (f *finder) printf(format string, v *visit) bool {
	text, err := f.format(format, v)
	f.fail(err)
	_, err = f.c.out().Write(text)
	f.fail(err)
	return true
}

// format fills a -printf in; without a file it only checks.
func (f *finder) format(format string, v *visit) ([]byte, error) {
	var b bytes.Buffer
	for i := 0; i < len(format); i++ {
		if format[i] == '\\' && i+1 < len(format) {
			i++
			j := strings.IndexByte(`ntr\0abfv`, format[i])
			if j < 0 {
				return nil, usageError(fmt.Sprintf(`\%c in -printf is not supported`, format[i]))
			}
			b.WriteByte("\n\t\r\\\x00\a\b\f\v"[j])
			continue
		}
		if format[i] != '%' || i+1 >= len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		directive := format[i : i+1]
		if directive == "T" && i+1 < len(format) {
			i++
			directive += format[i : i+1]
		}
		value, ok := f.directive(directive, v)
		if !ok {
			return nil, usageError(fmt.Sprintf("%%%s in -printf is not supported", directive))
		}
		b.WriteString(value)
	}
	return b.Bytes(), nil
}

func (f *finder) directive(d string, v *visit) (string, bool) {
	if v == nil {
		return "", slices.Contains(strings.Fields("% p f h P s m M y d l u g i n T@"), d)
	}
	e := entryOf(v.info)
	letter := map[string]byte{"m": 'a', "M": 'A', "s": 's', "i": 'i', "n": 'h', "u": 'U', "g": 'G'}[d]
	if letter != 0 {
		return f.c.statValue(letter, e)
	}
	switch d {
	case "%":
		return "%", true
	case "p":
		return v.path, true
	case "f":
		return filepath.Base(v.path), true
	case "h":
		if i := strings.LastIndexByte(v.path, '/'); i >= 0 {
			return v.path[:i], true
		}
		return ".", true
	case "P":
		return strings.TrimPrefix(strings.TrimPrefix(v.path, v.root), "/"), true
	case "y":
		kind := modeText(e.st.Mode)[:1]
		if kind == "-" {
			kind = "f"
		}
		return kind, true
	case "d":
		return strconv.Itoa(v.depth), true
	case "l":
		to, err := os.Readlink(f.c.path(v.path))
		if err != nil {
			to = "" // no link
		}
		return to, true
	case "T@":
		t := v.info.ModTime()
		return fmt.Sprintf("%d.%09d0", t.Unix(), t.Nanosecond()), true
	}
	return "", false
}
