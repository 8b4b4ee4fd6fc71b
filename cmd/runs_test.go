package cmd

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"plumb/engine"
	"plumb/store"
)

// damagedRuns answers with runs of which some are damaged: they are picked, and no row is
// made of them.
type damagedRuns struct {
	engine.API
	readable []bool // newest first
}

func (a *damagedRuns) Runs(_ context.Context, req engine.RunsRequest) (*engine.RunsDoc, error) {
	from := 0
	if req.After != "" {
		at, err := strconv.Atoi(req.After)
		if err != nil {
			return nil, err
		}
		from = at + 1
	}
	to := min(from+req.Limit, len(a.readable))
	doc := &engine.RunsDoc{More: to < len(a.readable), Next: strconv.Itoa(to - 1)}
	for i := from; i < to; i++ {
		if a.readable[i] {
			doc.Runs = append(doc.Runs, engine.RunRow{Run: store.Run{ID: store.RunID(strconv.Itoa(i))}})
		}
	}
	return doc, nil
}

// TestPagesGoOverDamagedRuns also when a whole page is damaged: as many come as are asked
// for, and none twice.
func TestPagesGoOverDamagedRuns(t *testing.T) {
	many := make([]bool, 2*pageSize+3)
	for i := range many {
		many[i] = i == 1 || i >= 2*pageSize
	}
	for _, tt := range []struct {
		readable []bool
		limit    int
		want     []string
	}{
		{[]bool{false, true, true, true}, 1, []string{"1"}},
		{[]bool{true, false, false, true, true}, 2, []string{"0", "3"}},
		{[]bool{true, false, false}, 2, []string{"0"}},
		{[]bool{false, false}, 1, nil},
		{many, 0, []string{"1", "1000", "1001", "1002"}},
	} {
		var got []string
		p := pages{ctx: t.Context(), api: &damagedRuns{readable: tt.readable}, req: engine.RunsRequest{Limit: tt.limit}}
		if err := p.each(func(r *engine.RunRow) error { got = append(got, string(r.ID)); return nil }); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v %v, want %v", fmt.Sprint(len(tt.readable), " runs, limit ", tt.limit), got, err, tt.want)
		}
	}
}
