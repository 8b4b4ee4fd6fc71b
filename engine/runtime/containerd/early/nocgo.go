//go:build !cgo

package early

// A program without cgo has no constructor, and could not start containers. It
// is better not built: the compiler prints this name.
var _ = plumb_needs_CGO_ENABLED_1_and_a_C_compiler
