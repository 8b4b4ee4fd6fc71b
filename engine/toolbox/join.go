package toolbox

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
)

func joinTool() tool {
	return tool{
		run:   join,
		usage: "[-a 1|2]… [-v 1|2]… [-e text] [-i] [-j field] [-1 field] [-2 field] [-o list] [-t char] [--header] [-z] file1 file2",
		lacks: "checking that the input is sorted, and -o auto",
	}
}

type joining struct {
	c       *Call
	field   [2]int
	mark    []byte
	empty   []byte
	columns [][2]int // file and field from 0; field -1 is the one joined by
	fold    bool
	lone    [2]bool
	paired  bool
	end     byte
}

func join(_ context.Context, c *Call) error {
	o, err := c.options("a: v: e: i,ignore-case j: 1: 2: o: t: header nocheck-order z,zero-terminated")
	if err != nil {
		return err
	}
	j := &joining{c: c, empty: []byte(o.value("e", "")), mark: []byte(o.value("t", "")), fold: o.has("i"), paired: !o.has("v"), end: '\n'}
	if o.has("z") {
		j.end = 0
	}
	if err := j.read(o); err != nil {
		return err
	}
	var files [2][][]byte
	for i, name := range o.operands {
		if files[i], err = c.readLines([]string{name}, j.end); err != nil {
			return err
		}
		if c.status != 0 {
			return exit(1)
		}
	}
	if o.has("header") && len(files[0]) > 0 && len(files[1]) > 0 {
		if err := j.pair(files[0][0], files[1][0]); err != nil {
			return err
		}
		files[0], files[1] = files[0][1:], files[1][1:]
	}
	return j.run(files[0], files[1])
}

func (j *joining) read(o *options) error {
	if len(o.operands) != 2 {
		return usageError("needs two files")
	}
	if len(j.mark) > 1 {
		return usageError("the separator must be one byte")
	}
	for i, name := range []string{"1", "2"} {
		n, err := strconv.Atoi(o.value(name, o.value("j", "1")))
		if err != nil || n < 1 {
			return usageError("invalid field number")
		}
		j.field[i] = n - 1
	}
	for _, flag := range []string{"a", "v"} {
		for _, v := range o.values(flag) {
			if v != "1" && v != "2" {
				return usageError(fmt.Sprintf("invalid file number %q", v))
			}
			j.lone[v[0]-'1'] = true
		}
	}
	for _, list := range o.values("o") {
		for item := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
			if item == "0" {
				j.columns = append(j.columns, [2]int{0, -1})
				continue
			}
			file, field, _ := strings.Cut(item, ".")
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 || file != "1" && file != "2" {
				return usageError(fmt.Sprintf("invalid field %q", item))
			}
			j.columns = append(j.columns, [2]int{int(file[0] - '1'), n - 1})
		}
	}
	return nil
}

func (j *joining) split(line []byte) [][]byte {
	if len(j.mark) == 0 {
		return bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	}
	return bytes.Split(line, j.mark)
}

func (j *joining) key(line []byte, file int) []byte {
	if f := j.split(line); j.field[file] < len(f) {
		if j.fold {
			return bytes.ToLower(f[j.field[file]])
		}
		return f[j.field[file]]
	}
	return nil
}

func (j *joining) run(a, b [][]byte) error {
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = bytes.Compare(j.key(a[0], 0), j.key(b[0], 1))
		}
		if order != 0 {
			side, from := &a, 0
			if order > 0 {
				side, from = &b, 1
			}
			if err := j.single((*side)[0], from); err != nil {
				return err
			}
			*side = (*side)[1:]
			continue
		}
		n, m := j.same(a, 0), j.same(b, 1)
		for _, x := range a[:n] {
			for _, y := range b[:m] {
				if !j.paired {
					continue
				}
				if err := j.pair(x, y); err != nil {
					return err
				}
			}
		}
		a, b = a[n:], b[m:]
	}
	return nil
}

// same is how many lines have the key of the first.
func (j *joining) same(all [][]byte, file int) int {
	n := 1
	for n < len(all) && bytes.Equal(j.key(all[n], file), j.key(all[0], file)) {
		n++
	}
	return n
}

func (j *joining) single(line []byte, file int) error {
	if !j.lone[file] {
		return nil
	}
	var sides [2][][]byte
	sides[file] = j.split(line)
	return j.write(sides, file)
}

func (j *joining) pair(x, y []byte) error { return j.write([2][][]byte{j.split(x), j.split(y)}, 0) }

func (j *joining) write(sides [2][][]byte, keyed int) error {
	get := func(file, n int) []byte {
		if n < len(sides[file]) && len(sides[file][n]) > 0 {
			return sides[file][n]
		}
		return j.empty
	}
	var row [][]byte
	if j.columns == nil {
		row = append(row, get(keyed, j.field[keyed]))
		for file := range sides {
			for n := range sides[file] {
				if n != j.field[file] {
					row = append(row, get(file, n))
				}
			}
		}
	}
	for _, col := range j.columns {
		if col[1] < 0 {
			row = append(row, get(keyed, j.field[keyed]))
			continue
		}
		row = append(row, get(col[0], col[1]))
	}
	mark := j.mark
	if len(mark) == 0 {
		mark = []byte(" ")
	}
	return writeLine(j.c.out(), bytes.Join(row, mark), j.end)
}
