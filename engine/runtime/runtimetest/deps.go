//go:build toolimage

package runtimetest

// The modules of testdata/toolimage: tools that look for dependencies pass by
// directories of that name.
import (
	_ "github.com/benhoyt/goawk/interp"
	_ "mvdan.cc/sh/v3/interp"
)
