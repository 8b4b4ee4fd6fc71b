package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// Bounds of what is kept of a stage's printing.
const (
	maxLog    = 256 << 20 // bytes of one attempt
	maxLine   = 16 << 10  // bytes of a line as an event; the log has it whole
	tailLen   = 20        // lines that a failure shows
	perSecond = 2000      // lines that become events; nobody could read more, and the log has them all
)

// stageLog receives what one attempt prints: it keeps the bytes in a file, tells each
// line, and remembers the last ones. Its memory is bounded whatever comes, and a stage
// that prints more than anybody could read is not held up by it: of what comes beyond
// the lines that are told, no more is looked at than its last lines.
type stageLog struct {
	mu      sync.Mutex
	file    *os.File
	size    int64
	full    bool
	partial []byte
	cut     bool // the line being read was told already, up to maxLine
	last    [tailLen]string
	lines   int // seen or passed over, the last of which are in last
	tell    func(string)
	second  int64         // the present one,
	told    int           // and how many lines were told in it
	changed chan struct{} // closed and replaced at every write
	closed  bool
}

func newStageLog(path string, tell func(string)) (*stageLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the log: %w", err)
	}
	return &stageLog{file: f, tell: tell, changed: make(chan struct{})}, nil
}

// Write takes bytes as they come. It never refuses any, so that a full log does
// not break a stage.
func (l *stageLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.keep(p); err != nil {
		return 0, err
	}
	if now := time.Now().Unix(); now != l.second {
		l.second, l.told = now, 0
	}
	for rest := p; len(rest) > 0; {
		if l.told >= perSecond {
			rest = l.passOver(rest)
		}
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		l.extend(line)
		if whole {
			l.endLine()
		}
		rest = after
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

// passOver leaves out all lines but the last ones.
func (l *stageLog) passOver(rest []byte) []byte {
	at := len(rest)
	for range tailLen + 1 {
		if at = bytes.LastIndexByte(rest[:at], '\n'); at < 0 {
			return rest
		}
	}
	l.partial, l.cut = l.partial[:0], false
	return rest[at+1:]
}

// keep appends to the file up to the limit, and says there when it was reached.
func (l *stageLog) keep(p []byte) error {
	if l.full || l.closed {
		return nil
	}
	if l.size+int64(len(p)) > maxLog {
		l.full = true
		p = append(append([]byte(nil), p[:maxLog-l.size]...), fmt.Sprintf("\n[the log is cut here: %d MiB were kept of this attempt]\n", maxLog>>20)...)
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return err // the runtime says what it was doing
}

func (l *stageLog) extend(b []byte) {
	if l.cut {
		return
	}
	l.partial = append(l.partial, b[:min(len(b), maxLine-len(l.partial))]...)
	if len(l.partial) == maxLine {
		l.cut = true
	}
}

func (l *stageLog) endLine() {
	line := string(bytes.TrimSuffix(l.partial, []byte{'\r'}))
	if !utf8.ValidString(line) {
		line = string(bytes.ToValidUTF8([]byte(line), []byte("\uFFFD")))
	}
	l.partial, l.cut = l.partial[:0], false
	l.last[l.lines%tailLen] = line
	l.lines++
	if l.told < perSecond {
		l.told++
		l.tell(line)
	}
}

// tail is the last lines, the unfinished one included.
func (l *stageLog) tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for n := max(0, l.lines-tailLen); n < l.lines; n++ {
		out = append(out, l.last[n%tailLen])
	}
	return out
}

// finish ends the last line and gives the whole log for reading.
func (l *stageLog) finish() (io.Reader, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.endLine()
	}
	return io.NewSectionReader(l.file, 0, l.size), l.size, nil
}

// readAt copies what is kept from offset on; changed is closed when there is more.
func (l *stageLog) readAt(p []byte, offset int64) (n int, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, l.changed, os.ErrClosed
	}
	n, err = l.file.ReadAt(p[:min(int64(len(p)), l.size-offset)], offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, l.changed, err
}

func (l *stageLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.file.Close()
}
