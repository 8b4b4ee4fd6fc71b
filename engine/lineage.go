package engine

import (
	"plumb/engine/plan"
	"plumb/store"
)

// namesOf says for the store what an action names by digest. One of a form that this
// plumb does not know names nothing.
func namesOf(action []byte) (n store.Named) {
	fields, err := plan.Decode(action)
	if err != nil {
		return n
	}
	for _, f := range fields {
		switch f.Kind {
		case plan.FieldImage:
			n.Image, _ = store.ParseDigest(f.Value) // none is none
		case plan.FieldInput:
			if _, d, ok := plan.InputDigest(f.Value); ok {
				n.Inputs = append(n.Inputs, d)
			}
		}
	}
	return n
}
