package engine

import (
	"context"
	"fmt"
	"slices"

	"plumb/store"
)

// comparedAtMost is how many runs are put beside each other unless they are named.
const comparedAtMost = 10

// Compare puts runs beside each other: what differs between them first.
func (e *Engine) Compare(ctx context.Context, req CompareRequest) (*CompareDoc, error) {
	doc := &CompareDoc{Schema: Schema, Rows: []CompareRow{}}
	var err error
	if doc.Runs, err = e.compared(ctx, req); err != nil {
		return nil, err
	}
	rows := []CompareRow{profileRow(doc.Runs)}
	for _, name := range paramNames(doc.Runs) {
		rows = append(rows, paramRow(doc.Runs, name))
	}
	for _, name := range metricNames(doc.Runs) {
		rows = append(rows, metricRow(doc.Runs, name))
	}
	var same []CompareRow
	for _, row := range rows {
		if row.Differs {
			doc.Rows = append(doc.Rows, row)
		} else if row.Kind != "profile" || row.Cells != nil && !row.Cells[0].Lacking {
			same = append(same, row)
		}
	}
	if doc.Same = len(same); req.All {
		doc.Rows = append(doc.Rows, same...)
	}
	return doc, nil
}

func (e *Engine) compared(ctx context.Context, req CompareRequest) ([]RunRow, error) {
	if len(req.Names) == 0 {
		if req.Limit == 0 {
			req.Limit = comparedAtMost
		}
		turned := req.Sort == "" && !req.Reverse // the newest, in the order of time from left to right
		if req.Sort == "" {
			req.Reverse = false
		}
		list, err := e.Runs(ctx, req.RunsRequest)
		if err != nil {
			return nil, err
		}
		if turned {
			slices.Reverse(list.Runs)
		}
		return list.Runs, nil
	}
	var ids []store.RunID
	for _, name := range req.Names {
		run, err := e.findRun(req.Dir, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, run.ID)
	}
	rows, err := e.rows(ids)
	if err == nil && len(rows) != len(ids) {
		err = fmt.Errorf("reading runs: %d of %d are damaged or gone", len(ids)-len(rows), len(ids))
	}
	return rows, err
}

func profileRow(runs []RunRow) CompareRow {
	row := CompareRow{Kind: "profile", Name: "profile"}
	for i := range runs {
		row.Cells = append(row.Cells, Cell{Value: runs[i].Profile, Lacking: runs[i].Profile == ""})
	}
	return row.settled()
}

func paramRow(runs []RunRow, name string) CompareRow {
	row := CompareRow{Kind: "param", Name: name}
	for i := range runs {
		at := slices.IndexFunc(runs[i].Params, func(p store.RunParam) bool { return p.Name == name })
		if at < 0 {
			row.Cells = append(row.Cells, Cell{Lacking: true})
			continue
		}
		row.Cells = append(row.Cells, Cell{Value: runs[i].Params[at].Value})
	}
	return row.settled()
}

func metricRow(runs []RunRow, name string) CompareRow {
	row := CompareRow{Kind: "metric", Name: name}
	for i := range runs {
		v, ok := runs[i].Metrics[name]
		if !ok {
			row.Cells = append(row.Cells, Cell{Lacking: true})
			continue
		}
		row.Cells = append(row.Cells, Cell{Number: &v})
	}
	return row.settled()
}

// settled says whether the cells differ.
func (r CompareRow) settled() CompareRow {
	for _, c := range r.Cells[min(1, len(r.Cells)):] {
		first := r.Cells[0]
		equal := c.Value == first.Value && c.Lacking == first.Lacking && (c.Number == nil) == (first.Number == nil)
		if equal && c.Number != nil {
			equal = *c.Number == *first.Number
		}
		r.Differs = r.Differs || !equal
	}
	return r
}

// paramNames lists the params of all runs, in the order of the newest one's pipeline.
func paramNames(runs []RunRow) (names []string) {
	for i := len(runs) - 1; i >= 0; i-- {
		for _, p := range runs[i].Params {
			if !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

func metricNames(runs []RunRow) (names []string) {
	seen := map[string]bool{}
	for i := range runs {
		for name := range runs[i].Metrics {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
