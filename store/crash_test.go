package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// crashDir, when set, makes the test binary a process that commits to the store
// there until it is killed.
const crashDir = "PLUMB_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, commitForever(dir, os.Getenv("PLUMB_TEST_CRASH_ROUND")))
		os.Exit(1)
	}
	if dir := os.Getenv(gcDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeAndCollect(dir, os.Getenv("PLUMB_TEST_CRASH_ROUND")))
		os.Exit(1)
	}
	if dir := os.Getenv(repairDir); dir != "" {
		fmt.Fprintln(os.Stderr, repairForever(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(faultDir); dir != "" {
		var err error
		if rounds := os.Getenv("PLUMB_TEST_FAULT_ROUNDS"); rounds != "" {
			n, _ := strconv.Atoi(rounds)
			err = workThrough(dir, n)
		} else {
			err = migrateThrough(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// commitForever says on standard output, one line each, what was committed.
func commitForever(dir, round string) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", round, i)
		k := Key(Sum([]byte(id)))
		if err := commitResult(s, k, id); err != nil {
			return err
		}
		fmt.Println(k.Hex())
		if i%5 == 4 {
			if _, err := s.GC(context.Background(), Policy{KeepRuns: 1 << 20, KeepAge: day}); err != nil {
				return err
			}
		}
	}
}

// commitResult makes what a stage does: a tree, a file in both modes, a log and a
// run.
func commitResult(s *Store, k Key, id string) error {
	b := s.NewBatch()
	large, err := b.Put(strings.NewReader(string(bytesOf(id, 30_000))), false)
	if err != nil {
		return err
	}
	exec, err := b.Put(strings.NewReader(string(bytesOf(id, 30_000))), true)
	if err != nil {
		return err
	}
	small, err := b.Put(strings.NewReader(id), false)
	if err != nil {
		return err
	}
	manifest, err := b.Put(strings.NewReader(string(EncodeTree([]Entry{
		{Path: "large", Kind: EntryFile, Size: large.Size, Digest: large.Digest},
		{Path: "small", Kind: EntryFile, Size: small.Size, Digest: small.Digest},
	}))), false)
	if err != nil {
		return err
	}
	b.PutRecord(&Record{Key: k, Stage: id, Created: time.Now(), Outputs: []Output{
		{Name: "exec", Artifact: exec},
		{Name: "tree", Artifact: Artifact{Kind: KindTree, Digest: manifest.Digest, Size: large.Size + small.Size, Files: 2}},
	}})
	b.History("/p", "s", k)
	b.PutRun(&Run{ID: RunID(id), Project: "/p", Stages: []StageResult{{Name: id, Key: k}}})
	return errors.Join(s.Commit(context.Background(), b), b.Close())
}

// Killed at any instant, a store opens again, to read and to write, has what was
// said to be committed, and every record it has resolves.
func TestFaultKilledWhileCommitting(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var said []Key
	for round := range 4 * *faults {
		said = append(said, crash(t, dir, round, time.Duration(20+random.IntN(250))*time.Millisecond)...)
		readOnly := round%2 == 0
		s, err := Open(dir, Options{ReadOnly: readOnly})
		if err != nil {
			t.Fatalf("round %d, read-only %v: %v", round, readOnly, err)
		}
		checkAll(t, s, said)
		closeStore(t, s)
	}
	if len(said) == 0 {
		t.Error("nothing was committed in any round")
	}
	t.Logf("%d results survived", len(said))
}

// crash runs a committing process for a while and gives the keys it said.
func crash(t *testing.T, dir string, round int, after time.Duration) (said []Key) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprint("PLUMB_TEST_CRASH_ROUND=", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() {
		time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // how it ended is looked at below
	})
	if round < 5 { // also while it opens the store
		kill()
	}
	for lines := bufio.NewScanner(out); lines.Scan(); kill() {
		d, err := ParseDigest(digestPrefix + lines.Text())
		if err != nil {
			break // cut off by the kill
		}
		said = append(said, Key(d))
	}
	var status *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &status) || status.ExitCode() != -1 {
		t.Fatalf("the process ended by itself: %v", err)
	}
	return said
}

// What a kill leaves of a log that was being made or deleted does not keep the
// store from opening.
func TestEmptyLogs(t *testing.T) {
	for _, name := range []string{"00009.mem", "000009.vlog"} {
		for _, readOnly := range []bool{false, true} {
			dir := t.TempDir()
			s := openStore(t, dir, Options{})
			if err := s.PutRun(&Run{ID: "r"}); err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
			logs := []string{name}
			if readOnly { // a killed writer leaves a memtable's log in any case
				logs = append(logs, "00010.mem")
			}
			for _, l := range logs {
				if err := os.WriteFile(s.path("meta", l), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s = openStore(t, dir, Options{ReadOnly: readOnly})
			if r, err := s.Run("r"); err != nil || r.ID != "r" {
				t.Errorf("%s, read-only %v: %v", name, readOnly, err)
			}
			closeStore(t, s)
		}
	}
}

func checkAll(t *testing.T, s *Store, said []Key) {
	t.Helper()
	for _, k := range said {
		if _, miss, err := s.Lookup(k); miss != nil || err != nil {
			t.Fatalf("%s was committed: %+v, %v", k.Short(), miss, err)
		}
	}
	keys, err := s.StageHistory("/p", "s", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, miss, err := s.Lookup(k); miss != nil || err != nil {
			t.Fatalf("%s is in the history: %+v, %v", k.Short(), miss, err)
		}
	}
	runs, err := s.Runs(RunFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		full, err := s.Run(r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, miss, err := s.Lookup(full.Stages[0].Key); miss != nil || err != nil {
			t.Fatalf("run %s is recorded and its result is not: %+v, %v", r.ID, miss, err)
		}
	}
}
