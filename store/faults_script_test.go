package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"plumb/store/faultfs"
)

// deeds is the script under way.
type deeds struct {
	mount string
	s     *Store
	clock *clock
}

// workThrough does the script. What fails is marked, and the next thing tried: only a
// store that does not open twice ends it.
func workThrough(mount string, rounds int) error {
	d := &deeds{mount: mount, clock: newClock()}
	for round := range rounds {
		err := d.open()
		if err != nil {
			err = d.open()
		}
		if err != nil {
			return d.failed("open", err)
		}
		if err := d.round(round, rounds); err != nil {
			return err
		}
		d.clock.now = d.clock.now.Add(2 * day)
		if err := d.s.Close(); err != nil {
			if err := d.failed("close", err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *deeds) open() (err error) {
	d.s, err = Open(filepath.Join(d.mount, "home", "store"), Options{Now: d.clock.Now, patience: 3 * time.Second})
	return err
}

func (d *deeds) done(format string, args ...any) error {
	return faultfs.Mark(d.mount, fmt.Sprintf(format, args...))
}

func (d *deeds) failed(what string, err error) error { return d.done("failed %s: %v", what, err) }

func (d *deeds) round(round, rounds int) error {
	ctx := context.Background()
	blob := func(name string, size int, exec bool) func() (string, error) {
		return func() (string, error) {
			a, err := d.s.PutBytes(ctx, bytesOf(name, size), exec)
			return fmt.Sprintf("blob %s %s %d", name, a.Digest.Hex(), size), err
		}
	}
	result := func(id string) func() (string, error) {
		k := Key(Sum([]byte(id)))
		return func() (string, error) { return "record " + id + " " + k.Hex(), commitResult(d.s, k, id) }
	}
	run := func(id, status string) func() (string, error) {
		return func() (string, error) {
			return "run " + id + " " + status, d.s.PutRun(&Run{ID: RunID(id), Project: "/q", Status: status, Started: d.clock.now})
		}
	}
	id := func(name string) string { return fmt.Sprintf("%d-%s", round, name) }
	steps := []func() (string, error){
		blob(id("small"), 100, false), blob(id("large"), 30_000, false), blob(id("program"), 30_000, true), blob(id("huge"), 3<<19, false),
		run(id("run"), statusRunning), result(id("a")), result(id("b")), result("same"), run(id("run"), "succeeded"),
		func() (string, error) { return "cache", d.s.PutCache("cache", bytesOf(id("cache"), 10_000)) },
		func() (string, error) {
			d.s.Touch(Key(Sum([]byte(id("a")))))
			return "maintained", d.s.Maintain(ctx)
		},
	}
	if round == 0 {
		steps = append(steps, d.fill)
	}
	if round == rounds-1 {
		// What gc keeps by the rules that it is given.
		steps = append(steps, func() (string, error) { return "keep same " + id("run"), nil })
		steps = append(steps, func() (string, error) {
			_, err := d.s.GC(ctx, Policy{KeepRuns: 1, KeepAge: day})
			return "collected", err
		}, result(id("after gc")))
	}
	for _, step := range steps {
		what, err := step()
		if err == nil {
			err = d.done("%s", what)
		} else {
			err = d.failed(what, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill writes more than a memtable holds, so that Badger begins another.
func (d *deeds) fill() (string, error) {
	b := d.s.NewBatch()
	var err error
	for i := 0; i < memTableSize/SmallBlob+50 && err == nil; i++ {
		_, err = b.Put(bytes.NewReader(bytesOf(fmt.Sprint("fill ", i), SmallBlob)), false)
	}
	return "filled", errors.Join(err, d.s.Commit(context.Background(), b), b.Close())
}
