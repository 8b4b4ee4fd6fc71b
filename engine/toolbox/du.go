package toolbox

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// counting is du at work: a file with several names counts once.
type counting struct {
	c     *Call
	o     *options
	depth int
	seen  map[[2]uint64]bool
}

func du(_ context.Context, c *Call) error {
	o, err := c.options("a,all b,bytes h,human-readable k s,summarize d,max-depth: apparent-size m")
	if err != nil {
		return err
	}
	d := &counting{c: c, o: o, depth: 1 << 30, seen: map[[2]uint64]bool{}}
	if o.has("s") {
		d.depth = 0
	}
	if o.has("d") {
		if d.depth, err = strconv.Atoi(o.value("d", "")); err != nil {
			return usageError("invalid depth")
		}
	}
	names := o.operands
	if len(names) == 0 {
		names = []string{"."}
	}
	for _, name := range names {
		if _, err := d.tree(name, 0); err != nil {
			return err
		}
	}
	return nil
}

func (d *counting) tree(name string, depth int) (sum int64, _ error) {
	e, err := d.c.entry(d.c.path(name), name, false)
	if err != nil {
		return 0, d.c.warn(err)
	}
	if key, names := identity(e.info); names > 1 && !e.info.IsDir() {
		if d.seen[key] {
			return 0, nil
		}
		d.seen[key] = true
	}
	sum = e.st.Blocks * 512
	if d.o.has("b") || d.o.has("apparent-size") {
		sum = e.st.Size
	}
	if e.info.IsDir() {
		list, err := os.ReadDir(d.c.path(name))
		if err != nil {
			if err := d.c.warn(d.c.named(name, err)); err != nil {
				return 0, err
			}
		}
		for _, sub := range list {
			n, err := d.tree(filepath.Join(name, sub.Name()), depth+1)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	if depth == 0 || depth <= d.depth && (e.info.IsDir() || d.o.has("a")) {
		unit := int64(1024)
		switch d.o.last("b", "k", "m") {
		case "b":
			unit = 1
		case "m":
			unit = 1 << 20
		}
		d.c.line(human(sum, d.o.has("h"), unit)+"\t"+name, false)
	}
	return sum, nil
}

// entryOf is an entry without a name.
func entryOf(info fs.FileInfo) entry {
	return entry{info: info, st: info.Sys().(*syscall.Stat_t)}
}

func accessible(path string, mode uint32) bool { return unix.Access(path, mode) == nil }
