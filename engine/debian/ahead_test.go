package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"plumb/engine/apt/apttest"
)

// zeros is a package that is small, and large when it is decompressed.
func zeros(t testing.TB, name string, megabytes int) Package {
	t.Helper()
	return pack(t, apttest.Deb{Name: name, Version: "1", Compression: "zst", Files: []apttest.File{{Path: "usr/share/" + name, Data: strings.Repeat("\x00", megabytes<<20)}}})
}

// What waits is bounded: behind a package whose turn does not end, and while a large
// one is read whose successors are large, too.
func TestWhatWaitsIsBounded(t *testing.T) {
	packs := []Package{pack(t, apttest.Deb{Name: "a", Version: "1"}), zeros(t, "b", 100), zeros(t, "c", 100)}
	a := newAhead(t.Context(), packs)
	defer a.close()
	bound := aheadBytes + turnBytes + chunkSize*(runtime.GOMAXPROCS(0)+1)
	most := 0
	used := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		most = max(most, a.used)
		return a.used
	}
	if _, _, err := a.begin(0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); used() < aheadBytes; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d bytes wait", used())
		}
	}
	time.Sleep(20 * time.Millisecond) // for what would go on
	for i := range packs {
		_, data, err := a.begin(i)
		if err != nil {
			t.Fatal(err)
		}
		n, buf := 0, make([]byte, 100<<10)
		for err == nil {
			var m int
			m, err = data.Read(buf)
			n += m
			used()
		}
		if err != io.EOF || i > 0 && n < 100<<20 {
			t.Errorf("package %d: %d bytes, %v", i, n, err)
		}
	}
	if most < aheadBytes || most > bound {
		t.Errorf("%d bytes waited, and %d may", most, bound)
	}
	if left := used(); left != 0 {
		t.Errorf("%d bytes are waiting still", left)
	}
}

// The one whose turn it is goes on when those behind it have taken all the room.
func TestOneProcessor(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	layers, err := assemble(t, imageOf(zeros(t, "a", 100), zeros(t, "b", 20)))
	if err != nil || len(layers[1]) < 120<<20 {
		t.Errorf("%d bytes, %v", len(layers[1]), err)
	}
}

// running counts the goroutines of this package.
func running() int {
	b := make([]byte, 1<<20)
	return bytes.Count(b[:runtime.Stack(b, true)], []byte("debian.(*ahead)"))
}

func TestCancel(t *testing.T) {
	packs := []Package{zeros(t, "a", 50), zeros(t, "b", 200), zeros(t, "c", 200)}
	for _, test := range []struct {
		name  string
		after int // bytes of the layer
	}{{"at once", 0}, {"in the first", 30 << 20}, {"in the second", 120 << 20}} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a := Assemble(ctx, imageOf(packs...), nil)
			if err := a.WriteBase(io.Discard); err != nil {
				t.Fatal(err)
			}
			var at time.Time
			err := a.WriteLayer(&canceling{left: test.after, cancel: func() { at = time.Now(); cancel() }})
			a.Close()
			if took := time.Since(at); took > 2*time.Second {
				t.Errorf("it took %v to end", took)
			}
			if _, blamed := IsPackage(err); !errors.Is(err, context.Canceled) || blamed {
				t.Errorf("error %v", err)
			}
			if n := running(); n > 0 {
				t.Errorf("%d goroutines run on", n)
			}
		})
	}
}

// canceling takes so many bytes until it cancels.
type canceling struct {
	left   int
	cancel func()
}

func (c *canceling) Write(b []byte) (int, error) {
	if before := c.left; before >= 0 {
		if c.left -= len(b); c.left < 0 {
			c.cancel()
		}
	}
	return len(b), nil
}

// A time that is over is no fault of the package's, either.
func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	a := Assemble(ctx, imageOf(zeros(t, "a", 1)), nil)
	defer a.Close()
	err := a.WriteBase(io.Discard)
	if err == nil {
		err = a.WriteLayer(io.Discard)
	}
	if _, blamed := IsPackage(err); !errors.Is(err, context.DeadlineExceeded) || blamed {
		t.Errorf("error %v", err)
	}
}

func TestCloseWithoutReading(t *testing.T) {
	Assemble(t.Context(), imageOf(zeros(t, "a", 200), zeros(t, "b", 200)), nil).Close()
	Assemble(t.Context(), imageOf(), nil).Close()
	if n := running(); n > 0 {
		t.Errorf("%d goroutines run on", n)
	}
}

// The first error in the order of packages is told, however the others went.
func TestTheFirstErrorIsTold(t *testing.T) {
	bad := func(name string) Package {
		d := apttest.Deb{Name: name, Version: "1"}
		return packBytes(t, d, []byte("no .deb"))
	}
	for range 20 {
		_, err := assemble(t, imageOf(zeros(t, "a", 1), bad("b"), bad("c"), bad("d")))
		if name, ok := IsPackage(err); !ok || name != "b" {
			t.Fatalf("error %v", err)
		}
	}
}

func BenchmarkAssemble(b *testing.B) {
	image := imageOf()
	for i := range 8 {
		image.Layers[0].Packages = append(image.Layers[0].Packages, pack(b, apttest.Deb{
			Name: fmt.Sprint("p", i), Version: "1", Compression: "xz", Files: []apttest.File{{Path: fmt.Sprint("usr/share/p", i), Data: strings.Repeat("some text ", 100<<10)}},
		}))
	}
	for b.Loop() {
		a := Assemble(b.Context(), image, nil)
		if err := a.WriteBase(io.Discard); err != nil {
			b.Fatal(err)
		}
		if err := a.WriteLayer(io.Discard); err != nil {
			b.Fatal(err)
		}
		a.Close()
	}
}
