package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Format is the version of everything on disk that this package reads and writes.
const Format = 1

// formats is the version that is written, and how older ones become it: a step for N
// makes records of format N+1 of those of N. Blobs are named by their content and have
// no format.
type formats struct {
	current int
	steps   map[int]step
}

type step func(*badger.DB) error

func knownFormats() *formats { return &formats{current: Format, steps: map[int]step{}} }

// readFormat gives the format of the store, 0 when it has none: its first owner did
// not finish making it. One that this plumb does not know is an error.
func (s *Store) readFormat() (int, error) {
	b, err := os.ReadFile(s.path("format"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the format: %w", err)
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || have < 1 {
		return 0, fmt.Errorf("%w: %q is no version", ErrFormat, cutShort(b))
	}
	if have > s.formats.current {
		return 0, fmt.Errorf("%w%s: its format is %d, this plumb%s knows %d", ErrNewerFormat, in(s.writer()), have, in(s.version), s.formats.current)
	}
	for at := have; at < s.formats.current; at++ {
		if s.formats.steps[at] == nil {
			return 0, fmt.Errorf("its format is %d, which this plumb%s does not read any more; it knows %d", have, in(s.version), s.formats.current)
		}
	}
	return have, nil
}

// cutShort keeps what is no version from filling an error.
func cutShort(b []byte) []byte { return b[:min(len(b), 40)] }

func in(version string) string {
	if version == "" {
		return ""
	}
	return " (" + version + ")"
}

// writer is the version of plumb that last wrote to the store, as far as it is known.
func (s *Store) writer() string {
	b, err := os.ReadFile(s.path("writer"))
	if err != nil || len(b) > 200 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// signWriter notes which plumb writes here, for one that is too old to read it.
func (s *Store) signWriter() error {
	if s.version == "" || s.writer() == s.version {
		return nil
	}
	tmp := s.path("tmp", "writer")
	err := os.WriteFile(tmp, []byte(s.version+"\n"), 0o644)
	if err == nil {
		err = os.Rename(tmp, s.path("writer"))
	}
	if err != nil {
		return fmt.Errorf("noting which plumb writes to the store: %w", err)
	}
	return nil
}

func writeFormat(dir string, format int) error {
	tmp := filepath.Join(dir, "tmp", "format")
	if err := writeSynced(tmp, []byte(strconv.Itoa(format)+"\n")); err != nil {
		return fmt.Errorf("writing the format: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "format")); err != nil {
		return fmt.Errorf("writing the format: %w", err)
	}
	return syncDir(dir)
}
