package view

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"plumb/engine/event"
)

// screen keeps what a terminal would show: as much as is written to one here.
type screen struct {
	width int
	rows  [][]rune
	y     int
}

func newScreen(width int) *screen { return &screen{width: width, rows: [][]rune{nil}} }

func (s *screen) Write(b []byte) (int, error) {
	text := string(b)
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b[1A"):
			s.y--
			text = text[len("\x1b[1A"):]
		case strings.HasPrefix(text, "\x1b[2K"):
			s.rows[s.y] = nil
			text = text[len("\x1b[2K"):]
		case text[0] == '\r':
			text = text[1:]
		case text[0] == '\n':
			s.down()
			text = text[1:]
		case text[0] == '\x1b':
			return 0, fmt.Errorf("unknown escape in %q", text)
		default:
			r := []rune(text)[0]
			if columns(string(s.rows[s.y]))+cells(r) > s.width {
				s.down()
			}
			s.rows[s.y] = append(s.rows[s.y], r)
			text = text[len(string(r)):]
		}
	}
	return len(b), nil
}

func (s *screen) down() {
	if s.y++; s.y == len(s.rows) {
		s.rows = append(s.rows, nil)
	}
}

func (s *screen) lines() []string {
	var out []string
	for _, r := range s.rows {
		if len(r) > 0 {
			out = append(out, string(r))
		}
	}
	return out
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// liveRun is a run on a terminal that is drawn when the test says so.
func liveRun(s *screen, height int) *Run {
	return &Run{
		w: s, s: Style{Live: true, Width: s.width}, live: map[string]*liveStage{}, work: map[string]event.Event{}, done: make(chan struct{}),
		o: RunOptions{Now: func() time.Time { return start.Add(2 * time.Second) }, Size: func() (int, int) { return s.width, height }},
	}
}

func running(name string) event.Event {
	return event.Event{Type: event.StageState, Stage: name, State: "running", Time: start}
}

func TestLiveLeavesNothingBehind(t *testing.T) {
	const long = "a_stage_whose_name_is_longer_than_half_of_the_terminal_is_wide"
	lines := map[string]string{
		"plain": "epoch 1", "wide": strings.Repeat("wide ", 50), "squares": strings.Repeat("日本語", 50),
		"control": "\x1b[2J\x1b[31mred\x1b[0m\r done\x07", long: "x",
	}
	s := newScreen(60)
	r := liveRun(s, 24)
	for _, name := range keys(lines) {
		r.Event(running(name))
		r.Event(event.Event{Type: event.StageLog, Stage: name, Line: lines[name]})
		r.Event(event.Event{Type: event.StageUsage, Stage: name, Memory: 5 << 20})
	}
	r.Event(event.Event{Type: event.Progress, Message: "image sh", Done: 1 << 20, Total: 4 << 20})
	for range 3 {
		r.paint()
	}
	if got := s.lines(); len(got) != len(lines)+1 {
		t.Errorf("%d rows for %d stages and one pull:\n%s", len(got), len(lines), strings.Join(got, "\n"))
	}
	for _, line := range s.lines() {
		if columns(line) >= s.width {
			t.Errorf("the row fills the terminal: %q", line)
		}
	}
	if got := strings.Join(s.lines(), "\n"); !strings.Contains(got, "│ done") || !strings.Contains(got, "2.0 s") {
		t.Errorf("got\n%s", got)
	}
	for _, name := range keys(lines) {
		r.Event(event.Event{Type: event.StageState, Stage: name, State: "cached"})
	}
	close(r.done)
	r.wipe()
	if got := s.lines(); len(got) != len(lines)+1 { // the long name folds, which is fine for a line that stays
		t.Errorf("left:\n%s", strings.Join(got, "\n"))
	}
}

func TestLiveOnALowTerminal(t *testing.T) {
	s := newScreen(60)
	r := liveRun(s, 6)
	for i := range 30 {
		r.Event(running(fmt.Sprintf("stage-%02d", i)))
	}
	r.paint()
	got := s.lines()
	if len(got) != 4 || !strings.Contains(got[3], "… and 27 more running") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestPlainHasNoEscapes(t *testing.T) {
	var b bytes.Buffer
	r := NewRun(&b, Style{}, RunOptions{Now: func() time.Time { return start }})
	r.Event(running("a"))
	r.Event(event.Event{Type: event.StageLog, Stage: "a", Line: "\x1b[31mred\x1b[0m"})
	r.Event(event.Event{Type: event.StageState, Stage: "a", State: "succeeded", Seconds: 1.5})
	r.Close()
	if want := "▸ a  running\na | red\n✔ a  ran  1.5 s\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
