package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// newBytes is a buffered reader of at most so many bytes.
func newBytes(r io.Reader, limit int64) *bufio.Reader {
	return bufio.NewReaderSize(io.LimitReader(r, limit), bufferSize)
}

// odType is one of -t's: a kind of a, c, d, o, u, x, and its bytes.
type odType struct {
	kind byte
	size int
}

func od(_ context.Context, c *Call) error {
	o, err := c.options("A,address-radix: t,format: b c o x v,output-duplicates N,read-bytes: j,skip-bytes: w,width?")
	if err != nil {
		return err
	}
	var types []odType
	for _, g := range o.given {
		text := map[string]string{"b": "o1", "c": "c", "o": "o2", "x": "x2"}[g.name]
		if g.name == "t" {
			text = g.value
		}
		more, err := odTypes(text)
		if err != nil {
			return err
		}
		types = append(types, more...)
	}
	if len(types) == 0 {
		types = []odType{{'o', 2}}
	}
	var numbers [3]int64
	for i, f := range []option{{"N", "4611686018427387904"}, {"j", "0"}, {"w", "16"}} {
		v := o.value(f.name, f.value)
		if v == "" {
			v = "32"
		}
		if numbers[i], err = size(v); err != nil {
			return usageError(fmt.Sprintf("invalid number %q", v))
		}
	}
	width := int(numbers[2])
	if width < 1 || width > 1<<16 {
		return usageError("invalid width")
	}
	var readers []io.Reader
	err = c.each(o.operands, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, numbers[0]+numbers[1]))
		readers = append(readers, bytes.NewReader(data))
		return err
	})
	if err != nil {
		return err
	}
	in := io.MultiReader(readers...)
	if _, err := io.CopyN(io.Discard, in, numbers[1]); err != nil {
		return fmt.Errorf("skipping %d bytes: %w", numbers[1], err)
	}
	format, ok := map[string]string{"d": "%07d", "o": "%07o", "x": "%06x", "n": ""}[o.value("A", "o")]
	if !ok {
		return usageError("unknown radix")
	}
	return odDump(c, newBytes(in, numbers[0]), odLayout{types, format, width, int(numbers[1]), o.has("v")})
}

type odLayout struct {
	types  []odType
	format string
	width  int
	at     int
	all    bool
}

func odDump(c *Call, in io.Reader, l odLayout) error {
	var before []byte
	starred := false
	for buf := make([]byte, l.width); ; {
		n, err := io.ReadFull(in, buf)
		if n == 0 {
			if l.format != "" {
				fmt.Fprintf(c.out(), l.format+"\n", l.at)
			}
			return ignoreEOF(err)
		}
		switch {
		case n == l.width && bytes.Equal(before, buf) && !l.all:
			if !starred {
				c.line("*", false)
			}
			starred = true
		default:
			starred = false
			l.row(c, buf[:n])
			before = append(before[:0], buf[:n]...)
		}
		l.at += n
	}
}

func (l odLayout) row(c *Call, data []byte) {
	// Columns of all types are as wide as the widest needs for its bytes.
	wide := 0
	for _, t := range l.types {
		wide = max(wide, (t.width()+1)*8/t.size)
	}
	for i, t := range l.types {
		address := ""
		if l.format != "" {
			address = fmt.Sprintf(l.format, l.at)
			if i > 0 {
				address = strings.Repeat(" ", len(address))
			}
		}
		c.out().WriteString(address) // seen when flushed
		for j := 0; j < len(data); j += t.size {
			field := make([]byte, t.size)
			copy(field, data[j:])
			fmt.Fprintf(c.out(), "%*s", wide*t.size/8, t.show(field))
		}
		c.line("", false)
	}
}

func odTypes(text string) (types []odType, _ error) {
	for text != "" {
		t := odType{kind: text[0], size: 1}
		text = text[1:]
		switch t.kind {
		case 'a', 'c':
		case 'd', 'o', 'u', 'x':
			t.size = 4
			digits := text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
			text = text[len(digits):]
			switch {
			case digits != "":
				n, err := strconv.Atoi(digits)
				if err != nil || n != 1 && n != 2 && n != 4 && n != 8 {
					return nil, usageError("unknown size of type")
				}
				t.size = n
			case text != "":
				if i := strings.IndexByte("CSIL", text[0]); i >= 0 {
					t.size, text = []int{1, 2, 4, 8}[i], text[1:]
				}
			}
		default:
			return nil, usageError(fmt.Sprintf("the type %q is not supported", string(t.kind)))
		}
		if strings.HasPrefix(text, "z") {
			return nil, usageError("z behind a type is not supported")
		}
		types = append(types, t)
	}
	return types, nil
}

// width is the longest a value can be.
func (t odType) width() int {
	switch t.kind {
	case 'x':
		return 2 * t.size
	case 'o':
		return (8*t.size + 2) / 3
	case 'u':
		return map[int]int{1: 3, 2: 5, 4: 10, 8: 20}[t.size]
	case 'd':
		return map[int]int{1: 4, 2: 6, 4: 11, 8: 20}[t.size]
	}
	return 3
}

func (t odType) show(field []byte) string {
	b := field[0]
	switch t.kind {
	case 'a':
		names := strings.Fields("nul soh stx etx eot enq ack bel bs ht nl vt ff cr so si dle dc1 dc2 dc3 dc4 nak syn etb can em sub esc fs gs rs us sp")
		if b &= 0x7f; b == 0x7f {
			return "del"
		} else if int(b) < len(names) {
			return names[b]
		}
		return string(rune(b))
	case 'c':
		if i := strings.IndexByte("\x00\a\b\f\n\r\t\v", b); i >= 0 {
			return `\` + string(`0abfnrtv`[i])
		}
		if b < ' ' || b >= 0x7f {
			return fmt.Sprintf("%03o", b)
		}
		return string(rune(b))
	}
	full := make([]byte, 8)
	copy(full, field)
	v := binary.LittleEndian.Uint64(full)
	switch t.kind {
	case 'x':
		return fmt.Sprintf("%0*x", t.width(), v)
	case 'o':
		return fmt.Sprintf("%0*o", t.width(), v)
	case 'u':
		return strconv.FormatUint(v, 10)
	}
	shift := 64 - 8*t.size
	return strconv.FormatInt(int64(v<<shift)>>shift, 10)
}
