package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// builder is a peer that brings files up to date.
type builder struct {
	name  string
	pkg   string // of Debian
	file  string // what it reads
	graph graph
	args  []string
	proof string // what it says when there is nothing to do
}

func builders() []builder {
	cores := strconv.Itoa(runtime.NumCPU())
	return []builder{
		{"ninja", "ninja-build", "build.ninja", ninjaGraph, nil, "no work to do"},
		{"make", "make", "Makefile", makeGraph, []string{"-j", cores}, "Nothing to be done"},
		{"snakemake", "snakemake", "Snakefile", snakemakeGraph, []string{"--cores", cores}, "Nothing to be done"},
	}
}

// project makes the peer's project and lets it do all of the work once.
func (p builder) project(ctx context.Context, dir string, n int) error {
	if err := writeInputs(dir, n); err != nil {
		return err
	}
	if err := writeGraph(filepath.Join(dir, p.file), p.graph, n); err != nil {
		return err
	}
	_, err := p.command(ctx, dir, "")
	return err
}

func (p builder) command(ctx context.Context, dir, proof string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, p.name, p.args...)
	cmd.Dir = dir
	return timed(cmd, proof)
}

// has says whether a peer is installed, and notes how to get it when it is not.
func (b *bench) has(program, pkg string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	b.table.lacks(program, fmt.Sprintf("apt-get install %s", pkg))
	return false
}

// availableBuilders are the installed ones that are asked for a graph of n stages.
func (b *bench) availableBuilders(n int) []builder {
	var all []builder
	for _, p := range builders() {
		if p.name == "snakemake" && n > b.snakemake {
			b.say("snakemake is not asked for %d stages; -snakemake %d does", n, n)
			continue
		}
		if b.has(p.name, p.pkg) {
			all = append(all, p)
		}
	}
	return all
}
