//go:debug netdns=go

// Plumb runs machine-learning pipelines: see README.md, and package cmd for what
// it answers to. This file only gives the process its place: in a container being
// set up the binary is something else, which package early decides before main.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"plumb/cmd"
	_ "plumb/engine/runtime/containerd/runcinit" // container init; must come first
	"plumb/engine/toolbox"
)

func main() {
	// In a container of the toolbox the binary goes by the names of the tools.
	if status, ok := toolbox.Main(os.Args); ok {
		os.Exit(status)
	}
	if os.Getenv("GOGC") == "" {
		// Planning ten thousand new stages peaks a third lower, for a tenth more time.
		debug.SetGCPercent(40)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cmd.Main(ctx, os.Args, cmd.Process(stop))
	stop()
	os.Exit(code)
}
