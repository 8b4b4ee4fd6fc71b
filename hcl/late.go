package hcl

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"plumb/hcl/funcs"
)

// WithSnippets adds source lines to diagnostics that were made after the files
// were read: an input that vanished, a stage that failed. A file that cannot be
// read any more leaves its diagnostics as they are.
func (ds Diagnostics) WithSnippets(dir string) Diagnostics {
	files := map[string][]byte{}
	for i := range ds {
		d := &ds[i]
		if d.Snippet != "" || d.Subject.File == "" {
			continue
		}
		src, ok := files[d.Subject.File]
		if !ok {
			src, _ = os.ReadFile(filepath.Join(dir, d.Subject.File)) //nolint:errcheck // see above
			files[d.Subject.File] = src
		}
		d.Snippet = linesOf(src, d.Subject)
	}
	return ds
}

// linesOf cuts out the lines that a range covers.
func linesOf(src []byte, r Range) string {
	if r.Start.Byte > len(src) || r.End.Byte > len(src) || r.End.Byte < r.Start.Byte {
		return ""
	}
	from := bytes.LastIndexByte(src[:r.Start.Byte], '\n') + 1
	to := len(src)
	if n := bytes.IndexByte(src[r.End.Byte:], '\n'); n >= 0 {
		to = r.End.Byte + n
	}
	return strings.TrimRight(string(src[from:to]), "\r\n")
}

// Nearest returns the known name that was most likely meant, "" when none is
// close.
func Nearest(given string, known []string) string { return suggest(given, known) }

// Glob lists the files of the project that match a pattern, sorted; it never
// leaves the project. It is the one meaning that patterns have everywhere.
func Glob(dir, pattern string) (_ []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return funcs.Glob(root.FS(), pattern)
}

// Match reports whether Glob would list a file of that name for a pattern.
func Match(pattern, name string) bool { return funcs.Match(pattern, name) }
