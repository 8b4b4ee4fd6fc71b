package table

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// The forms of tables.
const (
	CSV       = "csv"
	JSONLines = "jsonl"
	Parquet   = "parquet"
)

// File is a table to compare: a file, or its bytes when Path is "". Name is what it
// was called, whose extension tells the form; the path needs none.
type File struct {
	Name string
	Path string
	Data []byte
}

// Options of a comparison; the zero value will do.
type Options struct {
	First  int    // how many rows of each kind to show, 10 if 0
	Temp   string // directory for what does not fit into memory, the system's if ""
	Memory int64  // bytes that rows and DuckDB may take, 256 MiB if 0

	Time time.Duration // for all of it, 5 minutes if 0
}

const mebibyte = 1 << 20

func (o Options) withDefaults() Options {
	if o.First == 0 {
		o.First = 10
	}
	if o.Temp == "" {
		o.Temp = os.TempDir()
	}
	if o.Memory == 0 {
		o.Memory = 256 * mebibyte
	}
	o.Memory = max(o.Memory, 64*mebibyte)
	if o.Time == 0 {
		o.Time = 5 * time.Minute
	}
	return o
}

// Form is the form that a file of this name should have, "" when it is no table's.
func Form(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".csv", ".tsv", ".tab":
		return CSV
	case ".jsonl", ".ndjson":
		return JSONLines
	case ".parquet", ".pq":
		return Parquet
	}
	return ""
}

// content is a file's bytes, open.
type content struct {
	name   string
	form   string
	second bool // of the two
	size   int64
	io.ReaderAt
	file *os.File // nil when the bytes are in memory
}

func (f File) open() (*content, error) {
	c := &content{name: f.Name, form: Form(f.Name)}
	if c.form == "" {
		return nil, &FormError{Name: f.Name, Form: "table", Reason: "its name has no extension of a table, like .csv, .jsonl or .parquet"}
	}
	if f.Path == "" {
		c.ReaderAt, c.size = bytes.NewReader(f.Data), int64(len(f.Data))
		return c, nil
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("open table %q: %w", f.Name, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file")
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open table %q: %w", f.Name, err)
	}
	c.ReaderAt, c.file, c.size = file, file, info.Size()
	return c, nil
}

func (c *content) close() {
	if c.file != nil {
		c.file.Close() // only read
	}
}

func (c *content) wrong(line int64, format string, args ...any) error {
	return &FormError{Name: c.name, Second: c.second, Form: c.form, Line: line, Reason: fmt.Sprintf(format, args...)}
}

// disguises are beginnings of what is no text.
var disguises = []struct{ magic, is string }{
	{"PAR1", "begins like Parquet"},
	{"\x1f\x8b", "is compressed with gzip"},
	{"\x28\xb5\x2f\xfd", "is compressed with zstd"},
	{"PK\x03\x04", "is a zip archive or a spreadsheet"},
	{"\xff\xfe", "is UTF-16, not UTF-8"},
	{"\xfe\xff", "is UTF-16, not UTF-8"},
}

// text checks that a file may be text, and returns its first bytes.
func (c *content) text() ([]byte, error) {
	head := make([]byte, min(c.size, 64<<10))
	if _, err := c.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read table %q: %w", c.name, err)
	}
	for _, d := range disguises {
		if bytes.HasPrefix(head, []byte(d.magic)) {
			return nil, c.wrong(1, "the file %s", d.is)
		}
	}
	if i := bytes.IndexByte(head, 0); i >= 0 {
		return nil, c.wrong(int64(bytes.Count(head[:i], []byte("\n")))+1, "a NUL byte: the file is not text")
	}
	return head, nil
}

// sameBytes compares two files of one size.
func sameBytes(ctx context.Context, a, b *content) (bool, error) {
	bufA, bufB := make([]byte, min(256<<10, a.size)), make([]byte, min(256<<10, a.size))
	for at := int64(0); at < a.size; {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		n := min(int64(len(bufA)), a.size-at)
		if _, err := a.ReadAt(bufA[:n], at); err != nil && err != io.EOF {
			return false, fmt.Errorf("read table %q: %w", a.name, err)
		}
		if _, err := b.ReadAt(bufB[:n], at); err != nil && err != io.EOF {
			return false, fmt.Errorf("read table %q: %w", b.name, err)
		}
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			return false, nil
		}
		at += n
	}
	return true, nil
}
