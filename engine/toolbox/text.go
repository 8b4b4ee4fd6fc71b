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
