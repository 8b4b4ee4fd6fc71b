package cmd

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadThings puts in the place of what lies in a store what should not be there.
// Each is refused with a clear error, or put right; what a symlink leads to stays as it
// is, and no result is a wrong one.
func TestBadThings(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", small)
	s.want(0, dir, "run")
	content := s.want(0, dir, "get", "a.out", "-o", "-").out
	s.want(0, "", "agent", "stop")
	outside := filepath.Join(s.root, "outside")
	if err := errors.Join(os.MkdirAll(filepath.Join(outside, "dir"), 0o755), os.WriteFile(filepath.Join(outside, "file"), []byte("precious"), 0o644), os.WriteFile(filepath.Join(outside, "dir", "file"), []byte("precious"), 0o644)); err != nil {
		t.Fatal(err)
	}
	watched := func() map[string]string {
		return watch(t, outside, filepath.Join(outside, "file"), filepath.Join(outside, "dir"), filepath.Join(outside, "dir", "file"))
	}
	before := watched()

	// What is done, in the place of a name below the store.
	file := func(path string) error { return os.WriteFile(path, []byte("garbage \x00\xff\n"), 0o644) }
	empty := func(path string) error { return os.WriteFile(path, nil, 0o644) }
	full := func(path string) error { return os.MkdirAll(filepath.Join(path, "something"), 0o755) }
	toFile := func(path string) error { return os.Symlink(filepath.Join(outside, "file"), path) }
	toDir := func(path string) error { return os.Symlink(filepath.Join(outside, "dir"), path) }
	nowhere := func(path string) error { return os.Symlink(filepath.Join(outside, "nowhere"), path) }
	nothing := func(string) error { return nil }

	for _, tt := range []struct {
		name, what string
		put        func(path string) error
		want       string // in the error; "" when it works
	}{
		{"an empty lock", "lock", empty, ""},
		{"garbage as the lock", "lock", file, ""},
		{"a directory as the lock", "lock", full, "opening the lock"},
		{"a symlink as the lock", "lock", toFile, "opening the lock: it is a symlink"},
		{"a symlink to nowhere as the lock", "lock", nowhere, "opening the lock: it is a symlink"},
		{"an empty format", "format", empty, `reading the format: "" is no version`},
		{"garbage as the format", "format", file, `is no version`},
		{"a directory as the format", "format", full, "reading the format"},
		{"a symlink as the format", "format", toFile, `reading the format: "precious" is no version`},
		{"garbage as the volume", "volume", file, ""},
		{"a symlink as the volume", "volume", toFile, ""},
		{"garbage as the process id", "agent.pid", file, ""},
		{"a directory as the process id", "agent.pid", full, "agent.pid"},
		{"a symlink as the process id", "agent.pid", toFile, ""},
		{"a file as the socket", "agent.sock", file, ""},
		{"a directory as the socket", "agent.sock", full, "agent.sock"},
		{"a symlink as the socket", "agent.sock", toFile, ""},
		{"a symlink as the log", "agent.log", toFile, ""},
		{"a symlink as the crash", "agent.crash", toFile, ""},
		{"no records", "meta", nothing, ""},
		{"a file as the records", "meta", file, "meta"},
		{"a symlink as the records", "meta", toDir, "is a symlink"},
		{"no blobs", "blobs", nothing, ""},
		{"a file as the blobs", "blobs", file, "blobs"},
		{"a symlink as the blobs", "blobs", toDir, "is a symlink"},
		{"a symlink as all blobs", "blobs/sha256", toDir, "is a symlink"},
		{"a symlink among the blobs", "blobs/sha256/00", toDir, "is a symlink"},
		{"a file among the blobs", "blobs/sha256/00", file, "is no directory"},
		{"a file for what is being written", "tmp", file, "is no directory"},
		{"a symlink for what is being written", "tmp", toDir, "is a symlink"},
		{"a symlink in what is being written", "tmp/link", toDir, ""},
		{"no cache", "cache", nothing, ""},
		{"a file as the cache", "cache", file, "is no directory"},
		{"a symlink as the cache", "cache", toDir, "is a symlink"},
		{"a file as what is placed", "placed", file, "is no directory"},
		{"a symlink as what is placed", "placed", toDir, "is a symlink"},
		{"a symlink in what is placed", "placed/link", toDir, ""},
		{"a symlink as something to sweep", "sweep-link", toDir, ""},
		{"no manifest of the records", "meta/MANIFEST", nothing, ""},
		{"an empty manifest of the records", "meta/MANIFEST", empty, ""},
		{"garbage as the manifest of the records", "meta/MANIFEST", file, ""},
		{"a directory as the manifest of the records", "meta/MANIFEST", full, "meta/MANIFEST"},
		{"garbage as a count of Badger's", "meta/DISCARD", file, ""},
		{"a directory as a count of Badger's", "meta/DISCARD", full, "meta/DISCARD"},
		{"garbage as a log of Badger's", "meta/00009.mem", file, ""},
		{"garbage as a value log of Badger's", "meta/000009.vlog", file, ""},
		{"garbage as Badger's keys", "meta/KEYREGISTRY", file, ""},
		{"an empty file as Badger's keys", "meta/KEYREGISTRY", empty, ""},
		{"garbage as a table", "meta/000001.sst", file, "plumb fsck --repair"},
		{"an empty table", "meta/000001.sst", empty, "plumb fsck --repair"},
		{"no table", "meta/000001.sst", nothing, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			part := s.in(t)
			part.store = filepath.Join(t.TempDir(), "store")
			if out, err := exec.Command("cp", "-a", s.store, part.store).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			path := filepath.Join(part.store, tt.what)
			if err := errors.Join(os.RemoveAll(path), tt.put(path)); err != nil {
				t.Fatal(err)
			}
			r := part.plumb(dir, "run")
			switch {
			case tt.want == "" && r.code != 0:
				t.Errorf("it does not work: %v%s", r, part.agentLog())
			case tt.want == "":
				if got := part.want(0, dir, "get", "a.out", "-o", "-").out; got != content {
					t.Errorf("got %d bytes, want %d", len(got), len(content))
				}
				part.want(0, dir, "gc")
			case r.code != exitMachine || !strings.Contains(r.err, tt.want) || !strings.Contains(r.err, part.store):
				t.Errorf("want exit %d and %q: %v", exitMachine, tt.want, r)
			}
			if r := part.plumb("", "agent", "stop"); r.code != 0 && tt.want == "" {
				t.Errorf("plumb agent stop: %v", r)
			}
			if diff := cmp.Diff(before, watched()); diff != "" {
				t.Errorf("what lies outside was changed (-before +after):\n%s", diff)
			}
			if b, err := os.ReadFile(filepath.Join(outside, "file")); err != nil || !bytes.Equal(b, []byte("precious")) {
				t.Fatalf("the file outside has %q, %v", b, err)
			}
		})
	}
}
