package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table is what a run of this command found out.
type table struct {
	Schema  int       `json:"schema"`
	Plumb   string    `json:"plumb"`
	Machine string    `json:"machine"`
	Missing []missing `json:"missing"`
	Rows    []row     `json:"rows"`
	section string    // that rows are being added to
}

// missing is a peer that could not be measured.
type missing struct {
	Peer    string `json:"peer"`
	Install string `json:"install"`
}

// unit is what a row's values are in.
type unit string

const (
	seconds unit = "seconds"
	size    unit = "bytes"
	rate    unit = "per_second"
)

// row is one thing measured: the value of plumb (the median, where there are
// samples), the peers beside it, and what the value should be.
type row struct {
	Section string    `json:"section"`
	Name    string    `json:"name"`
	Unit    unit      `json:"unit"`
	Value   float64   `json:"value"`
	P95     float64   `json:"p95,omitempty"`
	Samples series    `json:"samples,omitempty"`
	Peers   []against `json:"peers"`
	Targets []target  `json:"targets"`
}

// against is one peer's median, and the median of plumb's share of it in each round.
type against struct {
	Peer    string  `json:"peer"`
	Value   float64 `json:"value"`
	Ratio   float64 `json:"ratio"`
	Samples series  `json:"samples"`
}

// target is an upper limit.
type target struct {
	Text   string  `json:"text"`
	Limit  float64 `json:"limit"`
	Actual float64 `json:"actual"`
	Met    bool    `json:"met"`
}

func newTable() *table {
	return &table{Schema: 1, Missing: []missing{}, Rows: []row{}}
}

func (t *table) lacks(peer, install string) {
	m := missing{peer, install}
	for _, have := range t.Missing {
		if have == m {
			return
		}
	}
	t.Missing = append(t.Missing, m)
}

// value adds a single figure.
func (t *table) value(name string, u unit, v float64) *row {
	t.Rows = append(t.Rows, row{Section: t.section, Name: name, Unit: u, Value: v, Peers: []against{}, Targets: []target{}})
	return &t.Rows[len(t.Rows)-1]
}

// times adds what was measured in rounds, beside those of the peers that were
// there.
func (t *table) times(name string, mine series, all map[string]series, peers ...string) *row {
	r := t.value(name, seconds, mine.median())
	r.P95, r.Samples = mine.quantile(0.95), mine
	for _, p := range peers {
		if theirs, ok := all[p]; ok {
			r.Peers = append(r.Peers, against{Peer: p, Value: theirs.median(), Ratio: mine.over(theirs), Samples: theirs})
		}
	}
	return r
}

// atMost compares the value with its target.
func (r *row) atMost(limit float64) *row {
	r.Targets = append(r.Targets, target{"≤ " + r.Unit.text(limit), limit, r.Value, r.Value <= limit})
	return r
}

// below compares the ratio to a peer with its target. A peer that is missing
// decides nothing.
func (r *row) below(peer string, limit float64) *row {
	for _, p := range r.Peers {
		if p.Peer == peer {
			r.Targets = append(r.Targets, target{fmt.Sprintf("≤ %g× %s", limit, peer), limit, p.Ratio, p.Ratio <= limit})
		}
	}
	return r
}

func (t *table) json(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(t)
}

// text prints a block for each section and a line for each row.
func (t *table) text(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n", t.Plumb, t.Machine)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	section := ""
	for _, r := range t.Rows {
		if r.Section != section {
			section = r.Section
			fmt.Fprintf(tw, "\n%s\tplumb\tp95\tpeers: ratio (their median)\ttarget\n", section)
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n", r.Name, r.Unit.text(r.Value), r.p95(), r.peers(), r.targets())
	}
	for _, m := range t.Missing {
		fmt.Fprintf(tw, "\nnot measured: %s, which is not installed (%s)\n", m.Peer, m.Install)
	}
	return tw.Flush()
}

func (r row) p95() string {
	if len(r.Samples) < 2 {
		return "-"
	}
	return r.Unit.text(r.P95)
}

func (r row) peers() string {
	var all []string
	for _, p := range r.Peers {
		all = append(all, fmt.Sprintf("%.3g× %s (%s)", p.Ratio, p.Peer, r.Unit.text(p.Value)))
	}
	return strings.Join(all, ", ")
}

func (r row) targets() string {
	var all []string
	for _, t := range r.Targets {
		verdict := "met"
		if !t.Met {
			verdict = "MISSED"
		}
		all = append(all, t.Text+" "+verdict)
	}
	return strings.Join(all, ", ")
}

// text prints three digits, in the unit that people would choose.
func (u unit) text(v float64) string {
	switch {
	case u == size && v >= 1e9:
		return fmt.Sprintf("%.3g GB", v/1e9)
	case u == size:
		return fmt.Sprintf("%.3g MB", v/1e6)
	case u == rate:
		return fmt.Sprintf("%.3g/s", v)
	case v < 1:
		return fmt.Sprintf("%.3g ms", v*1e3)
	}
	return fmt.Sprintf("%.3g s", v)
}
