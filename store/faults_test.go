package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/store/faultfs"
)

// A child works through a script on a store that lies on faultfs, and marks in its
// journal what is done. The faults are then looked at from here: power cuts in the
// journal, failing changes by running the child again for each.

var (
	faults      = flag.Int("faults", 1, "how many times longer than usual the fault tests take")
	faultStride = flag.Int("faults.stride", 0, "1 tries each change of a store's script, 0 as many as -faults says")
	faultSeed   = flag.Uint64("faults.seed", 0, "seed of what survives a power cut, 0 for one by the clock")
	faultRounds = flag.Int("faults.rounds", 3, "how often the script opens and closes the store")
)

// faultDir, when set, makes the test binary the child: the mount it works on.
const faultDir = "PLUMB_TEST_FAULT_DIR"

// onFaults mounts a file system until the test is over, and gives what runs the script
// there.
func onFaults(t *testing.T) (*faultfs.FS, func() error) {
	t.Helper()
	dir := t.TempDir()
	f, end := mountFaults(t, dir)
	t.Cleanup(end)
	return f, func() error { return runScript(dir) }
}

// mountFaults mounts one until end is called: it holds all that was ever written.
func mountFaults(t *testing.T, dir string, options ...faultfs.Option) (f *faultfs.FS, end func()) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil && os.Getenv("CI") != "true" {
		t.Skipf("no file system can be mounted: %v", err)
	}
	f, err := faultfs.Mount(dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	return f, func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	}
}

// runScript has a child work through the script.
func runScript(dir string) error {
	return runChild(dir, "PLUMB_TEST_FAULT_ROUNDS="+strconv.Itoa(*faultRounds))
}

func runChild(dir, more string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), faultDir+"="+dir, more)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it tells where it stands
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, tail(out, 40000))
	}
	return nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// memory gives a directory where a sync costs nothing.
func memory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1g"); err != nil {
		t.Logf("working on the disk, which is slower: mounting tmpfs: %v", err)
		return dir
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// wantAfter opens the store in a tree that is left, and looks for all that marks say
// was done, and whether anything is wrong.
func wantAfter(tree *faultfs.Tree, dir string, marks []string) (err error) {
	if err := tree.WriteTo(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	now := newClock()
	now.now = now.now.Add(100 * day)
	s, err := Open(filepath.Join(dir, "home", "store"), Options{Now: now.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return errors.Join(wantDone(s, marks), wantSound(s))
}

func wantDone(s *Store, marks []string) error {
	for i, m := range marks {
		if kept, ok := strings.CutPrefix(m, "keep "); ok { // gc was under way
			marks = slices.Concat(slices.DeleteFunc(slices.Clone(marks[:i]), func(m string) bool {
				w := strings.Fields(m)
				return w[0] == "blob" || len(w) > 1 && !slices.Contains(strings.Fields(kept), w[1])
			}), marks[i+1:])
			break
		}
	}
	var errs []error
	status := map[RunID]string{}
	for _, m := range marks {
		w := strings.Fields(m)
		switch w[0] {
		case "blob":
			d, err := ParseDigest(digestPrefix + w[2])
			if err != nil {
				return err
			}
			size, _ := strconv.Atoi(w[3])
			got, err := s.ReadBlob(d, 1<<30)
			if err != nil || !bytes.Equal(got, bytesOf(w[1], size)) {
				errs = append(errs, fmt.Errorf("%q was done, and the blob has %d bytes: %w", m, len(got), err))
			}
		case "record":
			d, err := ParseDigest(digestPrefix + w[len(w)-1])
			if err != nil {
				return err
			}
			if _, miss, err := s.Lookup(Key(d)); miss != nil || err != nil {
				errs = append(errs, fmt.Errorf("%q was done, and it is %+v, %w", m, miss, err))
			}
		case "run":
			status[RunID(w[1])] = w[2]
		}
	}
	for id, want := range status {
		r, err := s.Run(id)
		if err != nil {
			errs = append(errs, fmt.Errorf("run %s was recorded: %w", id, err))
		} else if r.Status != want && want != statusRunning {
			errs = append(errs, fmt.Errorf("run %s was recorded as %s, and is %s", id, want, r.Status))
		}
	}
	return errors.Join(errs...)
}

// wantSound looks at everything: each file of a blob has the content of its name, and
// each record that is there resolves.
func wantSound(s *Store) error {
	err := filepath.WalkDir(s.path("blobs", "sha256"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		d, ok := blobName(e.Name())
		b, err := os.ReadFile(p)
		if err == nil && (!ok || Sum(b) != d) {
			err = fmt.Errorf("%s has %d bytes of other content", p, len(b))
		}
		return err
	})
	for _, project := range []string{"/p", "/q"} {
		runs, rerr := s.Runs(RunFilter{Project: project})
		err = errors.Join(err, rerr)
		for _, r := range runs {
			_, rerr := s.Run(r.ID)
			err = errors.Join(err, rerr)
		}
	}
	keys, kerr := s.StageHistory("/p", "s", 0)
	err = errors.Join(err, kerr)
	for _, k := range keys {
		rec, miss, lerr := s.Lookup(k)
		if lerr != nil || miss != nil && miss.Kind == MissDamaged {
			err = errors.Join(err, fmt.Errorf("%s is in the history, and is %+v, %w", k.Short(), miss, lerr))
		}
		if rec != nil {
			for _, o := range rec.Outputs {
				if cerr := s.Check(o.Artifact); cerr != nil {
					err = errors.Join(err, cerr)
				}
			}
		}
	}
	return err
}

func seedOf(t *testing.T) uint64 {
	seed := *faultSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-faults.seed=%d", seed)
	return seed
}

// stride spreads about that many tries over all changes, from a place that differs
// from run to run.
func stride(all, tries int, seed uint64) (first, step int) {
	step = *faultStride
	if step == 0 {
		step = max(1, all/(tries**faults))
	}
	return int(seed % uint64(step)), step
}

// TestFaultPowerCuts has the power fail after changes of a store's script: what was said
// to be done is there.
func TestFaultPowerCuts(t *testing.T) {
	seed := seedOf(t)
	f, run := onFaults(t)
	began := time.Now()
	if err := run(); err != nil {
		t.Fatal(err)
	}
	j := f.Journal()
	for _, m := range j.Marks(len(j)) {
		if strings.HasPrefix(m, "failed ") {
			t.Fatal(m)
		}
	}
	t.Logf("%d changes in %v", len(j), time.Since(began))
	dir := memory(t)
	each := func(name string, left func(n int) *faultfs.Tree) {
		t.Helper()
		began := time.Now()
		first, step := stride(len(j), 40, seed)
		n, bad := first, 0
		for ; n <= len(j) && bad < 5; n += step {
			if err := wantAfter(left(n), filepath.Join(dir, "left"), j.Marks(n)); err != nil {
				bad++
				t.Errorf("%s after %d changes, the last being %q:\n%v", name, n, last(j, n), err)
			}
		}
		t.Logf("%s: %d times, in %v", name, (n-first)/step, time.Since(began))
	}
	each("the process is killed", j.Whole)
	for _, tt := range []struct {
		model faultfs.Model
		luck  uint64
	}{
		// Badger writes a table's name into its manifest without syncing the directory.
		// By the letter of POSIX the name may be lost and the emptying of the log, which
		// had it all, survive, and a coin finds that; on no file system of Linux, where a
		// new file that is synced keeps its name. There is no place between the two for us.
		{faultfs.Strict, 0},
		{faultfs.Named, 0}, {faultfs.Named, seed}, {faultfs.Ordered, 0}, {faultfs.Ordered, seed},
	} {
		each(fmt.Sprintf("the power fails (model %v, seed %d)", tt.model, tt.luck), func(n int) *faultfs.Tree { return j.Survivor(n, tt.model, tt.luck) })
	}
}

func last(j faultfs.Journal, n int) string {
	if n == 0 {
		return "none"
	}
	return j.Describe(n - 1)
}

// TestFaultChanges has changes of a store's script fail: what was said to be done
// all the same is there, also when the power fails then.
func TestFaultChanges(t *testing.T) {
	seed := seedOf(t)
	all := countChanges(t)
	dir := memory(t)
	for _, tt := range []struct {
		name  string
		fault faultfs.Fault
		tries int
	}{
		{"an I/O error", faultfs.Fault{Errno: syscall.EIO}, 16},
		{"I/O errors from there on", faultfs.Fault{Errno: syscall.EIO, Forever: true}, 2},
		{"no space left", faultfs.Fault{Errno: syscall.ENOSPC}, 6},
		{"read-only from there on", faultfs.Fault{Errno: syscall.EROFS, Forever: true}, 1},
		{"no space left from there on", faultfs.Fault{Errno: syscall.ENOSPC, Forever: true}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, step := stride(all, tt.tries, seed)
			for n := first; n <= all; n += step {
				fault := tt.fault
				fault.At = n
				failing(t, fault, dir)
			}
		})
	}
}

func countChanges(t *testing.T) int {
	f, run := onFaults(t)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	return f.Changes()
}

// failing runs the script with one fault.
func failing(t *testing.T, fault faultfs.Fault, dir string) {
	t.Helper()
	mount := filepath.Join(dir, "mount")
	if err := os.MkdirAll(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	f, end := mountFaults(t, mount)
	defer end()
	f.Inject(fault)
	began := time.Now()
	err := runScript(mount)
	j := f.Journal()
	marks := j.Marks(len(j))
	hit := f.Hit()
	if len(hit) > 3 {
		hit = hit[:3]
	}
	says := func(what string, err error) {
		t.Errorf("change %d fails (%v), of %q: %s: %v\nmarks: %s", fault.At, fault.Errno, hit, what, err, strings.Join(marks, "; "))
	}
	if err != nil {
		says("the script", err)
		return
	}
	if took := time.Since(began); took > 20*time.Second {
		says("the script", fmt.Errorf("it took %v", took))
	}
	if err := wantAfter(j.Whole(len(j)), filepath.Join(dir, "left"), marks); err != nil {
		says("after it", err)
	}
	if err := wantAfter(j.Survivor(len(j), faultfs.Named, 0), filepath.Join(dir, "left"), marks); err != nil {
		says("after a power cut after it", err)
	}
}
