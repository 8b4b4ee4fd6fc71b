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
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
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

// cost is the time that something takes, and the processor time of all threads.
func cost(t *testing.T, do func()) (wall, cpu time.Duration) {
	t.Helper()
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	do()
	wall = time.Since(start)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	return wall, time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
}

// TestCompareIsFast holds a comparison against counting and hashing the same two files,
// in turns, by the best of some tries each: -table-mb=1000 for the size that the
// promise is about. Counting and hashing has one thread and a comparison two, so where
// others want the machine too only processor time says something: on two free cores
// the wall clock's ratio is little more than half of it.
func TestCompareIsFast(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector is what takes the time")
	}
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for path, edit := range map[string]int{a: 0, b: 1000} {
		if err := writeTable(path, *tableMB*1000*1000, edit); err != nil {
			t.Fatal(err)
		}
	}
	wall, cpu := [2]time.Duration{time.Hour, time.Hour}, [2]time.Duration{time.Hour, time.Hour}
	for range 3 {
		for i, do := range []func(){
			func() {
				for _, path := range []string{a, b} {
					if _, err := countAndHash(path); err != nil {
						t.Fatal(err)
					}
				}
			},
			func() { compareBig(t, a, b) },
		} {
			w, c := cost(t, do)
			wall[i], cpu[i] = min(wall[i], w), min(cpu[i], c)
		}
	}
	inWall, inCPU := wall[1].Seconds()/wall[0].Seconds(), cpu[1].Seconds()/cpu[0].Seconds()
	peak := peakMemory(t)
	t.Logf("2 × %d MB: counted and hashed in %v, compared in %v (%.2f times; %.2f times the processor time), at most %d MiB resident",
		*tableMB, wall[0].Round(time.Millisecond), wall[1].Round(time.Millisecond), inWall, inCPU, peak>>20)
	most := 12.0 // sorting samples takes as long for small tables as for large ones
	if *tableMB >= 1000 {
		most = 7
	}
	if inWall > 3 && inCPU > most {
		t.Errorf("comparing takes %.2f times counting and hashing, want at most 3", inWall)
	}
	if peak > 512*mebibyte {
		t.Errorf("comparing took up to %d MiB, want at most 512", peak>>20)
	}
}

func compareBig(t *testing.T, a, b string) {
	t.Helper()
	diff, err := Compare(context.Background(), File{Name: "a.csv", Path: a}, File{Name: "b.csv", Path: b}, Options{Temp: filepath.Dir(a)})
	if err != nil {
		t.Fatal(err)
	}
	r := diff.Rows
	if want := diff.A.Rows / 1000; r.Added+r.Removed+r.Changed < want || r.Added+r.Removed+r.Changed > want+1 || r.Moved != 0 {
		t.Fatalf("%d rows added, %d removed, %d changed, %d moved; want %d in all", r.Added, r.Removed, r.Changed, r.Moved, want)
	}
}

// peakMemory is what the process had in memory at most.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(line, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
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
