// Package runtimetest is what every runtime has to keep, as tests, and the
// image they run in.
//
//	func TestRuntime(t *testing.T) { runtimetest.Run(t, newRuntime) }
//
// The image is made by the test itself: a static program built from
// testdata/toolimage, under the names of a shell and the usual commands, as an
// OCI layout (see Image). Tests of the engine and of the command line use it too.
package runtimetest
