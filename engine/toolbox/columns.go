package toolbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

func paste(_ context.Context, c *Call) error {
	o, err := c.options("s,serial d,delimiters: z,zero-terminated")
	if err != nil {
		return err
	}
	marks := pasteMarks(o.value("d", "\t"))
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	names := o.operands
	if len(names) == 0 {
		names = []string{"-"}
	}
	var ins []*lines
	stdin := newLines(c.Stdin, end)
	for _, name := range names {
		if name == "-" {
			ins = append(ins, stdin)
			continue
		}
		r, err := c.open(name)
		if err != nil {
			return err
		}
		defer r.Close() // was only read
		ins = append(ins, newLines(r, end))
	}
	if o.has("s") {
		return pasteSerial(c, ins, marks, end)
	}
	for {
		var row []byte
		left := 0
		for i, l := range ins {
			if i > 0 {
				row = append(row, marks[(i-1)%len(marks)]...)
			}
			line, _, err := l.next()
			if err != nil && err != io.EOF {
				return err
			}
			if err == nil {
				left++
			}
			row = append(row, line...)
		}
		if left == 0 {
			return nil
		}
		if err := writeLine(c.out(), row, end); err != nil {
			return err
		}
	}
}

func pasteSerial(c *Call, ins []*lines, marks []string, end byte) error {
	for _, l := range ins {
		var row []byte
		for i := 0; ; i++ {
			line, _, err := l.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if i > 0 {
				row = append(row, marks[(i-1)%len(marks)]...)
			}
			row = append(row, line...)
		}
		if err := writeLine(c.out(), row, end); err != nil {
			return err
		}
	}
	return nil
}

func pasteMarks(list string) (marks []string) {
	for len(list) > 0 {
		if list[0] == '\\' && len(list) > 1 {
			switch list[1] {
			case 'n':
				marks = append(marks, "\n")
			case 't':
				marks = append(marks, "\t")
			case '0':
				marks = append(marks, "")
			default:
				marks = append(marks, list[1:2])
			}
			list = list[2:]
			continue
		}
		_, size := utf8.DecodeRuneInString(list)
		marks, list = append(marks, list[:size]), list[size:]
	}
	if len(marks) == 0 {
		return []string{""}
	}
	return marks
}

func comm(_ context.Context, c *Call) error {
	o, err := c.options("1 2 3 output-delimiter: total check-order nocheck-order z,zero-terminated")
	if err != nil {
		return err
	}
	if len(o.operands) != 2 {
		return usageError("needs two files")
	}
	if o.has("check-order") {
		return usageError("--check-order is not supported")
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	var sides [2][][]byte
	for i, name := range o.operands {
		if sides[i], err = c.readLines([]string{name}, end); err != nil {
			return err
		}
		if c.status != 0 {
			return exit(1)
		}
	}
	mark := o.value("output-delimiter", "\t")
	var totals [3]int
	show := func(column int, line []byte) error {
		totals[column]++
		if o.has(strconv.Itoa(column + 1)) {
			return nil
		}
		for i := range column {
			if !o.has(strconv.Itoa(i + 1)) {
				c.out().WriteString(mark) // an error comes back from the next write
			}
		}
		return writeLine(c.out(), line, end)
	}
	a, b := sides[0], sides[1]
	for err == nil && (len(a) > 0 || len(b) > 0) {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = bytes.Compare(a[0], b[0])
		}
		switch {
		case order < 0:
			err, a = show(0, a[0]), a[1:]
		case order > 0:
			err, b = show(1, b[0]), b[1:]
		default:
			err, a, b = show(2, a[0]), a[1:], b[1:]
		}
	}
	if o.has("total") && err == nil {
		fmt.Fprintf(c.out(), "%d%s%d%s%d%stotal%c", totals[0], mark, totals[1], mark, totals[2], mark, end)
	}
	return err
}

func yes(ctx context.Context, c *Call) error {
	o, err := c.options("+")
	if err != nil {
		return err
	}
	line := "y\n"
	if len(o.operands) > 0 {
		line = strings.Join(o.operands, " ") + "\n"
	}
	for ctx.Err() == nil {
		if _, err := c.out().WriteString(line); err != nil {
			return err
		}
	}
	return ctx.Err()
}
