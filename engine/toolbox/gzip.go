package toolbox

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

func gzipTools() map[string]tool {
	lacks := "-l, -r, -S and -N; a file's name and time are not written, as with -n, so that the same content gives the same bytes"
	return map[string]tool{
		"gzip":   {run: gzipFiles, usage: "[-123456789] [-cdfknqtv] [file]…", lacks: lacks},
		"gunzip": {run: gzipFiles, usage: "[-cfknqtv] [file]…", lacks: lacks},
		"zcat":   {run: gzipFiles, usage: "[-f] [file]…", lacks: lacks},
	}
}

func gzipFiles(_ context.Context, c *Call) error {
	o, err := c.options("c,stdout,to-stdout d,decompress,uncompress f,force k,keep n,no-name q,quiet t,test v,verbose # fast best")
	if err != nil {
		return err
	}
	z := &zipping{c: c, o: o, level: 6}
	z.unpack = o.has("d") || o.has("t") || c.Args[0] != "gzip"
	z.stdout = o.has("c") || c.Args[0] == "zcat"
	switch o.last("#", "fast", "best") {
	case "#":
		if z.level = int(o.value("#", "6")[0] - '0'); z.level < 1 || len(o.value("#", "6")) > 1 {
			return usageError("the level is 1 to 9")
		}
	case "fast":
		z.level = 1
	case "best":
		z.level = 9
	}
	names := o.operands
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		if err := z.file(name); err != nil {
			if err := c.warn(err); err != nil {
				return err
			}
		}
	}
	return nil
}

type zipping struct {
	c              *Call
	o              *options
	unpack, stdout bool
	level          int
}

func (z *zipping) file(name string) error {
	if name == "-" {
		return z.copy(z.c.out(), z.c.Stdin, "standard input")
	}
	in, err := z.c.open(name)
	if err != nil {
		return err
	}
	defer in.Close() // was only read
	switch {
	case z.o.has("t"):
		return z.copy(io.Discard, in, name)
	case z.stdout:
		return z.copy(z.c.out(), in, name)
	}
	to, err := z.target(name)
	if err != nil {
		return err
	}
	info, err := in.(*os.File).Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file -- ignored", name)
	}
	mode := os.O_EXCL
	if z.o.has("f") {
		mode = os.O_TRUNC
	}
	out, err := z.c.create(to, mode)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, bufferSize)
	err = z.copy(w, in, name)
	err = errors.Join(err, w.Flush(), chownLike(out, info), out.Chmod(info.Mode().Perm()), out.Close())
	if err != nil {
		return errors.Join(err, os.Remove(z.c.path(to)))
	}
	if err := os.Chtimes(z.c.path(to), info.ModTime(), info.ModTime()); err != nil {
		return z.c.named(to, err)
	}
	if z.o.has("v") {
		fmt.Fprintf(z.c.Stderr, "%s:\treplaced with %s\n", name, to)
	}
	if z.o.has("k") {
		return nil
	}
	return z.c.named(name, os.Remove(z.c.path(name)))
}

func (z *zipping) target(name string) (string, error) {
	if !z.unpack {
		if strings.HasSuffix(name, ".gz") && !z.o.has("f") {
			return "", fmt.Errorf("%s already has .gz suffix -- unchanged", name)
		}
		return name + ".gz", nil
	}
	if base, ok := strings.CutSuffix(name, ".gz"); ok {
		return base, nil
	}
	if base, ok := strings.CutSuffix(name, ".tgz"); ok {
		return base + ".tar", nil
	}
	return "", fmt.Errorf("%s: unknown suffix -- ignored", name)
}

func (z *zipping) copy(w io.Writer, in io.Reader, name string) error {
	if !z.unpack {
		g, err := gzip.NewWriterLevel(w, z.level)
		if err != nil {
			return err
		}
		_, err = io.Copy(g, in)
		return errors.Join(err, g.Close())
	}
	b := bufio.NewReaderSize(in, bufferSize)
	if magic, err := b.Peek(2); z.o.has("f") && z.stdout && (err != nil || magic[0] != 0x1f || magic[1] != 0x8b) {
		_, err := io.Copy(w, b)
		return err
	}
	g, err := gzip.NewReader(b)
	if err == nil {
		_, err = io.Copy(w, g)
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return err
}
