package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"plumb/hcl"
	"plumb/store"
)

// Runs are picked by their summaries: all conditions must hold. A metric is named in full,
// stage.metric, or by its own name alone; then it is that of any stage, and the condition
// holds when it does for one. Where a run lacks what a condition is about, the condition
// does not hold, whichever way round it is; where every run does, the name is a mistake.

// condition is one of "lr=0.1", "acc>0.9".
type condition struct {
	name, op, value string
	number          float64
	isNumber        bool
}

// operators, the longer first where one begins another.
var operators = []string{"!=", "<=", ">=", "=", "<", ">"}

// parseCondition reads a condition. The name ends where the first operator begins.
func parseCondition(flag, text string) (condition, error) {
	at, op := operatorIn(text)
	c := condition{op: op}
	if at > 0 {
		c.name, c.value = strings.TrimSpace(text[:at]), strings.TrimSpace(text[at+len(op):])
	}
	if c.name == "" || c.value == "" && flag == "--metric" {
		return c, invalid("write it like --param 'lr<=0.1' or --metric 'acc>0.9'", "%s %q is no condition", flag, text)
	}
	for _, o := range operators { // lr==0.1 would look for a text that nobody has
		if strings.HasPrefix(c.value, o) {
			return c, invalid("write it like "+flag+" 'lr<=0.1'; a text that begins so goes into quotes: 'name=\"<x>\"'", "%s %q has %q right behind %q", flag, text, o, op)
		}
	}
	number, err := strconv.ParseFloat(c.value, 64)
	c.number, c.isNumber = number, err == nil
	if !c.isNumber && (flag == "--metric" || op != "=" && op != "!=") {
		return c, invalid("", "%s %q compares with %q, which is no number", flag, text, c.value)
	}
	return c, nil
}

// ConditionName is what a condition is about; "" when it is none.
func ConditionName(text string) string {
	at, _ := operatorIn(text)
	return strings.TrimSpace(text[:max(at, 0)])
}

// operatorIn finds the first operator that is not inside of brackets, as in
// "train[lr=0.1].acc>0.9".
func operatorIn(text string) (at int, op string) {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '[':
			depth++
		case ']':
			depth--
		}
		for _, o := range operators {
			if depth == 0 && strings.HasPrefix(text[i:], o) {
				return i, o
			}
		}
	}
	return -1, ""
}

func parseConditions(flag string, texts []string) ([]condition, error) {
	var out []condition
	for _, t := range texts {
		c, err := parseCondition(flag, t)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (c *condition) holdsFor(v float64) bool {
	switch c.op {
	case "=":
		return v == c.number
	case "!=":
		return v != c.number
	case "<":
		return v < c.number
	case "<=":
		return v <= c.number
	case ">":
		return v > c.number
	}
	return v >= c.number
}

// holdsForParam compares a param's value, which is JSON: numbers as numbers, a string with
// what was typed, in quotes or without, everything else as it is written.
func (c *condition) holdsForParam(value string) bool {
	if v, err := strconv.ParseFloat(value, 64); err == nil && c.isNumber {
		return c.holdsFor(v)
	}
	var text string
	if json.Unmarshal([]byte(value), &text) != nil {
		text = value
	}
	typed := c.value
	if json.Unmarshal([]byte(c.value), &typed) != nil {
		typed = c.value
	}
	switch same := text == c.value || text == typed || value == c.value; c.op {
	case "=":
		return same
	case "!=":
		return !same
	}
	return false
}

// metricOf finds a metric by its full name or by its own; several stages may have it.
func metricOf(metrics map[string]float64, name string) []float64 {
	if v, ok := metrics[name]; ok {
		return []float64{v}
	}
	var out []float64
	for full, v := range metrics {
		if len(full) > len(name) && strings.HasSuffix(full, name) && full[len(full)-len(name)-1] == '.' {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

func paramOf(params []store.RunParam, name string) (string, bool) {
	for i := range params {
		if params[i].Name == name {
			return params[i].Value, params[i].Value != "" // a sensitive one is not compared
		}
	}
	return "", false
}

// picker goes through runs.
type picker struct {
	e       *Engine
	req     RunsRequest
	params  []condition
	metrics []condition
	sort    string // of the request, without "param."
	byParam bool
	tagged  *store.RunID

	seenParams  map[string]bool // names that runs have, as far as any is asked for
	seenMetrics map[string]bool
	picked      []picked
	changed     changes
}

// picked is a run with what it is sorted by.
type picked struct {
	id    store.RunID
	value float64
	text  string
	word  bool // it is no number
	lacks bool
}

func (e *Engine) newPicker(req RunsRequest) (*picker, error) {
	p := &picker{e: e, req: req, seenParams: map[string]bool{}, seenMetrics: map[string]bool{}}
	var err error
	if p.params, err = parseConditions("--param", req.Params); err != nil {
		return nil, err
	}
	if p.metrics, err = parseConditions("--metric", req.Metrics); err != nil {
		return nil, err
	}
	p.sort, p.byParam = req.Sort, strings.HasPrefix(req.Sort, "param.")
	if p.byParam {
		p.sort = strings.TrimPrefix(req.Sort, "param.")
	}
	switch {
	case p.sort == "started" && !req.Reverse:
		p.sort = "" // that is their order
	case p.sort == "" && req.Reverse:
		p.sort = "started"
	}
	if p.sort != "" && req.Before != "" {
		return nil, invalid("leave out one of them; a larger --limit shows more of what is sorted", "--before goes on from newer runs to older ones, and --sort or --reverse asks for another order")
	}
	if req.Status != "" && !slices.Contains(runStatuses, req.Status) {
		return nil, invalid("there are: "+strings.Join(runStatuses, ", "), "no run has the status %q", req.Status)
	}
	if req.Tag != "" {
		tags, err := e.store.Tags(req.Dir)
		if err != nil {
			return nil, err
		}
		id, ok := tags[req.Tag]
		if !ok {
			return nil, noTag(req.Tag, tags)
		}
		p.tagged = &id
	}
	p.changed = changes{store: e.store, stage: req.Changed, last: map[string]changedRun{}}
	return p, nil
}

var runStatuses = []string{statusRunning, "succeeded", "failed", statusCanceled}

// pick gives the ids of the runs that are asked for, in their order.
func (p *picker) pick() ([]store.RunID, error) {
	f := store.RunFilter{Project: p.req.Dir, Status: p.req.Status, Before: store.RunID(p.req.Before), Since: p.req.Since, Until: p.req.Until}
	if p.req.Changed != "" { // what a run is compared with may be one that is not asked for
		f = store.RunFilter{Project: p.req.Dir}
	}
	err := p.e.store.Summaries(f, func(sum *store.RunSummary) (bool, error) {
		p.note(sum)
		var err error
		if p.req.Changed != "" {
			err = p.changed.next(sum, p.holds(sum), p.add)
		} else if p.holds(sum) {
			p.add(sum)
		}
		// What changed is found project by project, and not in the order of all.
		ordered := p.sort == "" && (p.req.Changed == "" || p.req.Dir != "")
		return !ordered || p.req.Limit == 0 || len(p.picked) < p.req.Limit, err
	})
	if err != nil {
		return nil, err
	}
	if err := p.noStage(); err != nil {
		return nil, err
	}
	if p.req.Limit == 0 || len(p.picked) < p.req.Limit {
		p.changed.end(p.add)
	}
	if err := p.mistaken(); err != nil {
		return nil, err
	}
	if err := p.shown(); err != nil {
		return nil, err
	}
	p.order()
	if p.req.Limit > 0 && len(p.picked) > p.req.Limit {
		p.picked = p.picked[:p.req.Limit]
	}
	ids := make([]store.RunID, len(p.picked))
	for i := range p.picked {
		ids[i] = p.picked[i].id
	}
	return ids, nil
}

// note remembers which names there are, as far as any is asked for.
func (p *picker) note(sum *store.RunSummary) {
	if len(p.params)+len(p.metrics)+len(p.req.Show) == 0 && p.sort == "" {
		return
	}
	for i := range sum.Params {
		p.seenParams[sum.Params[i].Name] = true
	}
	for name := range sum.Metrics {
		p.seenMetrics[name] = true
	}
}

func (p *picker) holds(sum *store.RunSummary) bool {
	if p.tagged != nil && sum.ID != *p.tagged {
		return false
	}
	for i := range p.params {
		if v, ok := paramOf(sum.Params, p.params[i].name); !ok || !p.params[i].holdsForParam(v) {
			return false
		}
	}
	for i := range p.metrics {
		if !slices.ContainsFunc(metricOf(sum.Metrics, p.metrics[i].name), p.metrics[i].holdsFor) {
			return false
		}
	}
	return p.req.Changed == "" || p.within(sum)
}

// within is what the store's filter would have asked.
func (p *picker) within(sum *store.RunSummary) bool {
	return (p.req.Status == "" || sum.Status == p.req.Status) && (p.req.Before == "" || string(sum.ID) < p.req.Before) &&
		(p.req.Since.IsZero() || !sum.Started.Before(p.req.Since)) && (p.req.Until.IsZero() || !sum.Started.After(p.req.Until))
}

func (p *picker) add(sum *store.RunSummary) {
	one := picked{id: sum.ID}
	switch {
	case p.sort == "" || p.sort == "started":
		one.value = float64(sum.Started.UnixNano())
	case p.sort == "seconds":
		one.value = sum.Seconds
	case p.byParam:
		one.text, one.lacks = paramText(sum.Params, p.sort)
		v, err := strconv.ParseFloat(one.text, 64)
		one.value, one.word = v, err != nil
	default:
		values := metricOf(sum.Metrics, p.sort)
		if one.lacks = len(values) == 0; !one.lacks {
			one.value = values[len(values)-1]
		}
	}
	p.picked = append(p.picked, one)
}

func paramText(params []store.RunParam, name string) (text string, lacks bool) {
	v, ok := paramOf(params, name)
	return v, !ok
}

// order sorts, whatever it is by, from the largest down: the newest, the longest, the
// highest first. Reversed it is the other way round. Words come behind numbers, and what
// lacks it is last, either way.
func (p *picker) order() {
	if p.sort == "" && (p.req.Changed == "" || p.req.Dir != "") {
		return
	}
	last := map[bool]int{true: 1, false: -1}
	slices.SortStableFunc(p.picked, func(a, b picked) int {
		switch {
		case a.lacks != b.lacks:
			return last[a.lacks]
		case a.word != b.word:
			return last[a.word]
		}
		c := cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.text, b.text))
		if p.req.Reverse {
			return c
		}
		return -c
	})
}

// mistaken is about names that no run has.
func (p *picker) mistaken() error {
	if len(p.seenParams)+len(p.seenMetrics) == 0 {
		return nil // there is no run that could have one
	}
	for i := range p.params {
		if !p.seenParams[p.params[i].name] {
			return p.unknown("param", p.params[i].name)
		}
	}
	for i := range p.metrics {
		if !p.hasMetric(p.metrics[i].name) {
			return p.unknown("metric", p.metrics[i].name)
		}
	}
	if p.sort == "" || p.sort == "started" || p.sort == "seconds" {
		return nil
	}
	return p.named(p.req.Sort)
}

// named is about a metric, or a param as "param.NAME".
func (p *picker) named(name string) error {
	if param, ok := strings.CutPrefix(name, "param."); ok {
		if p.seenParams[param] {
			return nil
		}
		return p.unknown("param", param)
	}
	if p.hasMetric(name) {
		return nil
	}
	return p.unknown("metric", name)
}

// shown looks whether there is what is to be shown of runs. Where none of those that were
// looked at has it, an older one may.
func (p *picker) shown() error {
	for _, name := range p.req.Show {
		if p.named(name) == nil {
			continue
		}
		err := p.e.store.Summaries(store.RunFilter{Project: p.req.Dir}, func(sum *store.RunSummary) (bool, error) {
			p.note(sum)
			return p.named(name) != nil, nil
		})
		if err != nil {
			return err
		}
		if len(p.seenParams)+len(p.seenMetrics) == 0 {
			return nil // there is no run that could have one
		}
		if err := p.named(name); err != nil {
			return err
		}
	}
	return nil
}

// noStage is about a stage that no run has.
func (p *picker) noStage() error {
	if p.req.Changed == "" || len(p.changed.last) > 0 {
		return nil
	}
	last, err := p.e.store.LastRun(p.req.Dir)
	if last == nil || err != nil {
		return err
	}
	run, err := p.e.store.Run(last.ID)
	if err != nil {
		return err
	}
	var names []string
	for i := range run.Stages {
		names = append(names, run.Stages[i].Name)
	}
	hint := "plumb show lists the stages of a run"
	if near := hcl.Nearest(p.req.Changed, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return invalid(hint, "no run has a stage %q", p.req.Changed)
}

func (p *picker) hasMetric(name string) bool {
	for have := range p.seenMetrics {
		if have == name || strings.HasSuffix(have, "."+name) {
			return true
		}
	}
	return false
}

func (p *picker) unknown(kind, name string) error {
	var names []string
	if kind == "param" {
		names = slices.Collect(maps.Keys(p.seenParams))
	} else {
		for full := range p.seenMetrics {
			names = append(names, full, full[strings.LastIndexByte(full, '.')+1:])
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	hint := "none of these runs has any"
	if near := hcl.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if len(names) > 0 {
		hint = "there are: " + strings.Join(names[:min(len(names), 12)], ", ")
	}
	return invalid(hint, "no run has a %s %q", kind, name)
}

// changes finds the runs in which a stage's key is another than in the run before it of
// the same project that had the stage, going from the newest to the oldest. The first of
// all counts: there the stage was new.
type changes struct {
	store *store.Store
	stage string
	last  map[string]changedRun // by project
}

type changedRun struct {
	sum    *store.RunSummary
	key    store.Key
	wanted bool
}

// next looks at an older run.
func (c *changes) next(sum *store.RunSummary, wanted bool, add func(*store.RunSummary)) error {
	newer, ok := c.last[sum.Project]
	key := newer.key
	if !ok || newer.sum.Table != sum.Table {
		var err error
		if key, err = c.store.StageKey(sum.Table, c.stage); err != nil {
			return err
		}
	}
	if key.IsZero() {
		return nil
	}
	if ok && newer.wanted && newer.key != key {
		add(newer.sum)
	}
	c.last[sum.Project] = changedRun{sum, key, wanted}
	return nil
}

func (c *changes) end(add func(*store.RunSummary)) {
	for _, first := range c.last {
		if first.wanted {
			add(first.sum)
		}
	}
}
