package toolbox

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func listTools() map[string]tool {
	return map[string]tool{
		"ls":   {run: ls, fail: 2, usage: "[-1aAdFhilnprRsStu] [--full-time] [--group-directories-first] [file]…", lacks: "columns (there is one name a line, as in a pipe), colours, -c, -C, -k, -m, -q, -x, -X, and quoting of odd names"},
		"stat": {run: stat, usage: "[-L] [-c format | --printf format] [-t] file…", lacks: "-f, and the format letters that are not one of aAbBdfFgGhinNosTtuUwWxXyYzZ"},
		"du":   {run: du, usage: "[-abhks] [-d depth] [--apparent-size] [file]…", lacks: "-c, -L, -x, --exclude and --time"},
	}
}

// entry is a file to list.
type entry struct {
	name string
	info fs.FileInfo
	st   *syscall.Stat_t
	link string
}

func (c *Call) entry(path, name string, follow bool) (entry, error) {
	stat := os.Lstat
	if follow {
		stat = os.Stat
	}
	info, err := stat(path)
	if err != nil {
		return entry{}, c.named(name, err)
	}
	e := entry{name: name, info: info, st: info.Sys().(*syscall.Stat_t)}
	if info.Mode()&fs.ModeSymlink != 0 {
		// A link that cannot be read is shown without what it points to.
		e.link, _ = os.Readlink(path)
	}
	return e, nil
}

func ls(_ context.Context, c *Call) error {
	o, err := c.options("1 a,all A,almost-all d,directory F,classify h,human-readable i,inode l n,numeric-uid-gid p r,reverse R,recursive s,size S t u U f full-time group-directories-first color,colour? L,dereference G,no-group g o N,literal b,escape")
	if err != nil {
		return err
	}
	if color := o.value("color", "never"); color != "never" && color != "auto" {
		return usageError("colours are not supported")
	}
	names := o.operands
	if len(names) == 0 {
		names = []string{"."}
	}
	var files, dirs []entry
	for _, name := range names {
		follow := !o.has("d") && !o.has("l") && !o.has("F") || o.has("L")
		e, err := c.entry(c.path(name), name, follow)
		if err != nil && follow {
			e, err = c.entry(c.path(name), name, false)
		}
		if err != nil {
			c.say(err)
			c.status = 2
			continue
		}
		if e.info.IsDir() && !o.has("d") {
			dirs = append(dirs, e)
		} else {
			files = append(files, e)
		}
	}
	order(o, files)
	order(o, dirs)
	c.rows(o, files, false)
	for i, d := range dirs {
		if i > 0 || len(files) > 0 {
			c.line("", false)
		}
		if err := c.lsDir(o, d.name, len(names) > 1 || o.has("R")); err != nil {
			return err
		}
	}
	return nil
}

func (c *Call) lsDir(o *options, name string, titled bool) error {
	list, err := os.ReadDir(c.path(name))
	if err != nil {
		c.say(c.named(name, err))
		c.status = 2
		return nil
	}
	var all []entry
	hidden := o.last("a", "A", "f")
	if hidden == "a" || hidden == "f" {
		for _, dot := range []string{".", ".."} {
			if e, err := c.entry(c.path(name)+"/"+dot, dot, false); err == nil {
				all = append(all, e)
			}
		}
	}
	for _, d := range list {
		if hidden == "" && strings.HasPrefix(d.Name(), ".") {
			continue
		}
		e, err := c.entry(c.path(name)+"/"+d.Name(), d.Name(), o.has("L"))
		if err != nil {
			if err := c.warn(err); err != nil {
				return err
			}
			continue
		}
		all = append(all, e)
	}
	order(o, all)
	if titled {
		c.line(name+":", false)
	}
	c.rows(o, all, true)
	for _, e := range all {
		if o.has("R") && e.info.IsDir() && e.name != "." && e.name != ".." {
			c.line("", false)
			if err := c.lsDir(o, strings.TrimRight(name, "/")+"/"+e.name, true); err != nil {
				return err
			}
		}
	}
	return nil
}

func order(o *options, all []entry) {
	if o.has("U") || o.has("f") {
		return
	}
	slices.SortStableFunc(all, func(a, b entry) int {
		if o.has("group-directories-first") && a.info.IsDir() != b.info.IsDir() {
			if a.info.IsDir() {
				return -1
			}
			return 1
		}
		sign := 1
		if o.has("r") {
			sign = -1
		}
		switch o.last("S", "t") {
		case "S":
			if a.st.Size != b.st.Size {
				return sign * compare(b.st.Size, a.st.Size)
			}
		case "t":
			x, y := stamp(o, a), stamp(o, b)
			if !x.Equal(y) {
				return sign * y.Compare(x)
			}
		}
		return sign * strings.Compare(a.name, b.name)
	})
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func stamp(o *options, e entry) time.Time {
	if o.has("u") {
		return time.Unix(e.st.Atim.Unix())
	}
	return e.info.ModTime()
}

// rows prints entries, with their columns as wide as the widest.
func (c *Call) rows(o *options, all []entry, total bool) {
	long := o.has("l") || o.has("n") || o.has("full-time") || o.has("g") || o.has("o")
	blocks := int64(0)
	var table [][]string
	for _, e := range all {
		blocks += e.st.Blocks
		var row []string
		if o.has("i") {
			row = append(row, strconv.FormatUint(e.st.Ino, 10))
		}
		if o.has("s") {
			row = append(row, human(e.st.Blocks*512, o.has("h"), 1024))
		}
		if long {
			row = append(row, c.longRow(o, e)...)
		}
		table = append(table, row)
	}
	if total && (long || o.has("s")) {
		c.line("total "+human(blocks*512, o.has("h"), 1024), false)
	}
	widths := map[int]int{}
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	left := leftColumns(o, long)
	for i, e := range all {
		for j, cell := range table[i] {
			width := widths[j]
			if left[j] {
				width = -width
			}
			fmt.Fprintf(c.out(), "%*s ", width, cell)
		}
		name := e.name + mark(o, e)
		if long && e.link != "" {
			name = e.name + " -> " + e.link
		}
		c.line(name, false)
	}
}

// leftColumns are those of the mode, the owner and the group.
func leftColumns(o *options, long bool) map[int]bool {
	left := map[int]bool{}
	if !long {
		return left
	}
	first := 0
	for _, f := range []string{"i", "s"} {
		if o.has(f) {
			first++
		}
	}
	left[first] = true
	at := first + 2
	if !o.has("g") {
		left[at] = true
		at++
	}
	if !o.has("o") && !o.has("G") {
		left[at] = true
	}
	return left
}

func (c *Call) longRow(o *options, e entry) []string {
	row := []string{modeText(e.st.Mode), strconv.FormatUint(uint64(e.st.Nlink), 10)}
	owner, group := strconv.Itoa(int(e.st.Uid)), strconv.Itoa(int(e.st.Gid))
	if !o.has("n") {
		owner, _ = nameOf("user", int(e.st.Uid))
		group, _ = nameOf("group", int(e.st.Gid))
	}
	if !o.has("g") {
		row = append(row, owner)
	}
	if !o.has("o") && !o.has("G") {
		row = append(row, group)
	}
	length := human(e.st.Size, o.has("h"), 1)
	if t := e.st.Mode & syscall.S_IFMT; t == syscall.S_IFCHR || t == syscall.S_IFBLK {
		length = fmt.Sprintf("%d, %d", unix.Major(e.st.Rdev), unix.Minor(e.st.Rdev))
	}
	t := stamp(o, e).In(c.zone())
	when := t.Format("Jan _2 15:04")
	switch age := time.Since(t); {
	case o.has("full-time"):
		when = t.Format("2006-01-02 15:04:05.000000000 -0700")
	case age > 182*24*time.Hour || age < 0:
		when = t.Format("Jan _2  2006")
	}
	return append(row, length, when)
}

// human is a size in units, or with -h as GNU's writes it: rounded up, with one
// decimal below ten.
func human(n int64, on bool, unit int64) string {
	if !on {
		return strconv.FormatInt((n+unit-1)/unit, 10)
	}
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	v, i := float64(n), 0
	for v >= 1024 && i < 6 {
		v, i = v/1024, i+1
	}
	letter := "KMGTPE"[i-1 : i]
	if up := float64(int64(v * 10)); up < 100 {
		if up < v*10 {
			up++
		}
		if up < 100 {
			return fmt.Sprintf("%.1f%s", up/10, letter)
		}
	}
	up := int64(v)
	if float64(up) < v {
		up++
	}
	return strconv.FormatInt(up, 10) + letter
}

func mark(o *options, e entry) string {
	mode := e.info.Mode()
	switch {
	case mode.IsDir() && (o.has("F") || o.has("p")):
		return "/"
	case !o.has("F"):
		return ""
	case mode&fs.ModeSymlink != 0:
		return "@"
	case mode&fs.ModeNamedPipe != 0:
		return "|"
	case mode&fs.ModeSocket != 0:
		return "="
	case mode&0o111 != 0:
		return "*"
	}
	return ""
}
