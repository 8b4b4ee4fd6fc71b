package table

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// parquetSource is a Parquet file, read by DuckDB as texts.
type parquetSource struct {
	c     *content
	o     Options
	own   *os.File // the copy of what was in memory
	path  string
	names []Column
	wide  bool // there are too many columns; names has none then
	forms []func([]byte) (kind, float64)
	long  []string // of each column the length of its values, as SQL, "" where they are short
}

func openParquet(ctx context.Context, c *content, o Options) (*parquetSource, error) {
	if err := checkMagic(c); err != nil {
		return nil, err
	}
	s := &parquetSource{c: c, o: o}
	file := c.file
	if file == nil {
		var err error
		if file, err = spilled(c, o.Temp); err != nil {
			return nil, err
		}
		s.own = file
	}
	// A path of this kind has no characters that would be a pattern, and stays the same
	// file whatever happens to the name.
	s.path = fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if err := s.readColumns(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// checkMagic keeps DuckDB closed for what is no Parquet at all.
func checkMagic(c *content) error {
	var head, tail [4]byte
	if c.size < 12 {
		return c.wrong(0, "%d bytes are too few", c.size)
	}
	if _, err := c.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("read table %q: %w", c.name, err)
	}
	if _, err := c.ReadAt(tail[:], c.size-4); err != nil && err != io.EOF {
		return fmt.Errorf("read table %q: %w", c.name, err)
	}
	if string(head[:]) != "PAR1" && string(head[:]) != "PARE" {
		return c.wrong(0, "it does not begin with PAR1")
	}
	if head != tail {
		return c.wrong(0, "it does not end with %s, so it is not whole", head)
	}
	return nil
}

// spilled writes content to a file without a name.
func spilled(c *content, dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "table-*")
	if err != nil {
		return nil, fmt.Errorf("copy table %q: %w", c.name, err)
	}
	_, err = io.Copy(f, io.NewSectionReader(c, 0, c.size))
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		f.Close()
		return nil, fmt.Errorf("copy table %q: %w", c.name, err)
	}
	return f, nil
}

func (s *parquetSource) readColumns(ctx context.Context) error {
	d, err := openDuck(s.path, s.o)
	if err != nil {
		return err
	}
	defer d.close()
	q, err := d.start(ctx, "SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet("+quoted(s.path)+"))")
	if err != nil {
		return s.explain(ctx, err)
	}
	defer q.close()
	s.names = []Column{}
	seen := names{}
	for {
		ok, err := q.next()
		if err != nil {
			return s.explain(ctx, err)
		}
		if !ok {
			return nil
		}
		if len(s.names) == maxColumns {
			s.wide, s.names = true, []Column{}
			return nil
		}
		declared := string(q.text(1))
		s.names = append(s.names, Column{Name: seen.unique(printable(q.text(0))), Type: strings.ToLower(declared)})
		s.forms = append(s.forms, classifier(declared))
		s.long = append(s.long, lengthOf(declared))
	}
}

// classifier reads the values of a declared type.
func classifier(declared string) func([]byte) (kind, float64) {
	name, _, _ := strings.Cut(declared, "(")
	switch name {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
		"FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "BOOLEAN":
		return func(b []byte) (kind, float64) {
			if len(b) == 0 {
				return kindText, 0
			}
			return parse(b)
		}
	}
	return func([]byte) (kind, float64) { return kindText, 0 }
}

// explain makes a query's error one of the file, where it is not one of the machine.
func (s *parquetSource) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *duckError
	if !errors.As(err, &e) {
		return err
	}
	if e.kind == duckdb.ErrorTypeOutOfMemory || strings.HasPrefix(e.message, "Out of Memory") {
		return &memoryError{s.c.name, e.Error()}
	}
	return s.c.wrong(0, "%s", strings.ReplaceAll(e.Error(), s.path, s.c.name))
}

func (s *parquetSource) columns() []Column  { return s.names }
func (s *parquetSource) splitter() splitter { return &parquetReader{s: s} }

func (s *parquetSource) rowCount(ctx context.Context) (int64, error) {
	d, err := openDuck(s.path, s.o)
	if err != nil {
		return 0, err
	}
	defer d.close()
	q, err := d.start(ctx, "SELECT CAST(count(*) AS VARCHAR) FROM read_parquet("+quoted(s.path)+")")
	if err != nil {
		return 0, s.explain(ctx, err)
	}
	defer q.close()
	if _, err := q.next(); err != nil {
		return 0, s.explain(ctx, err)
	}
	return strconv.ParseInt(string(q.text(0)), 10, 64)
}

func (s *parquetSource) describe(*Size) {}

func (s *parquetSource) classify(column int, cell []byte) (kind, float64) {
	return s.forms[column](cell)
}

func (s *parquetSource) close() {
	if s.own != nil {
		s.own.Close()
	}
}

// lengthOf measures the values of a declared type that can be long each.
func lengthOf(declared string) string {
	switch declared {
	case "VARCHAR", "JSON":
		return "strlen"
	case "BLOB":
		return "octet_length"
	}
	return ""
}

// selection reads all columns as texts. DuckDB has some 2,000 rows in memory at a time,
// each with its own copy of a value that the file may have but once, and counts none of
// that to its limit. So values that would take too much of Options.Memory are read as
// their beginning (none of bytes) and digest, which tell whether they are equal and are more than what
// is shown of them. Texts that look like these are read so too, to be none.
func (s *parquetSource) selection() string {
	const vector, most, least = 2048, 64 << 10, 1 << 10
	n := 0
	for _, length := range s.long {
		if length != "" {
			n++
		}
	}
	limit := max(least, min(most, s.o.Memory/8/vector/int64(max(1, n))))
	var sql strings.Builder
	for i, length := range s.long {
		if i > 0 {
			sql.WriteString(", ")
		}
		c := fmt.Sprintf("#%d", i+1)
		if length == "" {
			fmt.Fprintf(&sql, "CAST(%s AS VARCHAR)", c)
			continue
		}
		isLong, begin := fmt.Sprintf("%s(%s) > %d", length, c, limit), "''"
		if length == "strlen" { // c[:200] would copy all of c first
			begin = "left(" + c + ", 200)"
			isLong += fmt.Sprintf(" OR strlen(%s) BETWEEN 80 AND %d AND contains(%s, ' bytes, SHA-256 ')", c, least, c)
		}
		fmt.Fprintf(&sql, "CASE WHEN %s THEN %s || '… (' || %s(%s) || ' bytes, SHA-256 ' || sha256(%s) || ')' ELSE CAST(%s AS VARCHAR) END",
			isLong, begin, length, c, c, c)
	}
	return "SELECT " + sql.String() + " FROM read_parquet(" + quoted(s.path) + ")"
}

// columnMemory is what a column takes in DuckDB, as measured with ten thousand.
const columnMemory = 128 << 10

// rows always begins at the first one: its reader's mark is nowhere else.
func (s *parquetSource) rows(ctx context.Context, _ mark) (rowReader, error) {
	if s.wide {
		return nil, &wideError{name: s.c.name, columns: maxColumns, more: true}
	}
	// DuckDB takes some 2,000 rows at a time, which of many columns is much.
	o := s.o
	o.Memory = max(o.Memory, min(2*o.Memory, int64(len(s.names))*2*columnMemory))
	d, err := openDuck(s.path, o)
	if err != nil {
		return nil, err
	}
	q, err := d.start(ctx, s.selection())
	if err != nil {
		d.close()
		return nil, s.explain(ctx, err)
	}
	return &parquetReader{s: s, ctx: ctx, d: d, q: q}, nil
}

type parquetReader struct {
	s     *parquetSource
	ctx   context.Context
	d     *duck
	q     *query
	raw   []byte
	whole [][]byte
}

func (r *parquetReader) mark() mark         { return mark{} }
func (r *parquetReader) check([]byte) error { return nil }

func (r *parquetReader) close() {
	r.q.close()
	r.d.close()
}

// next writes a row as the lengths and texts of its cells; a length of 0 is a null,
// and others are one more than they say.
func (r *parquetReader) next() ([]byte, error) {
	ok, err := r.q.next()
	if err != nil {
		return nil, r.s.explain(r.ctx, err)
	}
	if !ok {
		return nil, io.EOF
	}
	r.raw = r.raw[:0]
	for i := range r.s.names {
		cell := r.q.text(i)
		if cell == nil {
			r.raw = append(r.raw, 0)
			continue
		}
		r.raw = binary.AppendUvarint(r.raw, uint64(len(cell))+1)
		r.raw = append(r.raw, cell...)
	}
	return r.raw, nil
}

func (r *parquetReader) cells(raw []byte, into [][]byte) [][]byte {
	into = into[:0]
	for len(raw) > 0 {
		n, w := binary.Uvarint(raw)
		raw = raw[w:]
		if n == 0 {
			into = append(into, nil)
			continue
		}
		into = append(into, raw[:n-1:n-1])
		raw = raw[n-1:]
	}
	return into
}

func (r *parquetReader) cell(raw []byte, column int) []byte {
	r.whole = r.cells(raw, r.whole)
	return r.whole[column]
}
