package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// diskSize is what a directory really takes on disk.
func diskSize(t testing.TB, dir string) int64 {
	t.Helper()
	var sum int64
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n, err := allocated(p)
		sum += n
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return sum
}

// typicalRecord is one of a stage with three inputs and one output.
func typicalRecord(i int, out Artifact) *Record {
	k := Key(Sum(fmt.Append(nil, "key", i)))
	return &Record{
		Key: k, Action: []byte(strings.Repeat("command python train.py --lr 0.1 env A=b ", 12) + string(bytesOf(fmt.Sprint(i), 160))),
		Note:    []byte(`{"image":"docker.io/library/python:3.13-slim","spec":"stage train"}`),
		Outputs: []Output{{Name: "out", Path: "out/model.bin", Artifact: out}},
		Run:     "20261124-020751-k3f9", Stage: fmt.Sprint("stage", i), Created: time.Unix(1.7e9, 0).UTC(),
		Attempts: []Attempt{{Class: ClassOK, Started: time.Unix(1.7e9, 0).UTC(), Seconds: 1.5, CPUSeconds: 1.2, PeakMemory: 1 << 28, Log: Digest(k), LogBytes: 4000}},
	}
}

// fillRecords records n actions with one output of size bytes each.
func fillRecords(t testing.TB, s *Store, n, size int) []Key {
	t.Helper()
	keys := make([]Key, n)
	for from := 0; from < n; from += 200 {
		commit(t, s, func(b *Batch) {
			for i := from; i < min(n, from+200); i++ {
				a, err := b.Put(bytes.NewReader(bytesOf(fmt.Sprint("out", i), size)), false)
				if err != nil {
					t.Fatal(err)
				}
				r := typicalRecord(i, a)
				keys[i] = r.Key
				b.PutRecord(r)
			}
		})
	}
	return keys
}

// fillRuns records n runs of ten stages in which nothing changed.
func fillRuns(t testing.TB, s *Store, n int) {
	t.Helper()
	table := make([]StageResult, 10)
	for i := range table {
		table[i] = StageResult{Name: fmt.Sprint("stage", i), Status: "cached", Key: Key(Sum([]byte{byte(i)})), Image: "python"}
	}
	at := time.Unix(1.7e9, 0).UTC()
	for from := 0; from < n; from += 200 { // synced together, which changes no byte
		commit(t, s, func(b *Batch) {
			for i := from; i < min(n, from+200); i++ {
				at = at.Add(time.Minute)
				b.PutRun(&Run{
					ID: RunID(fmt.Sprintf("%s-%04x", at.Format("20060102-150405"), i)), Project: "/home/someone/projects/wine", Pipeline: "wine",
					Params: []RunParam{{"lr", "0.1", "default"}, {"depth", "3", "default"}}, Status: "succeeded", Started: at, Seconds: 0.031, Version: "0.1.0",
					Counts: Counts{Cached: 10}, Stages: table,
				})
			}
		})
	}
}

// The bound is 200 MB; what is measured is a few.
func TestTenThousandRunsAreSmall(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	fillRuns(t, s, 10_000)
	closeStore(t, s)
	size := diskSize(t, filepath.Join(dir, "meta")) + diskSize(t, filepath.Join(dir, "blobs"))
	t.Logf("10,000 runs of ten cached stages take %d KiB", size>>10)
	if size > 200_000_000 {
		t.Errorf("%d bytes", size)
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, runs := range []int{0, 10_000} {
		for _, readOnly := range []bool{false, true} {
			b.Run(fmt.Sprintf("runs=%d/readonly=%v", runs, readOnly), func(b *testing.B) {
				dir := b.TempDir()
				s := openStore(b, dir, Options{})
				fillRuns(b, s, runs)
				closeStore(b, s)
				for b.Loop() {
					s, err := Open(dir, Options{ReadOnly: readOnly})
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					closeStore(b, s)
					b.StartTimer()
				}
			})
		}
	}
}

func BenchmarkClose(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		b.StopTimer()
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.PutRun(&Run{ID: "r"}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// Cold: the store was just opened.
func BenchmarkLookupAll10k(b *testing.B) {
	for _, size := range []int{100, 5000} {
		b.Run(fmt.Sprint("output=", size), func(b *testing.B) {
			dir := b.TempDir()
			s := openStore(b, dir, Options{})
			keys := fillRecords(b, s, 10_000, size)
			closeStore(b, s)
			for b.Loop() {
				b.StopTimer()
				s, err := Open(dir, Options{ReadOnly: true})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				found, err := s.LookupAll(context.Background(), keys)
				if err != nil || found[len(found)-1].Record == nil {
					b.Fatal(err, found[len(found)-1].Miss)
				}
				b.StopTimer()
				closeStore(b, s)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	keys := fillRecords(b, s, 1000, 100)
	i := 0
	for b.Loop() {
		if _, miss, err := s.Lookup(keys[i%len(keys)]); miss != nil || err != nil {
			b.Fatal(miss, err)
		}
		i++
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{100, 5000} {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("output=%d/parallel=%d", size, parallel), func(b *testing.B) {
				s := openStore(b, b.TempDir(), Options{})
				b.SetParallelism(parallel)
				run := func(i int) {
					batch := s.NewBatch()
					a, err := batch.Put(bytes.NewReader(bytesOf(fmt.Sprint(b.Name(), i, time.Now().UnixNano()), size)), false)
					if err != nil {
						b.Error(err)
						return
					}
					r := typicalRecord(i, a)
					batch.PutRecord(r)
					batch.History("/p", r.Stage, r.Key)
					if err := errors.Join(s.Commit(context.Background(), batch), batch.Close()); err != nil {
						b.Error(err)
					}
				}
				if parallel == 1 {
					for i := 0; b.Loop(); i++ {
						run(i)
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						run(i)
					}
				})
			})
		}
	}
}

func BenchmarkRecordCodec(b *testing.B) {
	rec := typicalRecord(1, Artifact{Kind: KindFile, Digest: Digest{1}, Size: 100})
	data := encodeRecord(rec)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encodeRecord(rec)
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := decodeRecord(rec.Key, data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Latest runs of one project among ten thousand of others.
func BenchmarkRuns(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{})
	fillRuns(b, s, 10_000)
	if err := s.PutRun(&Run{ID: "20000101-000000-aaaa", Project: "/mine"}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := s.LastRun("/mine"); r == nil || err != nil {
			b.Fatal(r, err)
		}
	}
}

func allocated(path string) (int64, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return st.Blocks * 512, err
}

// BenchmarkCommitBesideAStage is a stage's whole commit, every sync of it, while another
// one runs that computes and writes its output: what each promise of the store costs a
// stage. It is also measured with nothing beside it.
func BenchmarkCommitBesideAStage(b *testing.B) {
	for _, outputs := range []int{1, 8} {
		for _, beside := range []bool{false, true} {
			b.Run(fmt.Sprintf("outputs=%d/beside=%v", outputs, beside), func(b *testing.B) {
				dir := b.TempDir()
				s := openStore(b, dir, Options{})
				if beside {
					stage := exec.Command("sh", "-c", "while :; do head -c 8000000 /dev/urandom > \"$0\"; done", filepath.Join(dir, "tmp", "stage"))
					if err := stage.Start(); err != nil {
						b.Fatal(err)
					}
					defer func() {
						if err := stage.Process.Kill(); err != nil {
							b.Error(err)
						}
						stage.Wait() //nolint:errcheck // it was killed
					}()
				}
				for i := 0; b.Loop(); i++ {
					batch := s.NewBatch()
					r := typicalRecord(i, Artifact{})
					r.Outputs = nil
					for n := range outputs {
						a, err := batch.Put(bytes.NewReader(bytesOf(fmt.Sprint(b.Name(), i, n, time.Now().UnixNano()), 100_000)), false)
						if err != nil {
							b.Fatal(err)
						}
						r.Outputs = append(r.Outputs, Output{Name: fmt.Sprint("o", n), Path: fmt.Sprint("o", n), Artifact: a})
					}
					batch.PutRecord(r)
					batch.History("/p", r.Stage, r.Key)
					if err := errors.Join(s.Commit(context.Background(), batch), batch.Close()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
