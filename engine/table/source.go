package table

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// source is a table that can be read from several places. Rows come in order, and
// each form of file has one kind of source.
type source interface {
	// columns of the table; those of JSON Lines are known when all rows have been checked.
	columns() []Column
	rows(ctx context.Context, from mark) (rowReader, error)
	splitter() splitter
	// classify tells the kind of a cell that is no null, and its value if it is a number
	// or a time.
	classify(column int, cell []byte) (kind, float64)
	// rowCount is how many rows there are, without looking into them.
	rowCount(ctx context.Context) (int64, error)
	// describe fills in what only this form has to say.
	describe(*Size)
	close()
}

// mark is a place in a table from which it can be read.
type mark struct {
	row    int64 // how many rows come before
	offset int64 // of a file with lines
	line   int64 // likewise: how many lines come before
}

// splitter splits rows that were checked. One goroutine may use it at a time.
type splitter interface {
	// cells are those of a row, nil being a null. What it gives may lie in
	// raw, and lasts as long.
	cells(raw []byte, into [][]byte) [][]byte
	// cell is one of them.
	cell(raw []byte, column int) []byte
}

type rowReader interface {
	splitter
	// next is the next row as the file has it, to be read until the next call; io.EOF
	// after the last.
	next() ([]byte, error)
	// check says what is wrong with the row that next gave.
	check(raw []byte) error
	// mark is where the next row begins.
	mark() mark
	close()
}

func openSource(ctx context.Context, c *content, o Options) (source, error) {
	switch c.form {
	case CSV:
		return openCSV(c)
	case JSONLines:
		return openJSONLines(c)
	}
	return openParquet(ctx, c, o)
}

// maxRecord is how long a row of a text file may be: memory stays bounded also when a
// quote is never closed.
const maxRecord = 16 * mebibyte

// lines cuts a file into lines without copying them.
type lines struct {
	c        *content
	buf      []byte
	pos, end int   // what was read and not taken
	base     int64 // where buf begins in the file
	line     int64 // lines taken
}

func newLines(c *content, from mark) *lines {
	return &lines{c: c, buf: make([]byte, min(256<<10, c.size+1)), base: from.offset, line: from.line}
}

func (l *lines) offset() int64 { return l.base + int64(l.pos) }

// upTo is how many bytes there are to the end of the line that goes on after the
// first skip bytes, with the newline; what is there at the end of the file.
func (l *lines) upTo(skip int) (int, error) {
	for {
		if i := bytes.IndexByte(l.buf[l.pos+skip:l.end], '\n'); i >= 0 {
			return skip + i + 1, nil
		}
		skip = l.end - l.pos
		if l.base+int64(l.end) >= l.c.size {
			return skip, nil
		}
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
}

func (l *lines) fill() error {
	if l.pos > 0 {
		copy(l.buf, l.buf[l.pos:l.end])
		l.base += int64(l.pos)
		l.pos, l.end = 0, l.end-l.pos
	}
	if l.end == len(l.buf) {
		if l.end >= maxRecord {
			return l.c.wrong(l.line+1, "a row of more than %d MiB begins here", maxRecord/mebibyte)
		}
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
	}
	n := min(int64(len(l.buf)-l.end), l.c.size-l.base-int64(l.end))
	got, err := l.c.ReadAt(l.buf[l.end:l.end+int(n)], l.base+int64(l.end))
	if int64(got) < n {
		return fmt.Errorf("read table %q: %w", l.c.name, err)
	}
	l.end += got
	return nil
}

// take gives n bytes of so many lines, without the last one's ending.
func (l *lines) take(n int, count int64) []byte {
	b := l.buf[l.pos : l.pos+n]
	l.pos += n
	l.line += count
	if n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
		if n > 1 && b[n-2] == '\r' {
			b = b[:n-2]
		}
	}
	return b
}

// names makes columns told apart by their names, which are cut when they are long.
type names map[string]int // how often it was asked for

func (n names) unique(name string) string {
	unique := name
	for n[unique] > 0 {
		n[name]++
		unique = fmt.Sprintf("%s#%d", name, n[name])
	}
	n[unique]++
	return unique
}

// countRows is how many rows a reader has, unchecked.
func countRows(ctx context.Context, r rowReader, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	defer r.close()
	for n := int64(0); ; n++ {
		if n%often == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if _, err := r.next(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return 0, err
		}
	}
}

// often is after how many rows to look whether to go on: rows can be long.
const often = 64
