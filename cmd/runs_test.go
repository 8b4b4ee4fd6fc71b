package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"plumb/engine"
	"plumb/store"
)

// manyRuns answers with as many runs as it says, and remembers how many rows it gave at
// once.
type manyRuns struct {
	engine.API
	runs, most int
}

func (m *manyRuns) Runs(_ context.Context, req engine.RunsRequest) (*engine.RunsDoc, error) {
	doc := &engine.RunsDoc{Schema: engine.Schema, Runs: []engine.RunRow{}, More: req.IDs == nil && req.Limit > 0 && req.Limit < m.runs}
	ids := req.IDs
	if ids == nil {
		n := m.runs
		if req.Limit > 0 {
			n = min(n, req.Limit)
		}
		for i := range n {
			ids = append(ids, store.RunID(fmt.Sprintf("r%06d", i)))
		}
		if req.Bare {
			doc.IDs = ids
			return doc, nil
		}
	}
	for _, id := range ids {
		doc.Runs = append(doc.Runs, engine.RunRow{Run: store.Run{ID: id}})
	}
	m.most = max(m.most, len(doc.Runs))
	return doc, nil
}

// However many runs are asked for, they come in their order, and no more than a page of
// them is held at once.
func TestRunsComeInPages(t *testing.T) {
	for name, c := range map[string]struct {
		runs, limit, want int
		more              bool
	}{
		"none": {0, 20, 0, false}, "few": {30, 20, 20, true}, "a page": {pageSize, pageSize, pageSize, false},
		"more than a page": {3 * pageSize, 2*pageSize + 1, 2*pageSize + 1, true}, "all": {2*pageSize + 7, 0, 2*pageSize + 7, false}, "all of none": {0, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			api := &manyRuns{runs: c.runs}
			pages, err := pagesOf(t.Context(), api, engine.RunsRequest{Limit: c.limit})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := pages.json(&out); err != nil {
				t.Fatal(err)
			}
			var doc engine.RunsDoc
			if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
				t.Fatal(err)
			}
			if len(doc.Runs) != c.want || doc.More != c.more || doc.Schema != engine.Schema || doc.Runs == nil {
				t.Errorf("%d runs, more: %v", len(doc.Runs), doc.More)
			}
			for i := range doc.Runs {
				if want := store.RunID(fmt.Sprintf("r%06d", i)); doc.Runs[i].ID != want {
					t.Fatalf("run %d is %s", i, doc.Runs[i].ID)
				}
			}
			if api.most > pageSize {
				t.Errorf("%d rows at once", api.most)
			}
		})
	}
}
