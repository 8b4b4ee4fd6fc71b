package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

var restoreBytes = flag.Int64("restore.bytes", 256<<20, "how many bytes BenchmarkRestore restores")

// BenchmarkRestore compares with cp -r of the same project; the bound is 1.1 for
// -restore.bytes 10737418240, where the file system cannot clone.
func BenchmarkRestore(b *testing.B) {
	dir, parent := b.TempDir(), b.TempDir()
	write := func(name string, data []byte) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	const each = 32 << 20
	for i := range *restoreBytes / each {
		block := make([]byte, 0, each)
		for d := store.Sum(fmt.Append(nil, i)); len(block) < each; d = store.Sum(d[:]) {
			for range 1024 {
				block = append(block, d[:]...)
			}
		}
		write(fmt.Sprintf("data/%d.bin", i), block)
	}
	for i := range 1000 {
		write(fmt.Sprintf("data/small/%d.txt", i), fmt.Append(nil, "small ", i))
	}
	write("image/index.json", []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"`+store.Sum([]byte("manifest")).String()+`","platform":{"os":"linux","architecture":"amd64"}}]}`))
	write("image/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("plumb.hcl", []byte(header+"stage \"a\" {\n inputs = [\"data\"]\n command = [\"write\", \"a.txt\", \"x\"]\n outputs = { out = \"a.txt\" }\n}\n"))
	e, err := Open(Config{Dir: filepath.Join(b.TempDir(), "store"), Version: "test", NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return &fakeRuntime{}, nil }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	}()
	if err := e.Run(b.Context(), RunRequest{Request: Request{Project: Project{Dir: dir}}}, func(event.Event) {}); err != nil {
		b.Fatal(err)
	}
	var copied, restored time.Duration
	for i := 0; b.Loop(); i++ {
		to := filepath.Join(parent, fmt.Sprint(i))
		cold(b, dir)
		began := time.Now()
		if out, err := exec.CommandContext(b.Context(), "cp", "-r", dir, to+"-cp").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		copied += time.Since(began)
		cold(b, e.cfg.Dir)
		began = time.Now()
		if _, err := e.Restore(b.Context(), RestoreRequest{Dir: dir, To: to}, func(event.Event) {}); err != nil {
			b.Fatal(err)
		}
		restored += time.Since(began)
		for _, dir := range []string{to, to + "-cp"} {
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(copied.Seconds()/float64(b.N), "cp-s/op")
	b.ReportMetric(restored.Seconds()/copied.Seconds(), "times-cp")
}

// cold writes out what was written before, and takes the files of a directory out of
// memory: neither pays for the other, nor finds what the other read.
func cold(b *testing.B, dir string) {
	b.Helper()
	unix.Sync()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
}
