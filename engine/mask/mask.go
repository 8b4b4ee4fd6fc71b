// Package mask hides values in text, whatever form they have there.
//
// A value is looked for as it is, line by line, and encoded (forms.go): base64 in
// both alphabets and at each of the three places where it can begin inside of a
// longer one, hexadecimal, escaped for a URL, for JSON, for HTML. Every byte that
// belongs to an occurrence of any form is hidden, and each stretch of hidden bytes
// is written as Stars.
//
// Text comes in pieces that end anywhere. A Writer holds back what could be the
// beginning of a form, and not a byte more, so that a line is not late unless it
// ends like one. It is done when Flush is called: what is held back then is no form.
//
// Forms longer than longest are cut into parts of that length, each of which is
// hidden by itself. So what is held back is little however long a value is, and a
// part of a long value is hidden too. What stays visible are bits: the first and
// last character of a base64 form that shares them with its neighbours.
//
// The search goes by the two bytes at the end of a window as long as the shortest
// form (Wu and Manber): most text is skipped by that length at each look. A gigabyte
// takes 0.1 to 0.3 s with a secret of 16 bytes and 0.5 to 1 s with one of 4 or with a
// key of many lines. The log behind takes 1.4 s, and all that the agent does for a stage
// that prints as much 4.7 s: see the benchmark here, and BenchmarkLog in package
// engine. An automaton (Aho and Corasick) looks at each byte, and would have a node
// for each byte of all forms. Three bytes in place of two, hashed, were slower.
package mask

import (
	"io"
	"sync"
)

// Stars stand for what is hidden.
const Stars = "***"

// Shortest is the length in bytes of the shortest value that is hidden: text is full
// of shorter ones.
const Shortest = 4

// Writer passes on what is written to it with the values of its Set hidden.
type Writer struct {
	set *Set
	to  io.Writer

	mu      sync.Mutex
	held    []byte // may be the beginning of a form
	covered int    // so much of held is hidden already, and Stars was written for it
	starred bool   // the last that was written was Stars
	joined  []byte // scratch
	out     []byte // scratch
}

// Writer makes one that writes to w.
func (s *Set) Writer(w io.Writer) *Writer { return &Writer{set: s, to: w} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := p
	if len(w.held) > 0 {
		w.joined = append(append(w.joined[:0], w.held...), p...)
		text = w.joined
	}
	if err := w.pass(text, w.set.decided(text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what is held back: nothing more comes, or nothing soon.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pass(w.held, len(w.held))
}

// pass writes text up to end and holds the rest. No form that begins before end
// goes beyond the text.
func (w *Writer) pass(text []byte, end int) error {
	w.out = w.out[:0]
	done := w.covered // text up to here is hidden, or in out
	for at := 0; ; {
		from, to := w.set.next(text, at, end)
		if from < 0 {
			break
		}
		if from > done {
			w.out = append(w.out, text[done:from]...)
			w.starred = false
		}
		if !w.starred {
			w.out = append(w.out, Stars...)
			w.starred = true
		}
		done = max(done, to)
		at = from + 1
	}
	var err error
	if plain := text[min(done, end):end]; len(plain) > 0 {
		w.starred = false
		if len(w.out) == 0 {
			_, err = w.to.Write(plain) // as nearly always: nothing is copied
		} else {
			w.out = append(w.out, plain...)
		}
	}
	if len(w.out) > 0 {
		_, err = w.to.Write(w.out)
	}
	w.covered = max(done-end, 0)
	w.held = append(w.held[:0], text[end:]...)
	return err
}

// String hides the values in a whole text. A nil Set hides nothing.
func (s *Set) String(text string) string {
	if s == nil || text == "" {
		return text
	}
	var out collector
	w := s.Writer(&out)
	// A collector takes everything.
	_ = w.pass([]byte(text), len(text))
	return string(out)
}

type collector []byte

func (c *collector) Write(p []byte) (int, error) {
	*c = append(*c, p...)
	return len(p), nil
}
