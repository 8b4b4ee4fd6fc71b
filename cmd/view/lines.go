package view

import (
	"encoding/json"
	"fmt"
	"io"

	"plumb/engine"
	"plumb/engine/event"
)

// Lines prints one JSON object a line.
type Lines struct{ enc *json.Encoder }

// NewLines prints to w.
func NewLines(w io.Writer) *Lines {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return &Lines{e}
}

// Event prints an event of a run. A reader that hung up gets no more; the run goes
// on, and its exit status tells how it ended.
func (l *Lines) Event(e event.Event) { _ = l.enc.Encode(e) }

// Log prints a line of a log.
func (l *Lines) Log(line engine.LogLine) { _ = l.enc.Encode(line) }

// Log prints lines of stages for people, each behind its stage's name when there
// may be several.
type Log struct {
	w     io.Writer
	s     Style
	names bool
}

// NewLog prints to w.
func NewLog(w io.Writer, s Style, names bool) *Log { return &Log{w, s, names} }

// Line prints one line. On a terminal control characters are taken out, since a
// log must not be able to steer the reader's terminal.
func (l *Log) Line(line engine.LogLine) {
	text := line.Line
	if l.s.Width > 0 {
		text = printable(text)
	}
	if l.names {
		text = l.s.paint(dim, line.Stage+" | ") + text
	}
	fmt.Fprintln(l.w, text)
}
