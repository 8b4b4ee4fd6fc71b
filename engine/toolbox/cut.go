package toolbox

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

func cutTool() tool {
	return tool{
		run:   cut,
		usage: "-b list | -c list | -f list [-d char] [-s] [--complement] [--output-delimiter=text] [-z] [file]…",
		lacks: "-w, and characters of more than one byte in -c, which like GNU's counts bytes",
	}
}

// span is a range of a list, from 1, both ends in it.
type span struct{ from, to int }

// spans reads a list like 1,3-5,7-, sorted and joined.
func spans(text string) ([]span, error) {
	var all []span
	for item := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		from, to, ranged := strings.Cut(item, "-")
		s := span{1, math.MaxInt}
		var err error
		if from != "" {
			s.from, err = strconv.Atoi(from)
		}
		if !ranged {
			s.to = s.from
		} else if to != "" && err == nil {
			s.to, err = strconv.Atoi(to)
		}
		if err != nil || s.from < 1 || s.to < s.from || item == "-" {
			return nil, usageError(fmt.Sprintf("invalid list %q", text))
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, usageError(fmt.Sprintf("invalid list %q", text))
	}
	slices.SortFunc(all, func(a, b span) int { return a.from - b.from })
	return all, nil
}

func in(all []span, n int) bool {
	return slices.ContainsFunc(all, func(s span) bool { return n >= s.from && n <= s.to })
}

type cutting struct {
	list    []span
	not     bool
	mark    []byte
	between []byte
	only    bool // -s
}

func cut(_ context.Context, c *Call) error {
	o, err := c.options("b,bytes: c,characters: f,fields: d,delimiter: s,only-delimited complement output-delimiter: z,zero-terminated n")
	if err != nil {
		return err
	}
	text, kinds := "", 0
	for _, k := range []string{"b", "c", "f"} {
		if o.has(k) {
			text = o.value(k, "")
			kinds++
		}
	}
	if kinds != 1 {
		return usageError("needs one of -b, -c and -f")
	}
	k := cutting{not: o.has("complement"), mark: []byte(o.value("d", "\t")), only: o.has("s")}
	if k.list, err = spans(text); err != nil {
		return err
	}
	switch {
	case utf8.RuneCount(k.mark) > 1:
		return usageError("the delimiter must be a single character")
	case len(k.mark) == 0:
		k.mark = []byte{0}
	}
	if !o.has("f") && (o.has("d") || o.has("s")) {
		return usageError("-d and -s go only with -f")
	}
	f := k.bytes
	if o.has("f") {
		f, k.between = k.fields, k.mark
	}
	if o.has("output-delimiter") {
		k.between = []byte(o.value("output-delimiter", ""))
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	var buf []byte
	return c.eachLine(o.operands, end, func(line []byte, _ bool) error {
		var keep bool
		if buf, keep = f(buf[:0], line); !keep {
			return nil
		}
		return writeLine(c.out(), buf, end)
	})
}

func (k *cutting) bytes(out, line []byte) ([]byte, bool) {
	last := -1
	for i, b := range line {
		if in(k.list, i+1) == k.not {
			continue
		}
		// A new range of the list begins behind the delimiter, also one that
		// touches the range before.
		if last >= 0 && k.between != nil && (i > last+1 || !k.not && k.begins(i+1)) {
			out = append(out, k.between...)
		}
		out, last = append(out, b), i
	}
	return out, true
}

func (k *cutting) begins(n int) bool {
	return slices.ContainsFunc(k.list, func(s span) bool { return s.from == n }) &&
		!slices.ContainsFunc(k.list, func(s span) bool { return s.from < n && n <= s.to })
}

func (k *cutting) fields(out, line []byte) ([]byte, bool) {
	if !bytes.Contains(line, k.mark) {
		return append(out, line...), !k.only
	}
	first := true
	for n := 1; ; n++ {
		field, rest, more := bytes.Cut(line, k.mark)
		if in(k.list, n) != k.not {
			if !first {
				out = append(out, k.between...)
			}
			out, first = append(out, field...), false
		}
		if !more {
			return out, true
		}
		line = rest
	}
}
