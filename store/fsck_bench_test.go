package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// benchBlobs is of how many blobs the store is that gc is measured on.
var benchBlobs = flag.Int("gcblobs", 100_000, "measure gc of `N` blobs")

// fillBlobs makes a store of records with an output each, two in three of them files.
func fillBlobs(b *testing.B, dir string, n int) {
	b.Helper()
	s := openStore(b, dir, Options{})
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 6000)
	for from := 0; from < n; from += 200 {
		commit(b, s, func(batch *Batch) {
			for i := from; i < min(n, from+200); i++ {
				for at := range len(data) / 8 {
					copy(data[8*at:], fmt.Appendf(nil, "%08x", random.Uint32()))
				}
				size := 5000
				if i%3 == 0 {
					size = 500
				}
				a, err := batch.Put(bytes.NewReader(data[:size]), false)
				if err != nil {
					b.Fatal(err)
				}
				batch.PutRecord(typicalRecord(i, a))
			}
		})
	}
	closeStore(b, s)
}

// All of it is garbage: the bound is five seconds for 100,000.
func BenchmarkGC(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		fillBlobs(b, dir, *benchBlobs)
		s := openStore(b, dir, Options{})
		b.StartTimer()
		rep, err := s.GC(context.Background(), Policy{})
		if err != nil || rep.Blobs != *benchBlobs {
			b.Fatal(rep.Blobs, err)
		}
		b.StopTimer()
		closeStore(b, s)
		b.StartTimer()
	}
}

// The same blobs in directories of a thousand, and so with few records.
func BenchmarkGCOfDirectories(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		s := openStore(b, dir, Options{})
		const each = 1000
		for n := range *benchBlobs / each {
			commit(b, s, func(batch *Batch) {
				var entries []Entry
				for i := range each {
					a, err := batch.Put(bytes.NewReader(bytesOf(fmt.Sprint("blob", n, i), 5000)), false)
					if err != nil {
						b.Fatal(err)
					}
					entries = append(entries, Entry{Path: fmt.Sprintf("%06d", i), Kind: EntryFile, Size: a.Size, Digest: a.Digest})
				}
				m, err := batch.Put(bytes.NewReader(EncodeTree(entries)), false)
				if err != nil {
					b.Fatal(err)
				}
				batch.PutRecord(typicalRecord(n, Artifact{Kind: KindTree, Digest: m.Digest, Size: each * 5000, Files: each}))
			})
		}
		b.StartTimer()
		if rep, err := s.GC(context.Background(), Policy{}); err != nil || rep.Blobs < *benchBlobs {
			b.Fatal(rep.Blobs, err)
		}
		b.StopTimer()
		closeStore(b, s)
		b.StartTimer()
	}
}

// None of it is: all is looked at.
func BenchmarkGCOfNothing(b *testing.B) {
	dir := b.TempDir()
	fillBlobs(b, dir, *benchBlobs)
	s := openStore(b, dir, Options{})
	for b.Loop() {
		rep, err := s.GC(context.Background(), Policy{KeepAge: 1 << 62})
		if err != nil || rep.Blobs != 0 {
			b.Fatal(rep.Blobs, err)
		}
	}
}

// BenchmarkFsck takes turns with plain SHA-256 over the same files: the bound is 0.8 of
// its speed. Plain is one goroutine with a buffer, plain-parallel one for each core.
func BenchmarkFsck(b *testing.B) {
	for _, shape := range []struct {
		name        string
		files, size int
	}{{"large", 8, 64 << 20}, {"small", 20_000, 20_000}} {
		b.Run(shape.name, func(b *testing.B) {
			dir := b.TempDir()
			s := openStore(b, dir, Options{})
			random := rand.NewChaCha8([32]byte{1})
			for from := 0; from < shape.files; from += 1000 {
				commit(b, s, func(batch *Batch) {
					for range min(1000, shape.files-from) {
						if _, err := batch.Put(io.LimitReader(random, int64(shape.size)), false); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			closeStore(b, s)
			s = openStore(b, dir, Options{ReadOnly: true})
			var plain, fsck time.Duration
			for b.Loop() {
				began := time.Now()
				if err := plainSum(blobFiles(b, s)); err != nil {
					b.Fatal(err)
				}
				plain += time.Since(began)
				began = time.Now()
				rep, err := s.Fsck(context.Background(), FsckOptions{})
				if err != nil || len(rep.Findings) > 0 || rep.Blobs != shape.files {
					b.Fatal(rep, err)
				}
				fsck += time.Since(began)
			}
			b.ReportMetric(float64(plain)/float64(fsck), "of-plain")
			b.SetBytes(int64(shape.files) * int64(shape.size))
		})
	}
}

func plainSum(names []string) error {
	buf := make([]byte, 256<<10)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		h.Sum(nil)
	}
	return nil
}

// What a kill leaves is recovered while the store is opened: the bound is 100 ms over
// 10,000 records.
func BenchmarkOpenAfterKill(b *testing.B) {
	for _, readOnly := range []bool{false, true} {
		b.Run(fmt.Sprintf("readonly=%v", readOnly), func(b *testing.B) {
			live := b.TempDir()
			s := openStore(b, live, Options{})
			fillRecords(b, s, 10_000, 100)
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir() // as it is on disk this very moment
				if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
					b.Fatal(err)
				}
				if killed, err := unfinished(dir + "/meta"); !killed || err != nil {
					b.Fatal("it does not look killed", err)
				}
				b.StartTimer()
				s, err := Open(dir, Options{ReadOnly: readOnly})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				closeStore(b, s)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/open")
		})
	}
}
