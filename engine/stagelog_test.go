package engine

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStageLogTail writes more lines than are told, in pieces of any size: the bytes are
// all kept, the first lines are told, and the last ones are known.
func TestStageLogTail(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		var told []string
		l, err := newStageLog(filepath.Join(t.TempDir(), "log"), func(line string) { told = append(told, line) })
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for n := range r.IntN(3 * perSecond) {
			fmt.Fprintf(&text, "line %d %s\n", n, strings.Repeat("x", r.IntN(40)))
		}
		if r.IntN(2) == 0 {
			text.WriteString("without an end")
		}
		for rest := text.String(); rest != ""; {
			n := min(len(rest), 1+r.IntN(1<<r.IntN(17)))
			if _, err := l.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		kept, size, err := l.finish()
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(kept)
		if err != nil || string(all) != text.String() || size != int64(text.Len()) {
			t.Fatalf("seed %d: of %d bytes %d are kept, %v", seed, text.Len(), size, err)
		}
		lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
		if text.Len() == 0 {
			lines = nil
		}
		if d := cmp.Diff(lines[max(0, len(lines)-tailLen):], l.tail()); d != "" && len(lines) > 0 {
			t.Errorf("seed %d: the last lines (-want +got):\n%s", seed, d)
		}
		// A second may end in between, and then there is more to tell.
		if len(told) < min(perSecond, len(lines)) || len(told) > 2*perSecond {
			t.Errorf("seed %d: of %d lines %d were told", seed, len(lines), len(told))
		}
		if d := cmp.Diff(lines[:min(perSecond, len(lines))], told[:min(perSecond, len(told))]); d != "" {
			t.Errorf("seed %d: the first lines (-want +got):\n%s", seed, d)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStageLogOfOneLine is bounded in memory, however long it gets.
func TestStageLogOfOneLine(t *testing.T) {
	var told []string
	l, err := newStageLog(filepath.Join(t.TempDir(), "log"), func(line string) { told = append(told, line) })
	if err != nil {
		t.Fatal(err)
	}
	chunk := []byte(strings.Repeat("x", 1<<20))
	for range maxLog>>20 + 8 {
		if _, err := l.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	kept, size, err := l.finish()
	if err != nil {
		t.Fatal(err)
	}
	end := make([]byte, 200)
	n, err := kept.(io.ReaderAt).ReadAt(end, size-int64(len(end)))
	if err != nil && err != io.EOF || !strings.HasSuffix(string(end[:n]), "\n[the log is cut here: 256 MiB were kept of this attempt]\n") {
		t.Errorf("it ends with %q, %v", end[:n], err)
	}
	if len(told) != 1 || len(told[0]) != maxLine || cap(l.partial) > 4*maxLine {
		t.Errorf("%d lines were told, and %d bytes are held", len(told), cap(l.partial))
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
