// Command mkimage makes the image that the example and the tests run in: an OCI
// layout with one static program, testdata/toolimage, under the names of a shell,
// awk and the usual commands.
//
//	go run ./testdata/mkimage examples/hello/image
package main

import (
	"fmt"
	"os"

	"plumb/engine/runtime/runtimetest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkimage DIR")
		os.Exit(2)
	}
	if err := runtimetest.ToolImage().Write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}
