package hcl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	digestA = "sha256:" + strings.Repeat("a1", 32)
	digestB = "sha256:" + strings.Repeat("b2", 32)
)

func TestLockRoundTrip(t *testing.T) {
	l := &Lock{Images: []LockedImage{
		{Name: "sh", Ref: "busybox:1.36", Platforms: []LockedPlatform{{"linux/amd64", digestA}}},
		{Name: "python", Ref: "python:3.12", Index: digestB, Platforms: []LockedPlatform{{"linux/arm64", digestB}, {"linux/amd64", digestA}}},
	}}
	want := lockHeader + `version = 1

image "python" {
  ref   = "python:3.12"
  index = "` + digestB + `"
  platform "linux/amd64" {
    manifest = "` + digestA + `"
  }
  platform "linux/arm64" {
    manifest = "` + digestB + `"
  }
}

image "sh" {
  ref = "busybox:1.36"
  platform "linux/amd64" {
    manifest = "` + digestA + `"
  }
}
`
	if diff := cmp.Diff(want, string(l.Encode())); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}
	dir := t.TempDir()
	if empty, diags := ReadLock(dir); len(diags) > 0 || len(empty.Images) > 0 {
		t.Errorf("a missing lock file is %v: %s", empty, rendered(diags))
	}
	if err := WriteLock(dir, l); err != nil {
		t.Fatal(err)
	}
	back, diags := ReadLock(dir)
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	if diff := cmp.Diff(want, string(back.Encode())); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestWriteLockLeavesEqualFileAlone(t *testing.T) {
	dir := t.TempDir()
	if err := WriteLock(dir, &Lock{}); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, LockFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteLock(dir, &Lock{}); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(dir, LockFile))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("an equal file was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestLockMistakes(t *testing.T) {
	tests := []struct {
		name, text string
		want       []expectation
	}{
		{"merge conflict", "version = 1\n<<<<<<< HEAD\n=======\n>>>>>>> x\n", []expectation{{2, "Merge conflict"}}},
		{"newer format", "version = 2\nfuture = 1\n", []expectation{{1, "Newer lock file"}}},
		{"no format", "", []expectation{{0, "Missing version"}}},
		{"bad digests", "version = 1\nimage \"a\" {\n  index = \"sha256:1\"\n  platform \"linux/amd64\" {\n    manifest = \"md5:1\"\n  }\n}\n",
			[]expectation{{3, "Bad digest"}, {5, "Bad digest"}}},
		{"duplicates", "version = 1\nimage \"a\" {}\nimage \"a\" {}\n", []expectation{{3, "Duplicate name"}}},
		{"duplicate platform", "version = 1\nimage \"a\" {\n  platform \"linux/amd64\" { manifest = \"" + digestA + "\" }\n  platform \"linux/amd64\" { manifest = \"" + digestA + "\" }\n}\n",
			[]expectation{{4, "Duplicate name"}}},
		{"no manifest", "version = 1\nimage \"a\" {\n  platform \"linux/amd64\" {}\n}\n", []expectation{{3, "Missing manifest"}}},
		{"unknown attribute", "version = 1\nimage \"a\" { reff = \"x\" }\n", []expectation{{2, "Unknown attribute"}}},
		{"syntax", "version = \n", []expectation{{1, "Invalid expression"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, diags := decodeLock([]byte(test.text))
			if l != nil {
				t.Error("a lock came out")
			}
			if diff := cmp.Diff(test.want, found(diags)); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s%s", diff, rendered(diags))
			}
		})
	}
}
