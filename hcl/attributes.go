package hcl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mergeAttribute tells git that lines of both sides are kept when a lock is merged.
const mergeAttribute = LockFile + " merge=union"

// EnsureMergeAttribute makes git merge the lock of a project line by line, by a
// line in the .gitattributes beside it. Outside of a git work tree, and where
// .gitattributes says anything of the lock already, it does nothing.
func EnsureMergeAttribute(dir string) (added bool, err error) {
	if !inWorkTree(dir) {
		return false, nil
	}
	name := filepath.Join(dir, ".gitattributes")
	have, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read %q: %w", name, err)
	}
	if bytes.Contains(have, []byte(LockFile)) {
		return false, nil
	}
	if len(have) > 0 && !bytes.HasSuffix(have, []byte("\n")) {
		have = append(have, '\n')
	}
	return true, replaceFile(name, append(have, mergeAttribute+"\n"...))
}

// inWorkTree looks for .git, a directory or, in a linked work tree, a file.
func inWorkTree(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		above := filepath.Dir(dir)
		if above == dir {
			return false
		}
		dir = above
	}
}
