package containerd_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

// The benchmarks report wall-clock time a container and, as cpu-ms, what it cost
// in CPU time of this process and all its children.

func prepared(tb testing.TB) (*containerd.Runtime, runtimetest.Source) {
	tb.Helper()
	return preparedOf(tb, options(tempDir(tb)))
}

func preparedOf(tb testing.TB, o containerd.Options) (*containerd.Runtime, runtimetest.Source) {
	tb.Helper()
	r := newRuntimeOf(tb, o)
	img := runtimetest.ToolImage().Source(tb)
	if err := r.Prepare(tb.Context(), img); err != nil {
		tb.Fatal(err)
	}
	return r, img
}

func trivial(n int64, img runtimetest.Source) runtime.Spec {
	return runtime.Spec{ID: fmt.Sprintf("c%d", n), Image: img.Manifest(), Args: []string{"/bin/true"}, Home: "/root", Dir: "/root"}
}

func cycle(ctx context.Context, r runtime.Runtime, s runtime.Spec) error {
	c, err := r.Create(ctx, s)
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	exit, err := c.Wait(ctx)
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("exit %+v", exit)
	}
	return c.Delete(ctx)
}

// cpu is what this process and its children have used.
func cpu(tb testing.TB) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			tb.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
}

// BenchmarkCycle is a whole container, one after the other.
func BenchmarkCycle(b *testing.B) {
	r, img := prepared(b)
	var n int64
	before := cpu(b)
	for b.Loop() {
		n++
		if err := cycle(b.Context(), r, trivial(n, img)); err != nil {
			b.Fatal(err)
		}
	}
	reportCPU(b, before)
}

// BenchmarkIsolation takes turns between a whole container and one that is not isolated,
// and reports what lies between them: the median of the differences.
func BenchmarkIsolation(b *testing.B) {
	if os.Geteuid() != 0 || early.Rootless() {
		b.Skip("without root there is no container without a user namespace")
	}
	full, img := prepared(b)
	none, _ := preparedOf(b, containerd.Loosened(options(tempDir(b))))
	var n int64
	timed := func(r runtime.Runtime) float64 {
		n++
		start := time.Now()
		if err := cycle(b.Context(), r, trivial(n, img)); err != nil {
			b.Fatal(err)
		}
		return float64(time.Since(start)) / 1e6
	}
	var apart, whole []float64
	for b.Loop() {
		a, c := timed(full), timed(none)
		apart, whole = append(apart, a-c), append(whole, a)
	}
	slices.Sort(apart)
	slices.Sort(whole)
	b.ReportMetric(apart[len(apart)/2], "isolation-ms")
	b.ReportMetric(whole[len(whole)/2], "full-ms")
}

// BenchmarkCycleParallel is as many at once as there are cores.
func BenchmarkCycleParallel(b *testing.B) {
	r, img := prepared(b)
	var n atomic.Int64
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := cycle(b.Context(), r, trivial(n.Add(1), img)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	reportCPU(b, before)
}

// BenchmarkStartToExit is what is left of a container created ahead.
func BenchmarkStartToExit(b *testing.B) {
	r, img := prepared(b)
	startToExit(b, r, img)
}

func startToExit(b *testing.B, r runtime.Runtime, img runtimetest.Source) {
	ctx := b.Context()
	b.ResetTimer()
	for n := range b.N {
		b.StopTimer()
		c, err := r.Create(ctx, trivial(int64(n), img))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := c.Start(ctx); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := c.Delete(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkUnpack is a layer of small files made an image, on a store in memory: what
// a disk adds depends on what it did before.
func BenchmarkUnpack(b *testing.B) {
	var members []member
	for n := range 3000 {
		if n%20 == 0 {
			members = append(members, dir(fmt.Sprintf("usr/share/doc/%d", n/20), 0o755))
		}
		members = append(members, file(fmt.Sprintf("usr/share/doc/%d/%d", n/20, n), strings.Repeat(fmt.Sprintf("%8d", n), 2000), 0o644))
	}
	raw := tarball(b, members)
	for _, form := range []string{"", "gzip"} {
		b.Run(cmp.Or(form, "plain"), func(b *testing.B) {
			r, img := inMemory(b), craft(b, layer{raw: raw, form: form})
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if err := r.Prepare(b.Context(), img); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := r.Remove(b.Context(), img.manifest); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkBoot is New and Close on a store that has an image.
func BenchmarkBoot(b *testing.B) {
	dir := tempDir(b)
	for b.Loop() {
		r, err := containerd.New(b.Context(), options(dir))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
