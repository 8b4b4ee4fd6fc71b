package table

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// csvSource is text with delimiters: quotes as in RFC 4180, any of four delimiters,
// a header or none.
type csvSource struct {
	c      *content
	delim  byte
	header bool
	names  []Column
	wide   int      // columns, when they are too many; names has none then
	start  mark     // of the first row after the header
	first  [][]byte // the cells of the first row, header or not
	after  mark     // where it ends
}

func openCSV(c *content) (*csvSource, error) {
	head, err := c.text()
	if err != nil {
		return nil, err
	}
	s := &csvSource{c: c}
	if bytes.HasPrefix(head, []byte("\ufeff")) {
		s.start.offset, head = 3, head[3:]
	}
	if trimmed := bytes.TrimSpace(head); len(trimmed) > 1 && trimmed[0] == '{' && (trimmed[1] == '"' || trimmed[1] == '}') {
		return nil, c.wrong(1, "the file begins like JSON")
	}
	s.delim = delimiter(head, int64(len(head)) == c.size-s.start.offset)
	if extension(c.name) == ".tsv" || extension(c.name) == ".tab" {
		s.delim = '\t'
	}
	return s, s.readHeader()
}

// readHeader reads the first rows, which tell the number of columns and whether the
// first one names them.
func (s *csvSource) readHeader() error {
	r := &csvReader{s: s, lines: newLines(s.c, s.start), width: -1}
	var sample [][][]byte
	size := 0
	for len(sample) < 100 {
		raw, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if r.width < 0 {
			r.count(raw)
			r.width = r.fields
			s.after = r.mark()
			s.after.row = 0
			if r.width > maxColumns {
				s.wide, s.names = r.width, []Column{}
				return nil
			}
		}
		if r.check(raw) != nil {
			break // reading all rows will say so, with its line
		}
		sample = append(sample, cloneCells(r.cells(raw, nil)))
		if size += len(raw); size > mebibyte {
			break
		}
	}
	if len(sample) == 0 {
		s.names = []Column{}
		return nil
	}
	s.first = sample[0]
	s.setHeader(looksLikeHeader(sample))
	return nil
}

func (s *csvSource) setHeader(header bool) {
	s.header = header
	cells := make([][]byte, len(s.first))
	if header {
		s.start, cells = s.after, s.first
	}
	s.names = make([]Column, 0, len(cells))
	seen := names{}
	for i, cell := range cells {
		name := printable(cell)
		if name == "" {
			name = fmt.Sprintf("column%d", i+1)
		}
		s.names = append(s.names, Column{Name: seen.unique(name)})
	}
}

func (s *csvSource) columns() []Column { return s.names }
func (s *csvSource) close()            {}

func (s *csvSource) classify(_ int, cell []byte) (kind, float64) {
	if len(cell) == 0 { // in quotes
		return kindText, 0
	}
	return parse(cell)
}

func (s *csvSource) rowCount(ctx context.Context) (int64, error) {
	r, err := s.rows(ctx, mark{})
	return countRows(ctx, r, err)
}

func (s *csvSource) splitter() splitter { return &csvReader{s: s} }

func (s *csvSource) describe(z *Size) {
	z.Delimiter, z.Header = string(s.delim), s.header
}

func (s *csvSource) rows(ctx context.Context, from mark) (rowReader, error) {
	if from == (mark{}) {
		from = s.start
	}
	return &csvReader{s: s, lines: newLines(s.c, from), row: from.row, width: len(s.names)}, nil
}

type csvReader struct {
	s *csvSource
	*lines
	row     int64
	width   int // columns, -1 before the first row
	fields  int // of the row that next gave, -1 before they are counted
	began   int64
	scratch []byte   // of cells
	whole   [][]byte // of cell
}

func (r *csvReader) close() {}

func (r *csvReader) mark() mark { return mark{row: r.row, offset: r.offset(), line: r.line} }

func (r *csvReader) next() ([]byte, error) {
	for {
		n, err := r.upTo(0)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.EOF
		}
		r.began = r.line + 1
		if b := r.buf[r.pos : r.pos+n]; bytes.IndexByte(b, '"') < 0 {
			raw := r.take(n, 1)
			if len(raw) == 0 && r.width != 1 {
				continue // an empty line is no row
			}
			r.fields = -1
			r.row++
			return raw, nil
		}
		return r.quoted(n)
	}
}

// quoted is next for a row with quotes, which may go on over several lines.
func (r *csvReader) quoted(n int) ([]byte, error) {
	w := walk{delim: r.s.delim}
	count := int64(1)
	for {
		whole, err := w.on(r.buf[r.pos : r.pos+n])
		if err != nil {
			return nil, r.c.wrong(r.began+int64(bytes.Count(r.buf[r.pos:r.pos+w.pos], []byte("\n"))), "%s", err)
		}
		if whole {
			break
		}
		more, err := r.upTo(n)
		if err != nil {
			return nil, err
		}
		if more == n {
			return nil, r.c.wrong(r.began, "a quote is opened in this row and never closed")
		}
		n = more
		count++
	}
	r.fields = w.fields
	r.row++
	return r.take(n, count), nil
}

func (r *csvReader) check(raw []byte) error {
	if r.s.wide > 0 {
		return &wideError{name: r.c.name, columns: r.s.wide}
	}
	r.count(raw)
	if r.fields != r.width {
		return r.c.wrong(r.began, "%s, where the first row has %d", counted(r.fields, "field"), r.width)
	}
	return nil
}

// count knows the fields of a row without quotes only when it is asked: rows are
// checked once and read several times.
func (r *csvReader) count(raw []byte) {
	if r.fields < 0 {
		r.fields = bytes.Count(raw, []byte{r.s.delim}) + 1
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r *csvReader) cells(raw []byte, into [][]byte) [][]byte {
	into = into[:0]
	if bytes.IndexByte(raw, '"') < 0 {
		for {
			i := bytes.IndexByte(raw, r.s.delim)
			if i < 0 {
				return append(into, null(raw))
			}
			into = append(into, null(raw[:i]))
			raw = raw[i+1:]
		}
	}
	r.scratch = r.scratch[:0]
	if cap(r.scratch) < len(raw) { // cells lie in it, so it must not move
		r.scratch = make([]byte, 0, 2*len(raw))
	}
	for {
		cell, rest, more := r.field(raw)
		into = append(into, cell)
		if !more {
			return into
		}
		raw = rest
	}
}

func (r *csvReader) cell(raw []byte, column int) []byte {
	if bytes.IndexByte(raw, '"') >= 0 {
		r.whole = r.cells(raw, r.whole)
		return r.whole[column]
	}
	for ; column > 0; column-- {
		raw = raw[bytes.IndexByte(raw, r.s.delim)+1:]
	}
	if i := bytes.IndexByte(raw, r.s.delim); i >= 0 {
		raw = raw[:i]
	}
	return null(raw)
}

// null is nil for an empty field without quotes.
func null(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// field is the first one of a row that walk has been over, and what follows it.
func (r *csvReader) field(raw []byte) (cell, rest []byte, more bool) {
	if len(raw) == 0 || raw[0] != '"' {
		i := bytes.IndexByte(raw, r.s.delim)
		if i < 0 {
			return null(raw), nil, false
		}
		return null(raw[:i]), raw[i+1:], true
	}
	raw = raw[1:]
	from := len(r.scratch)
	for {
		i := bytes.IndexByte(raw, '"')
		r.scratch = append(r.scratch, raw[:i]...)
		raw = raw[i+1:]
		if len(raw) == 0 || raw[0] != '"' {
			break
		}
		r.scratch = append(r.scratch, '"')
		raw = raw[1:]
	}
	cell = r.scratch[from:len(r.scratch):len(r.scratch)]
	if len(raw) == 0 {
		return cell, nil, false
	}
	return cell, raw[1:], true
}
