package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repairDir, when set, makes the test binary a process that repairs the store there over
// and over until it is killed.
const repairDir = "PLUMB_TEST_REPAIR_DIR"

func repairForever(dir string) error {
	for {
		if _, err := RebuildRecords(dir, Options{}); err != nil {
			return err
		}
		s, err := Open(dir, Options{})
		if err != nil {
			return err
		}
		_, err = s.Fsck(context.Background(), FsckOptions{Repair: true})
		if err := errors.Join(err, s.Close()); err != nil {
			return err
		}
	}
}

// TestFaultKilledWhileRepairing kills repairs at random moments, and damages more between
// them: the next one goes on, and in the end all that was sound is there.
func TestFaultKilledWhileRepairing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	var sound []Key
	var bad []Artifact
	for i := range 300 {
		k := Key(Sum(fmt.Append(nil, i)))
		commit(t, s, func(b *Batch) {
			a, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint(i), 8000))), false)
			if err != nil {
				t.Fatal(err)
			}
			b.PutRecord(&Record{Key: k, Stage: "s", Created: time.Now(), Outputs: []Output{{Name: "o", Artifact: a}}})
			if i < 100 {
				bad = append(bad, a)
			} else {
				sound = append(sound, k)
			}
		})
	}
	closeStore(t, s)
	for round := range 6 * *faults {
		if path := s.blobPath(bad[round].Digest, false); round < len(bad) {
			flip(t, path, 5, round%2 == 0)
		}
		if round%3 == 0 { // the list of tables: nothing is lost with it
			if names, err := filepath.Glob(s.path("meta", "MANIFEST")); err == nil && len(names) == 1 {
				if err := os.WriteFile(names[0], []byte("garbage"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), repairDir+"="+dir), os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(15+random.IntN(80)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var status *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &status) || status.ExitCode() != -1 {
			t.Fatalf("round %d: the process ended by itself: %v", round, err)
		}
	}
	if rep := look(t, dir, true); !rep.OK {
		t.Errorf("%+v", rep.Findings)
	}
	if rep := look(t, dir, false); !rep.OK || len(rep.Findings) > 0 {
		t.Errorf("%+v", rep.Findings)
	}
	s = openStore(t, dir, Options{})
	for _, k := range sound {
		if _, miss, err := s.Lookup(k); miss != nil || err != nil {
			t.Fatalf("%s was sound and is lost: %+v, %v", k.Short(), miss, err)
		}
	}
}
