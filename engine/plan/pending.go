package plan

import (
	"fmt"
	"strings"

	"plumb/hcl"
)

// pending says what a stage waits for, after whatever in it differs already:
// that a command was edited is known before the inputs are.
func (p *Planner) pending(s *hcl.Stage, waiting []string) (Decision, error) {
	d := Decision{Verdict: Pending}
	own, err := p.ownChanges(s)
	if err != nil {
		return d, err
	}
	d.Reasons = own
	if f := p.facts(s, Note{}); f.forced {
		d.Reasons = []Reason{{Kind: ReasonForced, Detail: "forced"}}
	}
	detail := "stage " + waiting[0]
	if len(waiting) > 1 {
		detail = "stages " + strings.Join(waiting, ", ")
	}
	detail += p.upstreamVerb(waiting)
	d.Reasons = append(d.Reasons, Reason{Kind: ReasonUpstream, Name: waiting[0], Detail: detail})
	return d, nil
}

func (p *Planner) upstreamVerb(waiting []string) string {
	verb := " will run"
	for _, w := range waiting {
		switch p.states[p.shape.index[w]].decision.Verdict {
		case Pending:
			verb = " may run"
		case Refused:
			return " is refused"
		}
	}
	return verb
}

// ownChanges compares what is known of a pending stage with its earlier actions:
// all but the inputs and texts that come from the stages it waits for.
func (p *Planner) ownChanges(s *hcl.Stage) ([]Reason, error) {
	if _, ok := p.cfg.Images[s.Image]; !ok {
		return []Reason{{Kind: ReasonImage, Name: s.Image, Detail: fmt.Sprintf("image %s is not pinned yet", s.Image)}}, nil
	}
	earlier, err := p.lastOrEarlier(s.Name)
	if err != nil {
		return nil, err
	}
	if len(earlier) == 0 {
		return []Reason{{Kind: ReasonNew}}, nil
	}
	var scratch state
	known := *s
	known.Inputs = nil
	fromStages := map[string]bool{}
	for _, in := range s.Inputs {
		if in.Kind == hcl.InputOutput {
			fromStages[in.Target] = true
		} else {
			known.Inputs = append(known.Inputs, in)
		}
	}
	if late := lateTexts(s); late {
		return nil, nil
	}
	a, note, err := p.resolve(&known, &scratch)
	if err != nil {
		return nil, err
	}
	var best []Reason
	first := true
	for _, e := range earlier {
		old, err := Decode(e.Action)
		if err != nil {
			continue
		}
		var kept []Field
		for _, f := range old {
			if f.Kind != FieldInput || !fromStages[f.Name] {
				kept = append(kept, f)
			}
		}
		diff := Diff(kept, a.Fields())
		if len(diff) > 0 {
			diff = Causes(diff, e.Note, note)
		}
		if first || len(diff) < len(best) {
			best, first = diff, false
		}
	}
	return best, nil
}

// lastOrEarlier gives what a stage is compared with, as Compared takes it.
func (p *Planner) lastOrEarlier(stage string) ([]Earlier, error) {
	last, err := p.cfg.Records.Last(stage)
	if err != nil {
		return nil, fmt.Errorf("looking up the last run: %w", err)
	}
	if last != nil {
		if _, err := Decode(last.Action); err == nil {
			return []Earlier{*last}, nil
		}
	}
	earlier, err := p.cfg.Records.Earlier(stage)
	if err != nil {
		return nil, fmt.Errorf("looking up earlier runs: %w", err)
	}
	return earlier, nil
}

func lateTexts(s *hcl.Stage) bool {
	for i := range s.Command.Args {
		if s.Command.Args[i].Expr != nil {
			return true
		}
	}
	for i := range s.Env {
		if s.Env[i].Value.Expr != nil {
			return true
		}
	}
	return false
}
