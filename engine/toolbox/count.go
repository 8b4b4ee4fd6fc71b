package toolbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

type counts struct{ l, w, m, c, L int }

func wc(_ context.Context, c *Call) error {
	o, err := c.options("c,bytes l,lines m,chars w,words L,max-line-length")
	if err != nil {
		return err
	}
	type row struct {
		n    counts
		name string
	}
	var rows []row
	var sum counts
	err = c.each(o.operands, func(name string, r io.Reader) error {
		n, err := count(r)
		rows = append(rows, row{n, name})
		sum = counts{sum.l + n.l, sum.w + n.w, sum.m + n.m, sum.c + n.c, max(sum.L, n.L)}
		return err
	})
	if err != nil {
		return err
	}
	if len(o.operands) > 1 {
		rows = append(rows, row{sum, "total"})
	}
	plain := len(o.given) == 0
	columns := func(n counts) (all []int) {
		for _, f := range []struct {
			flag  string
			value int
			plain bool
		}{{"l", n.l, true}, {"w", n.w, true}, {"m", n.m, false}, {"c", n.c, true}, {"L", n.L, false}} {
			if o.has(f.flag) || plain && f.plain {
				all = append(all, f.value)
			}
		}
		return all
	}
	width := c.wcWidth(o.operands, len(columns(sum)), sum.c)
	for _, r := range rows {
		var parts []string
		for _, v := range columns(r.n) {
			parts = append(parts, fmt.Sprintf("%*d", width, v))
		}
		if len(o.operands) > 0 {
			parts = append(parts, r.name)
		}
		fmt.Fprintln(c.out(), strings.Join(parts, " "))
	}
	return nil
}

// wcWidth is how wide GNU's makes the numbers: as wide as the sizes of the files
// need, and 7 when something is read whose size is not known before.
func (c *Call) wcWidth(names []string, columns, total int) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	if len(names) == 1 && columns == 1 {
		return 1
	}
	least, sum := 1, int64(0)
	for _, name := range names {
		var info os.FileInfo
		var err error
		if f, ok := c.Stdin.(*os.File); name == "-" && ok {
			info, err = f.Stat()
		} else if name == "-" {
			least = 7
			continue
		} else {
			info, err = os.Stat(c.path(name))
		}
		switch {
		case err != nil:
		case info.Mode().IsRegular():
			sum += info.Size()
		default:
			least = 7
		}
	}
	return max(least, len(strconv.FormatInt(sum, 10)))
}

func count(r io.Reader) (n counts, _ error) {
	b := bufio.NewReaderSize(r, bufferSize)
	word, column := false, 0
	for {
		c, size, err := b.ReadRune()
		if err != nil {
			n.L = max(n.L, column)
			return n, ignoreEOF(err)
		}
		n.c += size
		broken := c == utf8.RuneError && size == 1
		if !broken {
			n.m++
		}
		switch {
		case c == '\n' || c == '\r' || c == '\f':
			n.L, column = max(n.L, column), 0
			if c == '\n' {
				n.l++
			}
		case c == '\t':
			column += 8 - column%8
		case c >= ' ' && c != 0x7f && !broken:
			column++
		}
		if isSpace(c) {
			word = false
		} else if !word && (c > ' ' && c != 0x7f || c >= 0x80) {
			word = true
			n.w++
		}
	}
}

func tee(_ context.Context, c *Call) error {
	o, err := c.options("a,append i,ignore-interrupts")
	if err != nil {
		return err
	}
	writers := []io.Writer{c.Stdout}
	for _, name := range o.operands {
		mode := os.O_TRUNC
		if o.has("a") {
			mode = os.O_APPEND
		}
		f, err := c.create(name, mode)
		if err != nil {
			if err := c.warn(err); err != nil {
				return err
			}
			continue
		}
		defer f.Close() // after a write that failed there is nothing more to say; see below for the rest
		writers = append(writers, f)
	}
	if _, err = io.Copy(io.MultiWriter(writers...), c.Stdin); err != nil {
		return err
	}
	for _, w := range writers[1:] {
		err = errors.Join(err, w.(*os.File).Close())
	}
	return err
}
