package toolbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func textTools() map[string]tool {
	return map[string]tool{
		"cat":   {run: cat, usage: "[-AbeEnstTuv] [file]…"},
		"head":  {run: head, usage: "[-n [-]lines | -c [-]bytes] [-q] [-v] [-z] [file]…"},
		"tail":  {run: tail, usage: "[-n [+]lines | -c [+]bytes] [-q] [-v] [-z] [file]…", lacks: "-f and the like"},
		"wc":    {run: wc, usage: "[-clmwL] [file]…", lacks: "--files0-from and --total"},
		"tee":   {run: tee, usage: "[-a] [-i] [file]…", lacks: "-p"},
		"uniq":  {run: uniq, usage: "[-cdDiuz] [-f fields] [-s chars] [-w chars] [input [output]]", lacks: "--group and the methods of -D"},
		"nl":    {run: nl, usage: "[-b a|t|n] [-n ln|rn|rz] [-s text] [-v first] [-i step] [-w width] [file]…", lacks: "sections (-d, -f, -h, -l, -p) and -b pPATTERN"},
		"rev":   {run: rev, usage: "[file]…"},
		"tac":   {run: tac, usage: "[file]…", lacks: "-b, -r and -s"},
		"fold":  {run: fold, usage: "[-b] [-s] [-w width] [file]…", lacks: "backspaces, and columns of wide characters"},
		"paste": {run: paste, usage: "[-s] [-d list] [-z] file…"},
		"comm":  {run: comm, usage: "[-123] [--output-delimiter=text] [--total] [-z] file1 file2", lacks: "checking that the input is sorted"},
		"yes":   {run: yes, usage: "[text]…"},
	}
}

// cat copies without looking, if nothing else is asked.
func cat(_ context.Context, c *Call) error {
	o, err := c.options("A,show-all b,number-nonblank e E,show-ends n,number s,squeeze-blank t T,show-tabs u v,show-nonprinting")
	if err != nil {
		return err
	}
	if len(o.given) == 0 || len(o.given) == len(o.values("u")) {
		return c.each(o.operands, func(_ string, r io.Reader) error {
			_, err := io.Copy(c.Stdout, r)
			return err
		})
	}
	ends, tabs := o.has("E") || o.has("e") || o.has("A"), o.has("T") || o.has("t") || o.has("A")
	odd := o.has("v") || o.has("e") || o.has("t") || o.has("A")
	number, blanks, fresh := 0, 0, true
	return c.eachLine(o.operands, '\n', func(line []byte, ended bool) error {
		if len(line) == 0 && ended {
			if blanks++; blanks > 1 && o.has("s") {
				return nil
			}
		} else {
			blanks = 0
		}
		w := c.out()
		if fresh && (o.has("b") && len(line) > 0 || o.has("n") && !o.has("b")) {
			number++
			fmt.Fprintf(w, "%6d\t", number)
		}
		w.Write(visible(line, tabs, odd)) // an error comes back from the next write
		if fresh = ended; !ended {
			return nil
		}
		if ends {
			w.WriteByte('$') // as above
		}
		return w.WriteByte('\n')
	})
}

func visible(line []byte, tabs, odd bool) []byte {
	if !tabs && !odd {
		return line
	}
	var out []byte
	for _, b := range line {
		if b == '\t' && !tabs || b != '\t' && !odd {
			out = append(out, b)
			continue
		}
		if b >= 0x80 {
			out = append(out, "M-"...)
			b -= 0x80
		}
		switch {
		case b < ' ':
			out = append(out, '^', b+'@')
		case b == 0x7f:
			out = append(out, "^?"...)
		default:
			out = append(out, b)
		}
	}
	return out
}

// amount is a count with a suffix, and the sign in front of it.
func amount(text string) (n int, sign byte, _ error) {
	digits := text
	if text != "" && (text[0] == '-' || text[0] == '+') {
		sign, digits = text[0], text[1:]
	}
	v, err := size(digits)
	if err != nil {
		return 0, 0, usageError(fmt.Sprintf("invalid number %q", text))
	}
	return int(v), sign, nil
}

// size is a number with one of GNU's suffixes: K is 1024, kB is 1000.
func size(text string) (int64, error) {
	digits := strings.TrimRight(text, "bkKMGTPEBiwc")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	suffix := text[len(digits):]
	switch suffix {
	case "", "c":
		return n, nil
	case "b":
		return n * 512, nil
	case "w":
		return n * 2, nil
	}
	base := int64(1024)
	if strings.HasSuffix(suffix, "B") && !strings.HasSuffix(suffix, "iB") {
		base = 1000
	}
	for range strings.Index("KMGTPE", strings.ToUpper(suffix[:1])) + 1 {
		if n > (1<<62)/base {
			return 0, fmt.Errorf("%q is too large", text)
		}
		n *= base
	}
	return n, nil
}

// portions calls f for each file with a headline before it where GNU's have one.
func (c *Call) portions(o *options, f func(r io.Reader) error) error {
	first := true
	return c.each(o.operands, func(name string, r io.Reader) error {
		if o.last("q", "v") == "v" || len(o.operands) > 1 && !o.has("q") {
			if !first {
				fmt.Fprintln(c.out())
			}
			if name == "-" {
				name = "standard input"
			}
			fmt.Fprintf(c.out(), "==> %s <==\n", name)
		}
		first = false
		return f(r)
	})
}

func head(_ context.Context, c *Call) error {
	o, err := c.options("n,lines: c,bytes: q,quiet,silent v,verbose z,zero-terminated #")
	if err != nil {
		return err
	}
	unit := o.last("n", "c", "#")
	n, sign, err := amount(o.value(unit, "10"))
	if err != nil {
		return err
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	return c.portions(o, func(r io.Reader) error {
		switch {
		case sign == '-':
			return headAllBut(c, r, n, unit == "c", end)
		case unit == "c":
			_, err := io.CopyN(c.out(), r, int64(n))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		l := newLines(r, end)
		for i := 0; i < n; i++ {
			line, ended, err := l.next()
			if err != nil {
				return ignoreEOF(err)
			}
			c.out().Write(line) // an error comes back from the next write
			if ended {
				if err := c.out().WriteByte(end); err != nil {
					return err
				}
			}
		}
		return l.giveBack(r)
	})
}

// giveBack puts what was read ahead back where the file can do that, so that the
// next command goes on behind the line.
func (l *lines) giveBack(r io.Reader) error {
	if s, ok := r.(io.Seeker); ok && l.r.Buffered() > 0 {
		// A pipe cannot; what was read from it is lost, as with any head.
		s.Seek(-int64(l.r.Buffered()), io.SeekCurrent)
	}
	return nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func headAllBut(c *Call, r io.Reader, n int, byBytes bool, end byte) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if byBytes {
		_, err = c.out().Write(data[:max(len(data)-n, 0)])
		return err
	}
	_, err = c.out().Write(data[:lineFromEnd(data, n, end)])
	return err
}

// lineFromEnd is where the last n lines begin.
func lineFromEnd(data []byte, n int, end byte) int {
	i := len(data)
	for ; n > 0 && i > 0; n-- {
		i = bytes.LastIndexByte(data[:i-1], end) + 1
	}
	return i
}

func tail(_ context.Context, c *Call) error {
	// tail +3 is what is left of an older syntax; POSIX has only -n.
	o, err := c.options("n,lines: c,bytes: q,quiet,silent v,verbose z,zero-terminated #")
	if err != nil {
		return err
	}
	unit := o.last("n", "c", "#")
	n, sign, err := amount(o.value(unit, "10"))
	if err != nil {
		return err
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	return c.portions(o, func(r io.Reader) error {
		switch {
		case sign == '+' && unit == "c":
			if _, err := io.CopyN(io.Discard, r, int64(max(n-1, 0))); err != nil {
				return ignoreEOF(err)
			}
			_, err := io.Copy(c.out(), r)
			return err
		case sign == '+':
			return tailFrom(c, r, n, end)
		}
		switch f := r.(type) {
		case *os.File:
			seekNear(f, n, unit == "c")
		case stdin:
			seekNear(f.File, n, unit == "c")
		}
		return tailEnd(c, r, n, unit == "c", end)
	})
}

// seekNear leaves out the front of a large file, when it is only bytes that count.
func seekNear(f *os.File, n int, byBytes bool) {
	if info, err := f.Stat(); err == nil && byBytes && info.Mode().IsRegular() && info.Size() > int64(n) {
		// Where that fails the file is read from the front.
		f.Seek(-int64(n), io.SeekEnd)
	}
}

func tailFrom(c *Call, r io.Reader, n int, end byte) error {
	l := newLines(r, end)
	for range n - 1 {
		if _, _, err := l.next(); err != nil {
			return ignoreEOF(err)
		}
	}
	_, err := io.Copy(c.out(), l.r)
	return err
}

// tailEnd keeps no more than twice what is wanted.
func tailEnd(c *Call, r io.Reader, n int, byBytes bool, end byte) error {
	var kept []byte
	buf := make([]byte, bufferSize)
	cut := func() {
		if byBytes {
			kept = kept[max(len(kept)-n, 0):]
			return
		}
		kept = kept[lineFromEnd(kept, n, end):]
	}
	for limit := 16 * bufferSize; ; {
		got, err := r.Read(buf)
		kept = append(kept, buf[:got]...)
		if err != nil {
			cut()
			if _, err := c.out().Write(kept); err != nil {
				return err
			}
			return ignoreEOF(err)
		}
		if len(kept) > limit {
			cut()
			kept = slices.Clone(kept)
			limit = max(16*bufferSize, 2*len(kept))
		}
	}
}
