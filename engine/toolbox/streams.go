package toolbox

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
)

const bufferSize = 64 << 10

// out is the buffered standard output; Run flushes it.
func (c *Call) out() *bufio.Writer {
	if c.buffer == nil {
		c.buffer = bufio.NewWriterSize(c.Stdout, bufferSize)
	}
	return c.buffer
}

// open opens a file to read; "-" is standard input.
func (c *Call) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		if f, ok := c.Stdin.(*os.File); ok {
			return stdin{f}, nil
		}
		return io.NopCloser(c.Stdin), nil
	}
	f, err := os.Open(c.path(name))
	if err != nil {
		return nil, c.named(name, err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close() // was only read
		return nil, &os.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	return f, nil
}

// stdin is standard input that is a file: it can be asked what a file can, and is
// not the tool's to close.
type stdin struct{ *os.File }

func (stdin) Close() error { return nil }

// create opens a file to write.
func (c *Call) create(name string, mode int) (*os.File, error) {
	f, err := os.OpenFile(c.path(name), os.O_WRONLY|os.O_CREATE|mode, 0o666)
	return f, c.named(name, err)
}

// named is a file's error with the name that the user knows it by.
func (c *Call) named(name string, err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return &os.PathError{Op: p.Op, Path: name, Err: p.Err}
	}
	return err
}

// each calls f with each of the files, or standard input when there are none.
// One that cannot be read is told of, and the others are read.
func (c *Call) each(names []string, f func(name string, r io.Reader) error) error {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		r, err := c.open(name)
		if err == nil {
			err = f(name, r)
			r.Close() // was only read
		}
		if err == nil {
			continue
		}
		if !isFileError(err) {
			return err
		}
		if err := c.warn(err); err != nil {
			return err
		}
	}
	return nil
}

// isFileError says whether err is of one file, so that others may go well.
func isFileError(err error) bool {
	var p *os.PathError
	return errors.As(err, &p) && !errors.Is(err, errStop)
}

// errStop ends a walk over lines early.
var errStop = errors.New("stop")

// lines reads lines of any length.
type lines struct {
	r    *bufio.Reader
	end  byte
	long []byte
}

func newLines(r io.Reader, end byte) *lines {
	return &lines{r: bufio.NewReaderSize(r, bufferSize), end: end}
}

// next is a line without its end, valid until the next call. ended is false for a
// last line that has none.
func (l *lines) next() (line []byte, ended bool, err error) {
	line, err = l.r.ReadSlice(l.end)
	if err == bufio.ErrBufferFull {
		l.long = l.long[:0]
		for err == bufio.ErrBufferFull {
			l.long = append(l.long, line...)
			line, err = l.r.ReadSlice(l.end)
		}
		l.long = append(l.long, line...)
		line = l.long
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return nil, false, err
	}
	if n := len(line); err == nil {
		return line[:n-1], true, nil
	}
	return line, false, nil
}

// eachLine calls f with every line of the files.
func (c *Call) eachLine(names []string, end byte, f func(line []byte, ended bool) error) error {
	return c.each(names, func(_ string, r io.Reader) error {
		l := newLines(r, end)
		for {
			line, ended, err := l.next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := f(line, ended); err != nil {
				return err
			}
		}
	})
}

// readLines is all lines of the files.
func (c *Call) readLines(names []string, end byte) (all [][]byte, _ error) {
	err := c.each(names, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		all = append(all, splitLines(data, end)...)
		return err
	})
	return all, err
}

func splitLines(data []byte, end byte) (all [][]byte) {
	for len(data) > 0 {
		i := bytes.IndexByte(data, end)
		if i < 0 {
			i = len(data)
		}
		all = append(all, data[:i:i])
		data = data[min(i+1, len(data)):]
	}
	return all
}

// writeLine writes a line and its end.
func writeLine(w *bufio.Writer, line []byte, end byte) error {
	if _, err := w.Write(line); err != nil {
		return err
	}
	return w.WriteByte(end)
}
