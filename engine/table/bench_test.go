package table

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

var tableMB = flag.Int("table-mb", 50, "how large the two tables are that are compared for speed, each in MB")

// writeTable writes a table of about size bytes with ten columns of the usual types.
// Every edit-th row is changed, removed or followed by a new one, in turns; 0 is never.
func writeTable(path string, size, edit int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	colours := []string{"red", "green", "blue", "black", "a longer value", "x"}
	written, _ := fmt.Fprintln(w, "id,when,price,qty,colour,note,score,flag,code,ratio")
	for id := 1; written < size; id++ {
		row := func(id int, price float64) string {
			return fmt.Sprintf("%d,2024-%02d-%02d %02d:%02d:%02d,%.2f,%d,%s,note %d about it,%.6f,%t,K%05d,%.4f\n", id, id%12+1, id%28+1, id%24, id%60, id%59,
				price, random.IntN(100), colours[random.IntN(6)], random.IntN(1e6), random.NormFloat64(), random.IntN(2) == 0, random.IntN(1e5), random.Float64())
		}
		text := row(id, random.Float64()*1000)
		written += len(text)
		if edit > 0 && id%edit == 0 {
			switch id / edit % 3 {
			case 0:
				text = strings.Replace(text, "note", "nota", 1)
			case 1:
				text = ""
			case 2:
				text += strings.Replace(text, fmt.Sprint(id), fmt.Sprint(id+1e9), 1)
			}
		}
		if _, err := w.WriteString(text); err != nil {
			return err
		}
	}
	return w.Flush()
}

// countAndHash is what wc -l and sha256sum do, in one reading.
func countAndHash(path string) (lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		lines += bytes.Count(buf[:n], []byte("\n"))
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// TestCompareIsFast holds a comparison against counting and hashing the same two files, in
// turns, by the best of some tries each: -table-mb=1000 for the size that the promise
// is about. Memory is what the process has from the system, with what Go keeps free.
func TestCompareIsFast(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for path, edit := range map[string]int{a: 0, b: 1000} {
		if err := writeTable(path, *tableMB*1000*1000, edit); err != nil {
			t.Fatal(err)
		}
	}
	best := [2]time.Duration{time.Hour, time.Hour}
	var rows int64
	for range 3 {
		start := time.Now()
		for _, path := range []string{a, b} {
			if _, err := countAndHash(path); err != nil {
				t.Fatal(err)
			}
		}
		best[0] = min(best[0], time.Since(start))
		start = time.Now()
		diff, err := Compare(context.Background(), File{Name: "a.csv", Path: a}, File{Name: "b.csv", Path: b}, Options{Temp: dir})
		if err != nil {
			t.Fatal(err)
		}
		best[1] = min(best[1], time.Since(start))
		rows = diff.A.Rows
		if want := rows / 1000; diff.Rows.Added+diff.Rows.Removed+diff.Rows.Changed != want || diff.Rows.Moved != 0 {
			t.Fatalf("%d rows added, %d removed, %d changed, %d moved; want %d in all", diff.Rows.Added, diff.Rows.Removed, diff.Rows.Changed, diff.Rows.Moved, want)
		}
	}
	ratio := best[1].Seconds() / best[0].Seconds()
	t.Logf("2 × %d MB, %d rows: counted and hashed in %v, compared in %v (%.2f times), Go's memory %d MiB", *tableMB, rows, best[0].Round(time.Millisecond), best[1].Round(time.Millisecond), ratio, goMemory()>>20)
	if ratio > 3 {
		t.Errorf("comparing takes %.2f times counting and hashing, want at most 3", ratio)
	}
}

func goMemory() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

func BenchmarkCompare(b *testing.B) {
	dir := b.TempDir()
	x, y := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for path, edit := range map[string]int{x: 0, y: 1000} {
		if err := writeTable(path, *tableMB*1000*1000, edit); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(2 * int64(*tableMB) * 1000 * 1000)
	for b.Loop() {
		if _, err := Compare(context.Background(), File{Name: "a.csv", Path: x}, File{Name: "b.csv", Path: y}, Options{Temp: dir}); err != nil {
			b.Fatal(err)
		}
	}
}
