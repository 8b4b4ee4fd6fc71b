package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gcKills is how often the process that collects garbage is killed, for each of -faults.
const gcKills = 13

// gcDir, when set, makes the test binary a process that commits, looks up, collects
// garbage and repairs what is not broken, all at once, until it is killed.
const gcDir = "PLUMB_TEST_GC_DIR"

const gcWriters = 3

// writeAndCollect says on standard output what was committed, one line each, and what
// of it was lost under its own eyes.
func writeAndCollect(dir, round string) error {
	var hours atomic.Int64 // its clock runs fast, so that no grace protects anything
	now := func() time.Time { return time.Now().Add(time.Duration(hours.Load()) * time.Hour) }
	s, err := Open(dir, Options{Now: now, Names: testNames})
	if err != nil {
		return err
	}
	if err := s.Relink(context.Background()); err != nil { // so that fsck looks at links, too
		return err
	}
	errs := make(chan error, gcWriters+1)
	for w := range gcWriters {
		go func() { errs <- writeLeased(s, w, round) }()
	}
	go func() {
		for n := 0; ; n++ {
			hours.Add(2)
			if _, err := s.GC(context.Background(), Policy{KeepRuns: 3}); err != nil {
				errs <- err
				return
			}
			if n%4 != 3 {
				continue
			}
			rep, err := s.Fsck(context.Background(), FsckOptions{Repair: n%8 == 3})
			if err == nil && len(rep.Findings) > 0 {
				err = fmt.Errorf("fsck finds %+v", rep.Findings)
			}
			if err != nil {
				errs <- err
				return
			}
		}
	}()
	return <-errs
}

func writeLeased(s *Store, w int, round string) error {
	project := fmt.Sprint("/p", w)
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d-%d", round, w, i)
		k := Key(Sum([]byte(id)))
		release := s.Lease(k)
		b := s.NewBatch()
		// Some content is the same again and again: found, dropped, made again.
		same, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint("same", i%13), 20_000))), i%2 == 0)
		if err != nil {
			return err
		}
		own, err := b.Put(strings.NewReader(string(bytesOf(id, 9000))), false)
		if err != nil {
			return err
		}
		tiny, err := b.Put(strings.NewReader(fmt.Sprint("tiny", i%11)), false)
		if err != nil {
			return err
		}
		manifest, err := b.Put(strings.NewReader(string(EncodeTree([]Entry{
			{Path: "own", Kind: EntryFile, Size: own.Size, Digest: own.Digest},
			{Path: "same", Kind: EntryFile, Exec: same.Exec, Size: same.Size, Digest: same.Digest},
			{Path: "tiny", Kind: EntryFile, Size: tiny.Size, Digest: tiny.Digest},
		}))), false)
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(i%4) * time.Millisecond) // so that gc gets in between
		b.PutRecord(&Record{Key: k, Stage: id, Outputs: []Output{
			{Name: "same", Artifact: same}, {Name: "tiny", Artifact: tiny},
			{Name: "tree", Artifact: Artifact{Kind: KindTree, Digest: manifest.Digest, Size: own.Size + same.Size + tiny.Size, Files: 3}},
		}})
		b.PutRun(&Run{ID: RunID(fmt.Sprintf("%020d", time.Now().UnixNano())), Project: project, Status: "succeeded", Stages: []StageResult{{Name: id, Key: k}}})
		if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
			return err
		}
		fmt.Println(w, k.Hex())
		if _, miss, err := s.Lookup(k); miss != nil || err != nil {
			return fmt.Errorf("%s is leased and lost: %+v, %w", k.Short(), miss, err)
		}
		release()
	}
}

// TestFaultKilledWhileCollecting kills a process that collects garbage beside commits and
// look-ups, at random moments, over and over on one store. Whatever was said to be
// committed is there or was dropped by rule, what the newest runs need is there, and
// fsck finds nothing.
func TestFaultKilledWhileCollecting(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	said := map[string][]Key{}
	total := 0
	kills := gcKills * *faults
	for round := range kills {
		news := collectAndKill(t, dir, round, time.Duration(10+random.IntN(120))*time.Millisecond)
		for w, keys := range news {
			said[w] = append(said[w], keys...)
			total += len(keys)
		}
		s, err := Open(dir, Options{ReadOnly: true, Names: testNames})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for w, keys := range said {
			wantKept(t, s, fmt.Sprintf("round %d, writer %s", round, w), keys, len(news[w]))
		}
		rep, err := s.Fsck(context.Background(), FsckOptions{})
		if err != nil || len(rep.Findings) > 0 {
			t.Errorf("round %d: %+v, %v", round, rep, err)
		}
		closeStore(t, s)
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("killed %d times, %d results", kills, total)
	if total == 0 {
		t.Error("nothing was committed in any round")
	}
}

// wantKept looks at the latest results of a writer, of which so many are of this round.
// Of these, the two last are needed by the newest three runs: one may have been committed
// and not said. So may one of each round before, which is why no more are needed.
func wantKept(t *testing.T, s *Store, who string, keys []Key, news int) {
	t.Helper()
	from := max(0, len(keys)-200)
	for i, k := range keys[from:] {
		rec, miss, err := s.Lookup(k)
		newest := from+i >= len(keys)-min(news, 2)
		if err != nil || rec == nil && (newest || miss.Kind != MissEvicted) {
			t.Errorf("%s, %d from the end: %+v, %v", who, len(keys)-from-i, miss, err)
		}
	}
}

func collectAndKill(t *testing.T, dir string, round int, after time.Duration) map[string][]Key {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), gcDir+"="+dir, fmt.Sprint("PLUMB_TEST_CRASH_ROUND=", round))
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
	if round%10 == 0 { // also while it opens the store
		kill()
	}
	said := map[string][]Key{}
	for lines := bufio.NewScanner(out); lines.Scan(); kill() {
		w, hex, _ := strings.Cut(lines.Text(), " ")
		d, err := ParseDigest(digestPrefix + hex)
		if err != nil {
			break // cut off by the kill
		}
		said[w] = append(said[w], Key(d))
	}
	var status *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &status) || status.ExitCode() != -1 {
		t.Fatalf("round %d: the process ended by itself: %v", round, err)
	}
	return said
}
