package toolbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// advance makes the next line the one ahead, from the next file where one ended.
func (e *editor) advance() error {
	e.fetch()
	for !e.ahead.ok && len(e.files) > 0 {
		if err := e.finish(); err != nil {
			return err
		}
		if err := e.open(); err != nil {
			return err
		}
		e.fetch()
	}
	return nil
}

func (e *editor) open() error {
	e.name = e.files[0]
	e.files = e.files[1:]
	if e.separate {
		e.line = 0
	}
	r, err := e.c.open(e.name)
	if err != nil {
		e.warned(err)
		return nil
	}
	e.in, e.input = newLines(r, e.end), r
	if !e.inPlace || e.name == "-" {
		return nil
	}
	return e.openTarget()
}

func (e *editor) openTarget() error {
	path := e.c.path(e.name)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", e.name)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".sed*")
	if err != nil {
		return fmt.Errorf("editing %s in place: %w", e.name, err)
	}
	e.target = f
	e.out = bufio.NewWriterSize(f, bufferSize)
	e.unended = false
	return errors.Join(f.Chmod(info.Mode()), chownLike(f, info))
}

// finish puts an edited file in its place.
func (e *editor) finish() error {
	if e.target == nil {
		return nil
	}
	f, path := e.target, e.c.path(e.name)
	e.target = nil
	err := errors.Join(e.out.Flush(), f.Close())
	e.out, e.unended = e.c.out(), false
	if err == nil && e.suffix != "" {
		backup := path + e.suffix
		if strings.Contains(e.suffix, "*") {
			backup = filepath.Join(filepath.Dir(path), strings.ReplaceAll(e.suffix, "*", filepath.Base(path)))
		}
		err = os.Rename(path, backup)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("editing %s in place: %w", e.name, err), os.Remove(f.Name()))
	}
	return err
}

// read takes the next line into the pattern space; false at the end.
func (e *editor) read() (bool, error) {
	if !e.undecided {
		if err := e.advance(); err != nil {
			return false, err
		}
	}
	e.undecided = false
	if !e.ahead.ok {
		return false, nil
	}
	e.space, e.ended = append(e.space[:0], e.ahead.line...), e.ahead.ended
	e.line++
	return true, e.look()
}

// look reads the line ahead, within the file when files are separate: then the
// next file is opened only when it is wanted.
func (e *editor) look() error {
	e.fetch()
	if e.ahead.ok {
		e.undecided = true
		return nil
	}
	if e.separate {
		return nil
	}
	for !e.ahead.ok && len(e.files) > 0 {
		if err := e.open(); err != nil {
			return err
		}
		e.fetch()
	}
	e.undecided = e.ahead.ok
	return nil
}

func (e *editor) isLast() bool { return !e.ahead.ok }

// more says whether n and N have another line.
func (e *editor) more() bool { return e.ahead.ok || len(e.files) > 0 }

func (e *editor) write(w *bufio.Writer, line []byte, ended bool) error {
	if w == e.out && e.unended {
		e.unended = false
		if err := w.WriteByte(e.end); err != nil {
			return err
		}
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	if !ended {
		e.unended = w == e.out
		return nil
	}
	return w.WriteByte(e.end)
}

// endCycle prints the pattern space and what a and r left.
func (e *editor) endCycle() error {
	if !e.quiet {
		if err := e.write(e.out, e.space, e.ended); err != nil {
			return err
		}
	}
	return e.dump()
}

func (e *editor) dump() error {
	for _, q := range e.after {
		if err := e.append(q); err != nil {
			return err
		}
	}
	e.after = e.after[:0]
	return nil
}

func (e *editor) append(q queued) error {
	if q.file == "" {
		return e.write(e.out, []byte(strings.TrimSuffix(q.text, "\n")), true)
	}
	if q.line {
		return e.appendLine(q.file)
	}
	r, err := e.c.open(q.file)
	if err != nil {
		return nil // a file that cannot be read is an empty one, says POSIX
	}
	defer r.Close() // was only read
	data, err := io.ReadAll(r)
	if err != nil || len(data) == 0 {
		return nil
	}
	if e.unended {
		e.unended = false
		e.out.WriteByte(e.end) // an error comes back from the next write
	}
	_, err = e.out.Write(data)
	return err
}

func (e *editor) appendLine(name string) error {
	l, ok := e.readers[name]
	if !ok {
		r, err := e.c.open(name)
		if err != nil {
			return nil // as for r
		}
		if f, is := r.(*os.File); is {
			e.opened = append(e.opened, f)
		}
		l = newLines(r, e.end)
		e.readers[name] = l
	}
	line, _, err := l.next()
	if err != nil {
		return nil // as for r
	}
	return e.write(e.out, line, true)
}
