// Package hcl turns the pipeline files of a directory into a Pipeline.
//
// Files are read together, in any order: plumb.hcl and every *.plumb.hcl beside
// it. Load reads and evaluates them; ReadFiles, Fingerprint and Evaluate are the
// parts of Load, for a caller that keeps evaluated pipelines by their
// fingerprint, with Encode and Decode, since parsing is by far the slowest part.
// What a Pipeline says about files of the project is compared with the project by
// Check. Nothing of the HCL libraries leaves this package.
//
// # Evaluation
//
// References are values: source.x, stage.x and stage.x.out evaluate to capsules,
// which lists, conditions and for expressions carry around like any value, and
// which turn into inputs where inputs are read. Before an expression is evaluated
// each reference in it is compared with what is declared, so that a misspelt one
// is reported where it stands, with a proposal.
//
// Stages are evaluated in two rounds. The first expands for_each and matrix and
// evaluates outputs, which cannot depend on other stages; the second evaluates
// what refers to them. So the order of blocks does not matter and no graph is
// needed to evaluate; the graph is checked on the result.
//
// A metric is known only when its stage has run. An expression that refers to one
// is kept as text with the values it needs, and evaluated again by Expr.
//
// A sensitive param is marked, and the mark follows its value through everything
// computed from it. Where a marked value would be shown or kept it is an error.
//
// A secret has no value here at all: only where a client finds it, and which stages
// list it. It can stand in no expression.
//
// # Diagnostics
//
// All that is wrong is reported at once, sorted, each finding with its source
// lines. Only after a syntax error, or a mistake inside of the blocks, are checks
// left out that would follow from it.
package hcl
