package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTargets(t *testing.T) {
	for name, c := range map[string]struct {
		row  func(*table) *row
		want []target
	}{
		"met": {func(t *table) *row { return t.value("x", seconds, 0.02).atMost(0.025) },
			[]target{{"≤ 25 ms", 0.025, 0.02, true}}},
		"missed": {func(t *table) *row { return t.value("x", size, 61e6).atMost(60e6) },
			[]target{{"≤ 60 MB", 60e6, 61e6, false}}},
		"ratio": {func(t *table) *row {
			return t.times("x", series{3, 3}, map[string]series{"ninja": {1, 1}}, "ninja").below("ninja", 2)
		}, []target{{"≤ 2× ninja", 2, 3, false}}},
		"a missing peer decides nothing": {func(t *table) *row {
			return t.times("x", series{3, 3}, nil, "ninja").below("ninja", 2)
		}, []target{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.row(newTable()).Targets); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTable(t *testing.T) {
	tab := newTable()
	tab.Plumb, tab.Machine, tab.section = "plumb 1", "a machine", "nothing"
	tab.times("10 stages, warm", series{0.02, 0.02}, map[string]series{"ninja": {0.01, 0.01}}, "ninja", "make").atMost(0.01)
	tab.section = "memory"
	tab.value("agent", size, 30e6).atMost(60e6)
	tab.lacks("make", "apt-get install make")
	tab.lacks("make", "apt-get install make")
	var b bytes.Buffer
	if err := tab.text(&b); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(b.String()), " ")
	want := "plumb 1 a machine nothing plumb p95 peers: ratio (their median) target " +
		"10 stages, warm 20 ms 20 ms 2× ninja (10 ms) ≤ 10 ms MISSED " +
		"memory plumb p95 peers: ratio (their median) target agent 30 MB - ≤ 60 MB met " +
		"not measured: make, which is not installed (apt-get install make)"
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	b.Reset()
	if err := tab.json(&b); err != nil {
		t.Fatal(err)
	}
	var back table
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tab.Rows, back.Rows); diff != "" || back.Schema != 1 || len(back.Missing) != 1 {
		t.Errorf("read back: schema %d, missing %v, rows (-want +got):\n%s", back.Schema, back.Missing, diff)
	}
}

func TestReadTimes(t *testing.T) {
	const begin = `{"event":"run_started","time":"2026-01-01T00:00:00Z"}` + "\n"
	const done = `{"event":"attempt","stage":"s","time":"2026-01-01T00:00:04Z","attempt":{"class":"ok","started":"2026-01-01T00:00:02Z","seconds":1.5}}` + "\n"
	for name, c := range map[string]struct {
		events string
		want   stageTimes
		err    string
	}{
		"of the stage":      {begin + done, stageTimes{whole: 4 * time.Second, command: 1500 * time.Millisecond, recorded: 500 * time.Millisecond}, ""},
		"run never began":   {done, stageTimes{}, "no attempt"},
		"of another stage":  {begin + strings.ReplaceAll(done, `"s"`, `"t"`), stageTimes{}, "no attempt"},
		"a failed attempt":  {begin + strings.ReplaceAll(done, `"ok"`, `"exit"`), stageTimes{}, `ended with "exit"`},
		"cut in the middle": {begin + done[:40], stageTimes{}, "reading the events"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readTimes([]byte(c.events), "s")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(stageTimes{})); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		err  string
	}{
		"none":               {nil, ""},
		"some":               {[]string{"-sizes", "100,10", "-only", "nothing,memory"}, ""},
		"no number":          {[]string{"-sizes", "10,x"}, `"x"`},
		"an unknown section": {[]string{"-only", "all"}, `"all"`},
		"no rounds":          {[]string{"-n", "0"}, "-n"},
		"half a MiB":         {[]string{"-bytes", "1000"}, "1 MiB"},
		"an argument":        {[]string{"nothing"}, `"nothing"`},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(c.args, io.Discard)
			if c.err == "" {
				if err != nil || o.sizes[0] != 10 {
					t.Errorf("options %+v: %v", o, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
		})
	}
}
