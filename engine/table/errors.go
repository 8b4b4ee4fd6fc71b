package table

import (
	"errors"
	"fmt"
	"time"
)

// ErrForm is in the tree of every error that says that a file is not what its name
// promises. The files can still be compared as lines or bytes.
var ErrForm = errors.New("not of its form")

// FormError says where a file stops being of its form.
type FormError struct {
	Name   string // the file's
	Second bool   // it is the second of the two, where one is told from the other
	Form   string
	Line   int64 // from 1; 0 when the form has no lines
	Reason string
}

func (e *FormError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("read %q as %s: line %d: %s", e.Name, e.Form, e.Line, e.Reason)
	}
	return fmt.Sprintf("read %q as %s: %s", e.Name, e.Form, e.Reason)
}

// Is makes errors.Is(err, ErrForm) hold.
func (e *FormError) Is(target error) bool { return target == ErrForm }

// maxColumns is how many columns a table may have whose rows are compared: memory stays
// bounded, as much is kept of each.
const maxColumns = 10000

// wideError says that a table has too many columns.
type wideError struct {
	name    string
	columns int // as far as they were counted
	more    bool
}

func (e *wideError) Error() string {
	columns := counted(e.columns, "column")
	if e.more {
		columns = "more than " + columns
	}
	return fmt.Sprintf("%q has %s, and up to %d are compared", e.name, columns, maxColumns)
}

// timeError says that a comparison took too long.
type timeError struct{ limit time.Duration }

func (e *timeError) Error() string {
	return fmt.Sprintf("not done within %v", e.limit)
}

// memoryError says that DuckDB would need more memory than it may take.
type memoryError struct{ name, message string }

func (e *memoryError) Error() string {
	return fmt.Sprintf("some rows of %q need too much memory: %s", e.name, e.message)
}
