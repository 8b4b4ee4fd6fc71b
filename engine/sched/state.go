// Package sched runs the nodes of a graph: what is ready, in declaration order, as
// many at once as fit into the machine.
//
// It knows no containers, no keys and no files. What a node is, its owner says
// through Work: whether it is there already (Decide), how to make it ready ahead
// of its turn (Prepare), and how to do it (Run). The states of a node:
//
//	pending ──▶ ready ──▶ running ──▶ succeeded
//	   │          │          ├──────▶ failed
//	   │          │          ├──────▶ canceled
//	   │          │          └──────▶ cached      (another run made it meanwhile)
//	   │          ├──▶ cached
//	   │          └──▶ skipped, canceled, failed
//	   └──▶ skipped, canceled
//
// A failed node skips all that depends on it. Without KeepGoing nothing new is
// started after a failure, and what had not begun is skipped too; what runs may
// finish. A canceled context ends what runs and starts nothing.
package sched

import "slices"

// State is where a node stands.
type State int

// The states of a node.
const (
	Pending State = iota
	Ready
	Running
	Cached
	Succeeded
	Failed
	Skipped
	Canceled
)

var stateNames = [...]string{"pending", "ready", "running", "cached", "succeeded", "failed", "skipped", "canceled"}

func (s State) String() string { return stateNames[s] }

// transitions is the one table of what may follow what.
var transitions = map[State][]State{
	Pending: {Ready, Skipped, Canceled},
	Ready:   {Running, Cached, Skipped, Canceled, Failed},
	Running: {Cached, Succeeded, Failed, Canceled},
}

// Done reports whether nothing follows s.
func (s State) Done() bool { return len(transitions[s]) == 0 }

// May reports whether s may turn into next.
func (s State) May(next State) bool { return slices.Contains(transitions[s], next) }
