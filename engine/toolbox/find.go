package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
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
