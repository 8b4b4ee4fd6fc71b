package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func uniq(_ context.Context, c *Call) error {
	o, err := c.options("c,count d,repeated D i,ignore-case u,unique z,zero-terminated f,skip-fields: s,skip-chars: w,check-chars: #")
	if err != nil {
		return err
	}
	if len(o.operands) > 2 {
		return usageError("too many operands")
	}
	number := func(flag string, otherwise int) int {
		n, e := strconv.Atoi(o.value(flag, strconv.Itoa(otherwise)))
		if e != nil || n < 0 {
			err = usageError(fmt.Sprintf("invalid number %q", o.value(flag, "")))
		}
		return n
	}
	fields, chars, width := number("f", number("#", 0)), number("s", 0), number("w", 1<<62)
	if err != nil {
		return err
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	w := c.out()
	var f *os.File
	if len(o.operands) == 2 && o.operands[1] != "-" {
		if f, err = c.create(o.operands[1], os.O_TRUNC); err != nil {
			return err
		}
		w = bufio.NewWriterSize(f, bufferSize)
	}
	key := func(line []byte) []byte {
		for range fields {
			line = line[skipBlanks(line, 0):]
			i := bytes.IndexAny(line, " \t")
			if i < 0 {
				i = len(line)
			}
			line = line[i:]
		}
		line = line[min(chars, len(line)):]
		line = line[:min(width, len(line))]
		if o.has("i") {
			line = bytes.ToLower(line)
		}
		return line
	}
	var group [][]byte
	seen := 0
	flush := func() error {
		if seen == 0 || o.has("d") && seen < 2 || o.has("D") && seen < 2 || o.has("u") && seen > 1 {
			return nil
		}
		for _, l := range group {
			if o.has("c") {
				fmt.Fprintf(w, "%7d ", seen)
			}
			if err := writeLine(w, l, end); err != nil {
				return err
			}
		}
		return nil
	}
	err = c.eachLine(o.operands[:min(1, len(o.operands))], end, func(line []byte, _ bool) error {
		if seen > 0 && bytes.Equal(key(group[0]), key(line)) {
			seen++
			if o.has("D") {
				group = append(group, bytes.Clone(line))
			}
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		if len(group) == 0 {
			group = [][]byte{nil}
		}
		group, seen = append(group[:0], append(group[0][:0:0], line...)), 1
		return nil
	})
	if err == nil {
		err = flush()
	}
	if f != nil {
		err = errors.Join(err, w.Flush(), f.Close())
	}
	return err
}

func nl(_ context.Context, c *Call) error {
	o, err := c.options("b,body-numbering: n,number-format: s,number-separator: v,starting-line-number: i,line-increment: w,number-width:")
	if err != nil {
		return err
	}
	var numbers [3]int
	for i, f := range []option{{"v", "1"}, {"i", "1"}, {"w", "6"}} {
		if numbers[i], err = strconv.Atoi(o.value(f.name, f.value)); err != nil {
			return usageError(fmt.Sprintf("invalid number %q", o.value(f.name, "")))
		}
	}
	n, step, width := numbers[0], numbers[1], numbers[2]
	style := o.value("b", "t")
	format, ok := map[string]string{"ln": "%-*d", "rn": "%*d", "rz": "%0*d"}[o.value("n", "rn")]
	if !ok || !slices.Contains([]string{"a", "t", "n"}, style) {
		return usageError("unknown style or format")
	}
	mark := o.value("s", "\t")
	return c.eachLine(o.operands, '\n', func(line []byte, _ bool) error {
		if style == "n" || style == "t" && len(line) == 0 {
			fmt.Fprint(c.out(), strings.Repeat(" ", width+len(mark)))
			return writeLine(c.out(), line, '\n')
		}
		fmt.Fprintf(c.out(), format+"%s", width, n, mark)
		n += step
		return writeLine(c.out(), line, '\n')
	})
}

func rev(_ context.Context, c *Call) error {
	o, err := c.options("")
	if err != nil {
		return err
	}
	return c.eachLine(o.operands, '\n', func(line []byte, ended bool) error {
		for len(line) > 0 {
			_, size := utf8.DecodeLastRune(line)
			c.out().Write(line[len(line)-size:]) // an error comes back from the next write
			line = line[:len(line)-size]
		}
		if !ended {
			return nil
		}
		return c.out().WriteByte('\n')
	})
}

func tac(_ context.Context, c *Call) error {
	o, err := c.options("")
	if err != nil {
		return err
	}
	return c.each(o.operands, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		for err == nil && len(data) > 0 {
			i := lineFromEnd(data, 1, '\n')
			_, err = c.out().Write(data[i:])
			data = data[:i]
		}
		return err
	})
}

func fold(_ context.Context, c *Call) error {
	o, err := c.options("b,bytes c,characters s,spaces w,width: #")
	if err != nil {
		return err
	}
	width, err := strconv.Atoi(o.value(o.last("w", "#"), "80"))
	if err != nil || width < 1 {
		return usageError("invalid width")
	}
	return c.eachLine(o.operands, '\n', func(line []byte, ended bool) error {
		for {
			n := foldAt(line, width, o.has("b"), o.has("s"))
			if n >= len(line) {
				break
			}
			if err := writeLine(c.out(), line[:n], '\n'); err != nil {
				return err
			}
			line = line[n:]
		}
		if !ended {
			_, err := c.out().Write(line)
			return err
		}
		return writeLine(c.out(), line, '\n')
	})
}

// foldAt is how much of the line fits.
func foldAt(line []byte, width int, byBytes, spaces bool) int {
	column, blank := 0, 0
	for i := 0; i < len(line); {
		size := 1
		if !byBytes {
			_, size = utf8.DecodeRune(line[i:])
		}
		next := column + 1
		switch {
		case line[i] == '\t' && !byBytes:
			next = column + 8 - column%8
		case line[i] == '\r' && !byBytes:
			next = 0
		}
		if next > width && i > 0 {
			if spaces && blank > 0 {
				return blank
			}
			return i
		}
		if i += size; line[i-size] == ' ' || line[i-size] == '\t' {
			blank = i
		}
		column = next
	}
	return len(line)
}
