package view

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"

	"plumb/engine/event"
)

// RunOptions says how much of a run is told.
type RunOptions struct {
	Quiet   bool
	Verbose bool
	Now     func() time.Time
	Size    func() (columns, rows int) // of the terminal, asked before each drawing: it may change
}

// Run shows a run as it happens. On a terminal the running stages stand below, with
// time, memory and their last line, and are drawn anew ten times a second; what is
// done scrolls above. Elsewhere there are plain lines only, what stages print
// included, since that is what people look for in the log of a CI job.
type Run struct {
	w    io.Writer
	s    Style
	o    RunOptions
	mu   sync.Mutex
	live map[string]*liveStage
	work map[string]event.Event // long work besides stages, by what it is
	rows []int                  // the columns of each row drawn below, to be wiped before the next line
	done chan struct{}
	wait sync.WaitGroup
	wide int // the longest stage name so far
}

type liveStage struct {
	since  time.Time
	memory int64
	line   string
}

// NewRun shows to w until Close.
func NewRun(w io.Writer, s Style, o RunOptions) *Run {
	r := &Run{w: w, s: s, o: o, live: map[string]*liveStage{}, work: map[string]event.Event{}, done: make(chan struct{})}
	if s.Live && !o.Quiet {
		r.wait.Go(r.redraw)
	}
	return r
}

// redrawEvery is often enough to look alive.
const redrawEvery = 100 * time.Millisecond

func (r *Run) redraw() {
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-t.C:
			r.mu.Lock()
			r.paint()
			r.mu.Unlock()
		}
	}
}

// Close wipes what is still drawn.
func (r *Run) Close() {
	close(r.done)
	r.wait.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wipe()
}

// wiped is what removes the rows drawn below, one by one: some terminals keep a
// screen that is cleared at once in their history. A terminal that was made narrower
// meanwhile has folded them.
func (r *Run) wiped() string {
	up := 0
	for _, n := range r.rows {
		up += 1 + max(0, n-1)/max(1, r.s.Width)
	}
	r.rows = nil
	if up == 0 {
		return ""
	}
	return strings.Repeat("\x1b[1A\x1b[2K", up) + "\r"
}

func (r *Run) wipe() {
	io.WriteString(r.w, r.wiped()) //nolint:errcheck // a terminal that is gone takes nothing
}

// most is how many rows are drawn at most, and fewer on a low terminal.
const most = 12

// paint draws long work and the running stages.
func (r *Run) paint() {
	room := most
	if r.o.Size != nil {
		columns, rows := r.o.Size()
		if columns > 0 {
			r.s.Width = columns
		}
		if rows > 0 {
			room = max(1, min(most, rows-2))
		}
	}
	var b strings.Builder // written at once, so that nothing flickers
	b.WriteString(r.wiped())
	var lines []string
	for _, k := range keys(r.work) {
		lines = append(lines, "  "+progressLine(k, r.work[k]))
	}
	running := r.running()
	for i, n := range running {
		if rest := len(running) - i; len(lines) == room-1 && rest > 1 {
			lines = append(lines, fmt.Sprintf("  … and %d more running", rest))
			break
		}
		lines = append(lines, r.stageLine(n, r.live[n]))
	}
	for _, l := range lines {
		// The last column stays free: some terminals fold a line that fills it.
		l = r.s.clip(l, 1)
		r.rows = append(r.rows, columns(l))
		b.WriteString(r.dress(l) + "\n")
	}
	io.WriteString(r.w, b.String()) //nolint:errcheck // a terminal that is gone takes nothing
}

// running names the running stages, the oldest first.
func (r *Run) running() []string {
	names := keys(r.live)
	sort.SliceStable(names, func(i, j int) bool { return r.live[names[i]].since.Before(r.live[names[j]].since) })
	return names
}

// nameColumn is how wide the column of names is: as the longest name, but one long
// name must not push all else out of sight.
func (r *Run) nameColumn() int {
	const widest = 40
	if r.s.Width == 0 {
		return min(r.wide, widest)
	}
	return min(r.wide, max(16, min(widest, r.s.Width/3)))
}

// lastLine stands between what a stage uses and what it printed.
const lastLine = "  │ "

func (r *Run) stageLine(name string, st *liveStage) string {
	took := seconds(r.o.Now().Sub(st.since).Truncate(100 * time.Millisecond).Seconds())
	head := fmt.Sprintf("  ▸ %s  %6s", pad(cut(name, r.nameColumn()), r.nameColumn()), took)
	if st.memory > 0 {
		head += fmt.Sprintf("  %9s", size(st.memory))
	}
	if line := strings.TrimSpace(printable(st.line)); line != "" {
		head += lastLine + line
	}
	return head
}

// dress colours a row that was cut to its length.
func (r *Run) dress(row string) string {
	if !strings.HasPrefix(row, "  ▸") {
		return row
	}
	head, line, ok := strings.Cut(row, lastLine)
	if !ok {
		return r.s.paint(blue, row)
	}
	return r.s.paint(blue, head) + r.s.paint(dim, lastLine+line)
}

func progressLine(what string, e event.Event) string {
	if e.Total <= 0 {
		return fmt.Sprintf("%s  %s", what, amount(e, e.Done))
	}
	const cells = 24
	full := int(min(e.Done, e.Total) * cells / e.Total)
	return fmt.Sprintf("%s  [%s%s] %3d %%  %s", what, strings.Repeat("█", full), strings.Repeat("░", cells-full), 100*min(e.Done, e.Total)/e.Total, amount(e, e.Total))
}

// amount is how much of long work there is, or is done.
func amount(e event.Event, n int64) string {
	if e.Unit == "" {
		return size(n)
	}
	return fmt.Sprintf("%d %s", n, e.Unit)
}

// say prints a line that stays.
func (r *Run) say(line string) {
	io.WriteString(r.w, r.wiped()+line+"\n") //nolint:errcheck // a terminal that is gone takes nothing
}

// Event takes the next event.
func (r *Run) Event(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wide = max(r.wide, columns(e.Stage))
	switch e.Type {
	case event.RunStarted:
		if r.o.Verbose {
			r.say("run " + string(e.Run))
		}
	case event.StageState:
		r.stage(e)
	case event.Resumed:
		if !r.o.Quiet {
			r.say(r.s.paint(blue, "↻ ") + pad(e.Stage, r.nameColumn()) + "  " + e.Message)
		}
	case event.StageLog:
		r.printed(e)
	case event.StageUsage:
		if st := r.live[e.Stage]; st != nil {
			st.memory = e.Memory
		}
	case event.Progress:
		r.progress(e)
	case event.Warning:
		r.say(r.s.paint(yellow, "warning: ") + printable(e.Message))
	case event.RunFinished:
		r.live, r.work = map[string]*liveStage{}, map[string]event.Event{}
		r.wipe()
		if !r.o.Quiet || e.Status != "succeeded" {
			summary(r.w, r.s, e, r.o)
		}
	}
}

func (r *Run) progress(e event.Event) {
	_, begun := r.work[e.Message]
	if e.Total > 0 && e.Done >= e.Total {
		delete(r.work, e.Message)
		if begun && !r.s.Live && !r.o.Quiet {
			r.say(e.Message + "  " + amount(e, e.Total) + "  done")
		}
		return
	}
	if !begun && !r.s.Live && !r.o.Quiet { // nobody sees a bar: a line says that it takes a while
		r.say(e.Message + "  " + amount(e, max(e.Total, e.Done)))
	}
	r.work[e.Message] = e
}

func (r *Run) printed(e event.Event) {
	if st := r.live[e.Stage]; st != nil && strings.TrimSpace(e.Line) != "" {
		st.line = e.Line
	}
	if !r.s.Live && !r.o.Quiet || r.o.Verbose {
		r.say(r.s.paint(dim, e.Stage+" | ") + printable(e.Line))
	}
}

func (r *Run) stage(e event.Event) {
	name := pad(e.Stage, r.nameColumn())
	took := ""
	if e.Seconds > 0 {
		took = "  " + seconds(e.Seconds)
	}
	line := ""
	switch e.State {
	case "running":
		r.live[e.Stage] = &liveStage{since: e.Time}
		if r.s.Live || r.o.Quiet {
			return
		}
		line = "▸ " + name + "  running"
		if e.Reason != "" {
			line += "  " + printable(e.Reason)
		}
	case "cached":
		line = r.s.paint(dim, "· "+name+"  cached")
	case "succeeded":
		line = r.s.paint(green, "✔ ") + name + "  ran" + took
		if r.s.Live && e.Reason != "" {
			line += r.s.paint(dim, "  "+r.s.clip(printable(e.Reason), columns(name)+20))
		}
	case "failed":
		line = r.s.paint(red, "✘ ") + name + "  " + r.s.paint(red, "failed") + took + "  " + printable(e.Message)
	case "skipped":
		line = r.s.paint(dim, "- "+name+"  skipped  "+printable(e.Reason))
	case "canceled":
		line = r.s.paint(yellow, "- "+name+"  canceled")
	default:
		return
	}
	if e.State != "running" {
		delete(r.live, e.Stage)
	}
	if !r.o.Quiet || e.State == "failed" {
		r.say(line)
	}
}
