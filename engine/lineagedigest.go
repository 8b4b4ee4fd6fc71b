package engine

import (
	"slices"
	"strings"

	"plumb/store"
)

// Digests may be cut short, as they are shown: to at least so many digits.
const fewestDigits = 6

// digest takes the name for a digest, or the beginning of one: of content, of an image or
// of an action.
func (w *walk) digest() (bool, error) {
	digits, ok := strings.CutPrefix(w.req.Name, "sha256:")
	if !ok {
		return false, nil
	}
	if !isHex(digits) || len(digits) < fewestDigits || len(digits) > 2*len(store.Digest{}) {
		return false, invalid("plumb lineage, plumb show and plumb image ls print them", "%q is no digest: give 6 to 64 of its hex digits, in small letters", w.req.Name)
	}
	found, err := w.beginning(digits)
	if !found && err == nil && w.asked == nil {
		err = invalid(nextLineage, "nothing that is recorded made, read or ran in anything whose digest begins with %q", w.req.Name)
	}
	return found, err
}

// digits takes the name, when it is nothing else, for the digits of a digest alone.
func (w *walk) digits() (bool, error) {
	ambiguous := w.refused != nil && strings.HasPrefix(w.refused.Hint, nameOneOf)
	if w.hashed != nil || w.asked != nil || ambiguous || len(w.req.Name) < fewestDigits || !isHex(w.req.Name) {
		return false, nil
	}
	return w.beginning(w.req.Name)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// beginning begins at the one digest that has these digits.
func (w *walk) beginning(digits string) (bool, error) {
	if d, err := store.ParseDigest("sha256:" + digits); err == nil {
		return w.whole(d)
	}
	const many = 10
	found, more, err := w.e.store.Beginning(w.ctx, digits, many)
	if err != nil || len(found) == 0 {
		return false, err
	}
	if len(found) == 1 {
		return w.whole(found[0])
	}
	length := len(digits) + 1 // that tells them apart
	for i := range found[1:] {
		for found[i].Hex()[:length] == found[i+1].Hex()[:length] {
			length++
		}
	}
	var names []string
	for _, d := range found {
		names = append(names, "sha256:"+d.Hex()[:max(length, len(d.Short()))])
	}
	hint := nameOneOf + ": " + strings.Join(names, ", ")
	if more {
		hint += ", and more"
	}
	return false, invalid(hint, "%q is the beginning of several digests", w.req.Name)
}

// whole begins at what has a digest.
func (w *walk) whole(d store.Digest) (bool, error) {
	w.asked, w.doc.Of.Name = &d, d.String()
	if found, err := w.content(d); found || err != nil {
		return found, err
	}
	if found, err := w.imageDigest(d); found || err != nil {
		return found, err
	}
	rec, err := w.e.store.Record(store.Key(d))
	if err != nil {
		return false, err
	}
	if rec == nil {
		return w.formerly(d)
	}
	w.doc.Of.Kind, w.doc.Of.Keys = "action", []store.Key{rec.Key}
	return true, w.spread([]*store.Record{rec})
}

// formerRuns is how many of a project's newest runs are asked for what no record has any
// more: reading one takes some hundredths of a millisecond.
const formerRuns = 500

// formerly begins at content that an action once made and that its record has not, since
// the action was done again with another result: the table of the run tells.
func (w *walk) formerly(d store.Digest) (bool, error) {
	heads, err := w.e.store.Runs(store.RunFilter{Project: w.req.Project.Dir, Limit: formerRuns})
	if err != nil {
		return false, err
	}
	for i := range heads {
		run, err := w.runOf(heads[i].ID)
		if err != nil {
			return false, err
		}
		if run == nil {
			continue
		}
		for n := range run.Stages {
			st := &run.Stages[n]
			if st.Key.IsZero() || !slices.ContainsFunc(st.Outputs, func(o store.Output) bool { return o.Digest == d }) {
				continue
			}
			w.about(run)
			w.in[st.Key] = madeIn{run, st}
			return true, w.begin(node{d, st.Key})
		}
	}
	return false, nil
}
