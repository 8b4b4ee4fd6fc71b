package cmd

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

var manyFiles = flag.Int("leavings.files", 20_000, "how many files TestHostileOutputs leaves in one directory")

// TestHostileOutputs leaves in the place of outputs what should not be there, and
// tries what the manual says that becomes of it.
func TestHostileOutputs(t *testing.T) {
	s := newSite(t)
	s.limit = 2*patience + time.Duration(*manyFiles)*time.Millisecond
	host := filepath.Join(s.root, "host")
	if err := errors.Join(os.MkdirAll(host, 0o755), os.WriteFile(filepath.Join(host, "file"), []byte("of the host"), 0o644)); err != nil {
		t.Fatal(err)
	}
	watched := watch(t, host, filepath.Join(host, "file"), "/dev/null")
	file := `outputs = { out = "OUT" }`
	tree := `outputs = { out = "OUT/" }`
	dir, run := s.deeds("### What a stage leaves", []deed{
		{name: "nothing", command: "echo x > \"else$(printf '\\033[2J')\"", more: file, class: store.ClassOutput, want: []string{"is not there", "it wrote instead: else"}},
		{name: "a FIFO", command: "probe-make fifo OUT", more: file, class: store.ClassOutput, want: []string{"it is a FIFO"}},
		{name: "a socket", command: "probe-make socket OUT", more: file, class: store.ClassOutput, want: []string{"it is a socket"}},
		{name: "a device", command: "probe-make device OUT", more: file, class: store.ClassExit, want: []string{"operation not permitted"}},
		{name: "a FIFO in a directory", command: "mkdir OUT; probe-make fifo OUT/fifo", more: tree, class: store.ClassOutput, want: []string{`"fifo" in it: it is a FIFO`}},
		{name: "a FIFO as metrics", command: "probe-make fifo OUT", more: `metrics = "OUT"`, class: store.ClassOutput, want: []string{"it is a FIFO"}},
		{name: "a symlink to a file of the host", command: "ln -s " + host + "/file OUT", more: file, class: store.ClassOutput, want: []string{"it is a symlink"}},
		{name: "a symlink to a directory of the host", command: "rm -r OUT || true; ln -s " + host + " OUT", more: tree, class: store.ClassOutput, want: []string{"it is a symlink"}},
		{name: "a symlink that leaves its directory", command: "mkdir OUT; ln -s " + host + "/file OUT/a", more: tree, class: store.ClassOutput, want: []string{`"a" in it: it is a symlink that leaves the output, to "` + host + `/file"`}},
		{name: "a symlink that climbs out", command: "mkdir -p OUT/a; ln -s ../../../../../../../.." + host + "/file OUT/a/b", more: tree, class: store.ClassOutput, want: []string{"a symlink that leaves the output"}},
		{name: "a symlink as metrics", command: "ln -s " + host + "/file OUT", more: `metrics = "OUT"`, class: store.ClassOutput, want: []string{"it is a symlink"}},
		{name: "a hard link to an input", command: "probe-make hardlink OUT in.txt", more: "inputs = [\"in.txt\"]\n" + file, class: store.ClassExit, want: []string{"cross-device link"}},
		{name: "hard links of its own", command: "mkdir OUT; seq 5000 > OUT/a; probe-make hardlink OUT/b OUT/a", more: tree},
		{name: "a setuid program", command: "mkdir OUT; probe-make setuid OUT/su; probe-make capability OUT/cap || echo no capability", more: tree, want: []string{"no capability"}},
		{name: "what nobody may read", command: "mkdir -p OUT/sub; echo x > OUT/sub/f; chmod 000 OUT/sub/f OUT/sub OUT", more: tree},
		{name: "a file with holes", command: "probe-make holes OUT", more: file},
		{name: "a sparse file of 1 TiB", command: "probe-make terabyte OUT", more: file, class: store.ClassOutput, want: []string{"1.0 TiB", "holes"}},
		{name: "names with line breaks", command: "mkdir OUT; probe-make newline OUT", more: tree},
		{name: "names that are no UTF-8", command: "mkdir OUT; probe-make latin1 OUT", more: tree},
		{name: "deep directories", command: "mkdir OUT; cd OUT; awk 'BEGIN { for (i = 0; i < 300; i++) p = p \"directory/\"; print p }' > /tmp/p; mkdir -p $(cat /tmp/p); touch $(cat /tmp/p)f", more: tree},
		{name: "directories deeper than a path can be", command: "mkdir OUT /tmp/d; probe-make deep OUT; probe-make deep /tmp/d", more: tree, class: store.ClassOutput, want: []string{"its path is longer than 4095 bytes"}},
		{name: "very many files", command: fmt.Sprintf("mkdir OUT; probe-many %d OUT", *manyFiles), more: tree},
	})
	t.Run("no file of the host is changed", func(t *testing.T) {
		if diff := cmp.Diff(watched, watch(t, host, filepath.Join(host, "file"), "/dev/null")); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
	got := filepath.Join(t.TempDir(), "got")
	for _, st := range run.Stages {
		if st.Status == "ran" {
			s.want(0, dir, "get", st.Name+".out", "-o", filepath.Join(got, st.Name))
		}
	}
	t.Run("what is got of it", func(t *testing.T) { wantLeavings(t, got) })
	took := map[string]float64{}
	for _, st := range run.Stages {
		took[st.Name] = st.Seconds
	}
	if took["a_sparse_file_of_1_tib"] > 10 {
		t.Errorf("1 TiB of nothing took %v s", took["a_sparse_file_of_1_tib"])
	}
	// What an agent that ends has no time for, the next one removes.
	s.want(0, "", "agent", "stop")
	s.want(0, dir, "run", "a_file_with_holes")
	eventually(t, "all that stages left is removed", func() bool {
		return s.empty("tmp") && s.empty("containerd/trash")
	})
	t.Logf("%d files took %.1f s", *manyFiles, took["very_many_files"])
}

// empty reports whether nothing is in a directory of the store.
func (s *site) empty(dir string) bool {
	s.t.Helper()
	all, err := os.ReadDir(filepath.Join(s.store, dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return len(all) == 0
}

// wantLeavings looks at what the outputs that can be kept were kept as.
func wantLeavings(t *testing.T, got string) {
	for name, want := range map[string]os.FileMode{
		"a_setuid_program/su":                                         0o755,
		"hard_links_of_its_own/a":                                     0o644,
		"hard_links_of_its_own/b":                                     0o644,
		"what_nobody_may_read/sub/f":                                  0o644,
		"names_with_line_breaks/two\nlines":                           0o644,
		"names_that_are_no_utf_8/caf\xe9":                             0o644,
		"very_many_files/" + fmt.Sprint(*manyFiles-1):                 0o644,
		"deep_directories/" + strings.Repeat("directory/", 300) + "f": 0o644,
	} {
		fi, err := os.Lstat(filepath.Join(got, name))
		if err != nil {
			t.Error(err)
		} else if fi.Mode() != want {
			t.Errorf("%q has the mode %v, want %v", name, fi.Mode(), want)
		}
	}
	b, err := os.ReadFile(filepath.Join(got, "a_file_with_holes"))
	if err != nil || len(b) != 4<<20+1 || strings.Trim(string(b), "\x00") != "x" {
		t.Errorf("the file with holes has %d bytes, %v", len(b), err)
	}
	if all, err := os.ReadDir(filepath.Join(got, "very_many_files")); err != nil || len(all) != *manyFiles {
		t.Errorf("of the many files there are %d, %v", len(all), err)
	}
}

// watch is what shows whether files were written, replaced, or given other modes.
func watch(t *testing.T, paths ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range paths {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		all[path] = fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Nlink, st.Size, time.Unix(st.Ctim.Unix()))
	}
	return all
}
