package table

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
)

// jsonSource is JSON Lines: an object a line, whose members are the columns in the
// order in which they first appear. What a row lacks is null. Cells are JSON texts
// without white space, so that 1 and "1" differ.
type jsonSource struct {
	c     *content
	start mark
	names []Column
	index map[string]int // by the whole name
	seen  names
}

func openJSONLines(c *content) (*jsonSource, error) {
	head, err := c.text()
	if err != nil {
		return nil, err
	}
	s := &jsonSource{c: c, names: []Column{}, index: map[string]int{}, seen: names{}}
	if bytes.HasPrefix(head, []byte("\ufeff")) {
		s.start.offset = 3
	}
	return s, nil
}

func (s *jsonSource) columns() []Column  { return s.names }
func (s *jsonSource) close()             {}
func (s *jsonSource) splitter() splitter { return &jsonReader{s: s} }

func (s *jsonSource) rowCount(ctx context.Context) (int64, error) {
	r, err := s.rows(ctx, mark{})
	return countRows(ctx, r, err)
}

func (s *jsonSource) describe(*Size) {}

func (s *jsonSource) classify(_ int, cell []byte) (kind, float64) {
	switch cell[0] {
	case '"':
		return kindString, 0
	case '{':
		return kindObject, 0
	case '[':
		return kindList, 0
	}
	return parse(cell)
}

func (s *jsonSource) rows(_ context.Context, from mark) (rowReader, error) {
	if from == (mark{}) {
		from = s.start
	}
	return &jsonReader{s: s, lines: newLines(s.c, from), row: from.row}, nil
}

type jsonReader struct {
	s *jsonSource
	*lines
	row     int64
	scratch bytes.Buffer
	whole   [][]byte
}

func (r *jsonReader) close() {}

func (r *jsonReader) mark() mark { return mark{row: r.row, offset: r.offset(), line: r.line} }

func (r *jsonReader) next() ([]byte, error) {
	for {
		n, err := r.upTo(0)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.EOF
		}
		if raw := bytes.TrimSpace(r.take(n, 1)); len(raw) > 0 {
			r.row++
			return raw, nil
		}
	}
}

// check also learns the names of columns, so it is called by one reader at a time and
// before there are others.
func (r *jsonReader) check(raw []byte) error {
	if !json.Valid(raw) {
		var v any
		return r.c.wrong(r.line, "%s", json.Unmarshal(raw, &v))
	}
	if raw[0] != '{' {
		return r.c.wrong(r.line, "not an object, so no row")
	}
	members(raw, func(key, _ []byte) {
		if _, ok := r.s.index[string(key)]; !ok && len(r.s.names) <= maxColumns {
			r.s.index[string(key)] = len(r.s.names)
			r.s.names = append(r.s.names, Column{Name: r.s.seen.unique(printable(key))})
		}
	})
	if len(r.s.names) > maxColumns {
		return &wideError{name: r.c.name, columns: maxColumns, more: true}
	}
	return nil
}

func (r *jsonReader) cells(raw []byte, into [][]byte) [][]byte {
	into = slices.Grow(into[:0], len(r.s.names))[:len(r.s.names)]
	clear(into)
	r.scratch.Reset()
	r.scratch.Grow(2 * len(raw)) // cells lie in it, so it must not move
	members(raw, func(key, value []byte) {
		into[r.s.index[string(key)]] = r.value(value)
	})
	return into
}

// value writes a JSON text in the one way in which it is compared.
func (r *jsonReader) value(v []byte) []byte {
	from := r.scratch.Len()
	switch {
	case v[0] == 'n':
		return nil
	case v[0] == '{' || v[0] == '[':
		if json.Compact(&r.scratch, v) != nil { // it was checked
			return v
		}
		return r.scratch.Bytes()[from:r.scratch.Len():r.scratch.Len()]
	case v[0] == '"' && bytes.IndexByte(v, '\\') >= 0:
		return requoted(v)
	}
	return v
}

// requoted is a JSON string with no more escapes than it needs.
func requoted(v []byte) []byte {
	var s string
	if json.Unmarshal(v, &s) != nil { // it was checked
		return v
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return v
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// members calls each with the members of a valid JSON object, keys without quotes.
func members(b []byte, each func(key, value []byte)) {
	b = b[1:]
	for {
		b = bytes.TrimLeft(b, " \t\r\n,")
		if b[0] == '}' {
			return
		}
		n := valueEnd(b)
		key := b[1 : n-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			var s string
			if json.Unmarshal(b[:n], &s) == nil {
				key = []byte(s)
			}
		}
		b = bytes.TrimLeft(b[n:], " \t\r\n:")
		n = valueEnd(b)
		each(key, b[:n])
		b = b[n:]
	}
}

// valueEnd is where a value ends that valid JSON begins with.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

func (r *jsonReader) cell(raw []byte, column int) []byte {
	r.whole = r.cells(raw, r.whole)
	return r.whole[column]
}
