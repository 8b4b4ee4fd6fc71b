package table

import (
	"errors"
	"fmt"
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
