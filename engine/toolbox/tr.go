package toolbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

func trTool() tool {
	return tool{
		run:   tr,
		usage: "[-cCdst] set1 [set2]",
		lacks: "characters of more than one byte: like GNU's it works on bytes",
	}
}

// tr translates, deletes and squeezes bytes.
func tr(ctx context.Context, c *Call) error {
	o, err := c.options("+c,complement,C d,delete s,squeeze-repeats t,truncate-set1")
	if err != nil {
		return err
	}
	sets, err := trSets(o)
	if err != nil {
		return err
	}
	from, to := sets[0], sets[1]
	var member, squeezed [256]bool
	for _, b := range from {
		member[b] = true
	}
	var table [256]byte
	for i := range table {
		table[i] = byte(i)
	}
	last := from
	translate := len(o.operands) == 2 && !o.has("d")
	if translate {
		for i, b := range from {
			if i < len(to) || !o.has("t") {
				table[b] = to[min(i, len(to)-1)]
			}
		}
	}
	if len(o.operands) == 2 {
		last = to
	}
	if o.has("s") {
		for _, b := range last {
			squeezed[b] = true
		}
	}
	return trCopy(ctx, c, func(b byte, previous int) (byte, bool) {
		if o.has("d") && member[b] {
			return b, false
		}
		if translate {
			b = table[b]
		}
		return b, !(squeezed[b] && previous == int(b))
	})
}

// trCopy copies bytes as f says, which is told the one that was kept before.
func trCopy(ctx context.Context, c *Call, f func(b byte, previous int) (byte, bool)) error {
	in, out := make([]byte, bufferSize), make([]byte, 0, bufferSize)
	previous := -1
	for {
		n, err := c.Stdin.Read(in)
		out = out[:0]
		for _, b := range in[:n] {
			b, keep := f(b, previous)
			if keep {
				out, previous = append(out, b), int(b)
			}
		}
		if _, err := c.out().Write(out); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
}

func trSets(o *options) (sets [2][]byte, _ error) {
	deletes, squeezes := o.has("d"), o.has("s")
	switch n := len(o.operands); {
	case n == 0 || n == 1 && !deletes && !squeezes || n == 1 && deletes && squeezes:
		return sets, usageError("needs another set")
	case n > 2 || n == 2 && deletes && !squeezes:
		return sets, usageError("too many sets")
	}
	from, err := trSet(o.operands[0], 0)
	if err != nil {
		return sets, err
	}
	if o.has("c") {
		var rest []byte
		for i := range 256 {
			if bytes.IndexByte(from, byte(i)) < 0 {
				rest = append(rest, byte(i))
			}
		}
		from = rest
	}
	sets[0] = from
	if len(o.operands) == 1 {
		return sets, nil
	}
	if sets[1], err = trSet(o.operands[1], len(from)); err != nil {
		return sets, err
	}
	if !deletes {
		if len(sets[1]) == 0 && !o.has("t") && len(from) > 0 {
			return sets, errors.New("the second set is empty")
		}
	}
	return sets, nil
}

// trSet spells a set out. A [c*] in it fills up to the length wanted.
func trSet(spec string, length int) ([]byte, error) {
	var out []byte
	fill, filler := -1, byte(0)
	for i := 0; i < len(spec); {
		rest := spec[i:]
		switch {
		case strings.HasPrefix(rest, "[:") && strings.Contains(rest[2:], ":]"):
			name, _, _ := strings.Cut(rest[2:], ":]")
			members, err := trClass(name)
			if err != nil {
				return nil, err
			}
			out = append(out, members...)
			i += len(name) + 4
			continue
		case strings.HasPrefix(rest, "[=") && len(rest) >= 5 && rest[3:5] == "=]":
			out = append(out, rest[2])
			i += 5
			continue
		}
		if rest[0] == '[' {
			if b, count, used, ok := trRepeat(rest); ok {
				if count == 0 {
					fill, filler = len(out), b
				}
				for range count {
					out = append(out, b)
				}
				i += used
				continue
			}
		}
		low, used := trByte(rest)
		i += used
		if i+1 < len(spec) && spec[i] == '-' {
			high, used := trByte(spec[i+1:])
			i += 1 + used
			if high < low {
				return nil, fmt.Errorf("the range %c-%c ends before it begins", low, high)
			}
			for b := int(low); b <= int(high); b++ {
				out = append(out, byte(b))
			}
			continue
		}
		out = append(out, low)
	}
	if fill >= 0 && len(out) < length {
		out = append(out[:fill:fill], append(bytes.Repeat([]byte{filler}, length-len(out)), out[fill:]...)...)
	}
	return out, nil
}

func trClass(name string) (out []byte, _ error) {
	class, ok := classes()[name]
	if !ok || name == "word" {
		return nil, fmt.Errorf("no character class %q", name)
	}
	for b := range 128 {
		if class.has(rune(b)) && !(name == "graph" && b == ' ') {
			out = append(out, byte(b))
		}
	}
	return out, nil
}

// trRepeat reads [c*n]; n may be missing, and is octal with a zero in front.
func trRepeat(rest string) (b byte, count, used int, ok bool) {
	if len(rest) < 4 {
		return 0, 0, 0, false
	}
	b, n := trByte(rest[1:])
	tail := rest[1+n:]
	digits, _, closed := strings.Cut(strings.TrimPrefix(tail, "*"), "]")
	if !strings.HasPrefix(tail, "*") || !closed {
		return 0, 0, 0, false
	}
	if digits != "" {
		base := 10
		if digits[0] == '0' {
			base = 8
		}
		v, err := strconv.ParseUint(digits, base, 20)
		if err != nil {
			return 0, 0, 0, false
		}
		count = int(v)
	}
	return b, count, 1 + n + 1 + len(digits) + 1, true
}

// trByte is one byte of a set, plain or escaped.
func trByte(rest string) (b byte, used int) {
	if rest[0] != '\\' || len(rest) == 1 {
		return rest[0], 1
	}
	if i := strings.IndexByte(`abfnrtv\`, rest[1]); i >= 0 {
		return "\a\b\f\n\r\t\v\\"[i], 2
	}
	n := 1
	for n < len(rest) && n < 4 && rest[n] >= '0' && rest[n] <= '7' {
		n++
	}
	for ; n > 1; n-- {
		if v, err := strconv.ParseUint(rest[1:n], 8, 8); err == nil {
			return byte(v), n
		}
	}
	return rest[1], 2
}
