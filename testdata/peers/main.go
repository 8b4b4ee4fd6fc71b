// Command peers measures plumb beside programs that do the same work, in one run
// on one machine, and prints medians and ratios.
//
//	go run ./testdata/peers                          everything; about half an hour on two cores
//	go run ./testdata/peers -only nothing -sizes 10,100,1000
//	go run ./testdata/peers -json > peers.json
//
// What is measured, and beside what:
//
//	nothing   nothing to do over 10 to 10,000 stages: ninja, make, snakemake
//	trivial   one container that does nothing, with full isolation: runc run, ctr run
//	many      1,000 independent containers: runc run, as many at once as there are cores
//	capture   a large output, from the end of its command to its record: cp, sha256sum, SHA-256 in Go
//	images    a large image, imported and pulled: ctr images import; skopeo copy and umoci unpack
//	debian    images of Debian packages, from this machine's own mirror: mmdebstrap
//	sandbox   a gigabyte of log, beside /dev/null; plumb shell; a user's container, beside root's
//	memory    resident memory of the idle agent, and the peak of planning the largest graph
//
// A shared machine is noisy, and what it does in one minute says little about the
// next. So the contenders take turns, A B C A B C, the first of a round moving on
// by one, and a ratio is the median of the ratios of each round; the quotient of two
// medians would carry the drift between them. One more round comes before, which is
// not counted. Each contender proves that it did what it was asked: who had something to
// do where nothing should be left is an error and no figure.
//
// The command builds plumb itself, works in a temporary directory with a store
// of its own, and removes both. A peer that is not installed is a line that says
// so. The containers need root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	rounds    int // of what takes a second
	long      int // of what takes a minute
	single    int // of one container
	count     int // containers in "many"
	bytes     int64
	sizes     []int
	snakemake int // the largest graph it is asked for
	only      []string
	plumb     string // a binary to measure instead of building one
	json      bool
	keep      bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.rounds, "n", 7, "rounds of what takes about a second")
	f.IntVar(&o.long, "long", 3, "rounds of what takes about a minute: many, capture, images, debian")
	f.IntVar(&o.single, "single", 40, "rounds of one trivial container")
	f.IntVar(&o.count, "count", 1000, "containers in many")
	f.Int64Var(&o.bytes, "bytes", 2<<30, "size of the output in capture, a multiple of 1 MiB")
	f.IntVar(&o.snakemake, "snakemake", 1000, "largest graph that snakemake is asked for; it takes minutes beyond")
	f.StringVar(&o.plumb, "plumb", "", "measure this binary instead of building one")
	f.BoolVar(&o.json, "json", false, "print one JSON document, with every sample")
	f.BoolVar(&o.keep, "keep", false, "leave the temporary directory")
	sizes := f.String("sizes", "10,100,1000,10000", "stages in nothing and memory; leave 10000 out to save five minutes")
	only := f.String("only", "", "some of "+strings.Join(sectionNames(), ", ")+"; all when empty")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.check(*sizes, *only)
}

// check reads the lists and refuses what would measure nothing.
func (o *options) check(sizes, only string) error {
	for _, s := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 {
			return fmt.Errorf("-sizes: %q is no number of stages", s)
		}
		o.sizes = append(o.sizes, n)
	}
	slices.Sort(o.sizes)
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(sectionNames(), name) {
			return fmt.Errorf("-only: there is no %q; one of %s", name, strings.Join(sectionNames(), ", "))
		}
	}
	if o.rounds < 1 || o.long < 1 || o.single < 1 || o.count < 1 {
		return errors.New("-n, -long, -single and -count must be at least 1")
	}
	if o.bytes < mib || o.bytes%mib != 0 {
		return errors.New("-bytes must be a multiple of 1 MiB")
	}
	return nil
}

// section is one kind of measurement.
type section struct {
	name    string
	measure func(*bench, context.Context) error
}

func sections() []section {
	return []section{
		{"nothing", (*bench).nothing},
		{"trivial", (*bench).trivial},
		{"many", (*bench).many},
		{"capture", (*bench).capture},
		{"images", (*bench).images},
		{"debian", (*bench).debian},
		{"sandbox", (*bench).sandbox},
		{"memory", (*bench).memory},
	}
}

func sectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// run measures, and prints what it has also when something went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o, stderr)
	if err != nil {
		return err
	}
	err = b.measure(ctx)
	if o.json {
		return errors.Join(err, b.table.json(stdout), b.close())
	}
	return errors.Join(err, b.table.text(stdout), b.close())
}
