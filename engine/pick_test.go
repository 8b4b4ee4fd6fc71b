package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		name, flag, text string
		param            string // JSON, for --param
		metric           float64
		want             bool
	}{
		{"equal numbers", "--param", "lr=0.10", "0.1", 0, true},
		{"equal words", "--param", "model=small", `"small"`, 0, true},
		{"quoted", "--param", `model="small"`, `"small"`, 0, true},
		{"quoted, with an operator", "--param", `model="<=b>"`, `"\u003c=b\u003e"`, 0, true},
		{"other words", "--param", "model=large", `"small"`, 0, false},
		{"not equal", "--param", "model!=large", `"small"`, 0, true},
		{"not equal, a number", "--param", "lr != 0.2", "0.1", 0, true},
		{"a word that is a number", "--param", "v=1", `"1"`, 0, true},
		{"less", "--param", "lr<0.2", "0.1", 0, true},
		{"at most", "--param", "lr<=0.1", "0.1", 0, true},
		{"more", "--param", "lr>0.1", "0.1", 0, false},
		{"at least", "--param", "lr>=1e-1", "0.1", 0, true},
		{"a word is not less", "--param", "lr<0.2", `"small"`, 0, false},
		{"a list", "--param", "l=[1,2]", "[1,2]", 0, true},
		{"nothing", "--param", "model=", `""`, 0, true},
		{"true", "--param", "flag=true", "true", 0, true},
		{"metric", "--metric", "acc > 0.9", "", 0.95, true},
		{"metric, not", "--metric", "acc>0.9", "", 0.9, false},
		{"metric of an instance", "--metric", "train[lr=0.1].acc>=0.9", "", 0.9, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseCondition(tt.flag, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got := c.holdsFor(tt.metric)
			if tt.flag == "--param" {
				got = c.holdsForParam(tt.param)
			}
			if got != tt.want {
				t.Errorf("%+v holds: %v", c, got)
			}
		})
	}
	for _, bad := range [][2]string{{"--metric", "acc"}, {"--metric", ">1"}, {"--metric", "acc>"}, {"--metric", "acc=good"}, {"--param", "=1"}, {"--param", "lr<small"}, {"--param", "lr==0.1"}, {"--param", "lr= =0.1"}, {"--param", "lr=>0.1"}, {"--param", "lr<!=1"}, {"--metric", "acc==0.9"}, {"--metric", ""}, {"--metric", "train[lr=0.1]"}} {
		if c, err := parseCondition(bad[0], bad[1]); err == nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
	var e *Error
	if _, err := parseCondition("--param", "lr==0.1"); !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, `"=" right behind "="`) || !strings.Contains(e.Hint, "'lr<=0.1'") {
		t.Errorf("two operators: %v", err)
	}
}

// history fills a store with runs r0, r1, …, a minute apart.
func history(t *testing.T, r *rig, runs ...store.Run) {
	t.Helper()
	at := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	for i := range runs {
		run := &runs[i]
		run.Started = at.Add(time.Duration(i) * time.Minute)
		run.ID = store.RunID(run.Started.Format("20060102-150405") + fmt.Sprintf("-r%03d", i))
		run.Project = r.dir
		if run.Status == "" {
			run.Status = "succeeded"
		}
		if err := r.store.PutRun(run); err != nil {
			t.Fatal(err)
		}
	}
}

// aTraining is a run of one stage.
func aTraining(lr string, key byte, acc ...float64) store.Run {
	st := store.StageResult{Name: "train", Status: "ran"}
	if key > 0 {
		st.Key = store.Key{key}
	}
	if len(acc) > 0 {
		st.Metrics = map[string]float64{"acc": acc[0]}
	}
	return store.Run{Params: []store.RunParam{{Name: "lr", Value: lr}, {Name: "secret"}}, Stages: []store.StageResult{st, {Name: "other", Metrics: map[string]float64{"n": float64(key)}}}, Seconds: float64(key % 3)}
}

func TestPick(t *testing.T) {
	r := newRig(t, "")
	failed := aTraining("0.3", 2)
	failed.Status = "failed"
	history(t, r, aTraining("0.1", 1, 0.5), aTraining("0.2", 1, 0.9), failed, aTraining("0.3", 0, 0.7), aTraining("0.4", 2, 0.6), aTraining("0.5", 1, 0.8))
	at := func(minute int) time.Time { return time.Date(2026, 11, 1, 9, minute, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name string
		req  RunsRequest
		want string // the last digits of their ids
		fail string
		hint string
	}{
		{"all", RunsRequest{}, "5 4 3 2 1 0", "", ""},
		{"limited", RunsRequest{Limit: 2}, "5 4 more", "", ""},
		{"just as many", RunsRequest{Limit: 6}, "5 4 3 2 1 0", "", ""},
		{"next page", RunsRequest{Before: "r004", Limit: 2}, "3 2 more", "", ""},
		{"status", RunsRequest{Status: "failed"}, "2", "", ""},
		{"time", RunsRequest{Since: at(1), Until: at(3)}, "3 2 1", "", ""},
		{"param", RunsRequest{Params: []string{"lr>0.2", "lr!=0.4"}}, "5 3 2", "", ""},
		{"metric by its own name", RunsRequest{Metrics: []string{"acc>=0.7"}}, "5 3 1", "", ""},
		{"metric in full, and what lacks it", RunsRequest{Metrics: []string{"train.acc<1"}}, "5 4 3 1 0", "", ""},
		{"both", RunsRequest{Metrics: []string{"acc>0.6"}, Params: []string{"lr<0.5"}}, "3 1", "", ""},
		{"no run fits", RunsRequest{Metrics: []string{"acc>6"}}, "", "", ""},
		{"changed", RunsRequest{Changed: "train"}, "5 2 0", "", ""},
		{"changed and failed", RunsRequest{Changed: "train", Status: "failed"}, "2", "", ""},
		{"changed since", RunsRequest{Changed: "train", Since: at(3)}, "5", "", ""},
		{"changed, limited", RunsRequest{Changed: "train", Limit: 1}, "5 more", "", ""},
		{"sorted by metric, what lacks it last", RunsRequest{Sort: "acc"}, "1 5 3 4 0 2", "", ""},
		{"the other way round", RunsRequest{Sort: "train.acc", Reverse: true}, "0 4 3 5 1 2", "", ""},
		{"best two", RunsRequest{Sort: "acc", Limit: 2}, "1 5 more", "", ""},
		{"sorted by param", RunsRequest{Sort: "param.lr"}, "5 4 3 2 1 0", "", ""},
		{"sorted by param, the smallest first", RunsRequest{Sort: "param.lr", Reverse: true}, "0 1 3 2 4 5", "", ""},
		{"reversed, which is the oldest first", RunsRequest{Reverse: true, Limit: 2}, "0 1 more", "", ""},
		{"slowest", RunsRequest{Sort: "seconds", Limit: 1}, "4 more", "", ""},
		{"with what an older one has", RunsRequest{Limit: 1, Show: []string{"train.acc", "param.lr"}}, "5 more", "", ""},
		{"with what none has", RunsRequest{Limit: 1, Show: []string{"train.acx"}}, "", `no run has a metric "train.acx"`, `"train.acc"`},
		{"with a param that none has", RunsRequest{Show: []string{"param.lrr"}}, "", `no run has a param "lrr"`, `"lr"`},
		{"pages the other way round", RunsRequest{Reverse: true, Before: "r004"}, "", "--before", "--limit"},
		{"oldest first", RunsRequest{Sort: "started", Reverse: true, Limit: 2}, "0 1 more", "", ""},
		{"newest first", RunsRequest{Sort: "started", Limit: 2}, "5 4 more", "", ""},
		{"quickest", RunsRequest{Sort: "seconds", Reverse: true, Limit: 1}, "3 more", "", ""},
		{"a metric that none has", RunsRequest{Metrics: []string{"acx>1"}}, "", `no run has a metric "acx"`, `"acc"`},
		{"sorted by one that none has", RunsRequest{Sort: "f1"}, "", `no run has a metric "f1"`, "acc, n, other.n, train.acc"},
		{"a param that none has", RunsRequest{Params: []string{"lrr=1"}}, "", `no run has a param "lrr"`, `"lr"`},
		{"sorted by a param that none has", RunsRequest{Sort: "param.lrr"}, "", `no run has a param "lrr"`, `"lr"`},
		{"a stage that none has", RunsRequest{Changed: "trai"}, "", `no run has a stage "trai"`, `"train"`},
		{"a tag that none has", RunsRequest{Tag: "v1"}, "", `no run of this project has the tag "v1"`, "plumb tag RUN v1"},
		{"a status that there is not", RunsRequest{Status: "done"}, "", `no run has the status "done"`, "succeeded"},
		{"pages of what is sorted", RunsRequest{Sort: "acc", Before: "r004"}, "", "--before", ""},
		{"before what is not there", RunsRequest{Before: "r009"}, "", `there is no run "r009"`, "plumb runs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.Dir = r.dir
			doc, err := r.Runs(t.Context(), tt.req)
			if tt.fail != "" {
				var e *Error
				if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, tt.fail) || !strings.Contains(e.Hint, tt.hint) {
					t.Errorf("%+v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range doc.Runs {
				got = append(got, string(doc.Runs[i].ID[len(doc.Runs[i].ID)-1:]))
			}
			if doc.More {
				got = append(got, "more")
			}
			if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
	if doc, err := newRig(t, "").Runs(t.Context(), RunsRequest{Dir: r.dir, Metrics: []string{"acc>1"}}); err != nil || len(doc.Runs) > 0 {
		t.Errorf("without any run: %+v %v", doc, err)
	}
}

func TestCompare(t *testing.T) {
	r := newRig(t, "")
	ci := aTraining("0.2", 1, 0.9)
	ci.Profile = "ci"
	history(t, r, aTraining("0.1", 1, 0.5), ci, aTraining("0.2", 1))
	cells := func(doc *CompareDoc) (out []string) {
		for _, row := range doc.Rows {
			line := row.Kind + " " + row.Name + ":"
			for _, c := range row.Cells {
				switch {
				case c.Lacking:
					line += " lacks"
				case c.Number != nil:
					line += fmt.Sprint(" ", *c.Number)
				default:
					line += " " + c.Value
				}
			}
			out = append(out, line)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		req  CompareRequest
		want []string
		same int
	}{
		{"the newest", CompareRequest{}, []string{"profile profile: lacks ci lacks", "param lr: 0.1 0.2 0.2", "metric train.acc: 0.5 0.9 lacks"}, 2},
		{"named, in that order", CompareRequest{Names: []string{"r002", "r000"}}, []string{"param lr: 0.2 0.1", "metric train.acc: lacks 0.5"}, 2},
		{"with what is the same", CompareRequest{Names: []string{"r001", "r002"}, All: true}, []string{"profile profile: ci lacks", "metric train.acc: 0.9 lacks", "param lr: 0.2 0.2", "param secret:  ", "metric other.n: 1 1"}, 3},
		{"one", CompareRequest{Names: []string{"r001"}}, nil, 5},
		{"the largest on the left", CompareRequest{RunsRequest: RunsRequest{Sort: "acc"}}, []string{"profile profile: ci lacks lacks", "param lr: 0.2 0.1 0.2", "metric train.acc: 0.9 0.5 lacks"}, 2},
		{"the smallest on the left", CompareRequest{RunsRequest: RunsRequest{Sort: "acc", Reverse: true}}, []string{"profile profile: lacks ci lacks", "param lr: 0.1 0.2 0.2", "metric train.acc: 0.5 0.9 lacks"}, 2},
		{"the newest two on the left", CompareRequest{RunsRequest: RunsRequest{Reverse: true, Limit: 2}}, []string{"profile profile: lacks ci", "metric train.acc: lacks 0.9"}, 3},
	} {
		tt.req.Dir = r.dir
		doc, err := r.Compare(t.Context(), tt.req)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, cells(doc)); d != "" || doc.Same != tt.same {
			t.Errorf("%s: %d the same %s", tt.name, doc.Same, d)
		}
	}
	if _, err := r.Compare(t.Context(), CompareRequest{RunsRequest: RunsRequest{Dir: r.dir}, Names: []string{"r001", "zzzzz"}}); err == nil {
		t.Error("a run that does not exist is compared")
	}
}

// What several runs fit says how many they are, and names the newest.
func TestAmbiguousRun(t *testing.T) {
	r := newRig(t, "")
	var runs []store.Run
	for range 8 {
		runs = append(runs, aTraining("0.1", 1))
	}
	history(t, r, runs...)
	_, err := r.Show(t.Context(), ShowRequest{Dir: r.dir, Run: "20261101"})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Invalid || !strings.HasPrefix(e.Hint, "name one of: 20261101-090700-r007, ") || !strings.HasSuffix(e.Hint, "-r003, and 3 more") {
		t.Errorf("%+v", err)
	}
}
