// Compare reports whether a change has made Den slower, on a machine whose speed is not the same from one second to the
// next. It builds the benchmarks of two commits side by side and runs them in turn:
//
//	make compare                        the working tree against the parent of HEAD
//	make compare BASE=HEAD              what is not committed yet
//	make compare BASE=v0.3 PAIRS=20     against any commit, in more pairs
//	make compare BENCH='Wake|NewRoom'   some of the benchmarks
//	make compare DIR=/var/tmp           with the files on that disk
//
// The exit code is 1 where something has become slower, or a benchmark failed. "No loss" means that it is 0: no median
// ratio has an interval that lies wholly above 1.03.
//
// # What is compared
//
// list.go has the benchmarks, each with its reason. All run a fixed number of operations, so that both sides do the same
// work. They report the second percentile of an operation's time, which is what it takes when nothing comes in its way,
// beside the median. With a dozen busy programs on two processors the second percentiles of two runs in turn differed by 1 to
// 5 % for most benchmarks, the medians by 4 to 50 %. (A lower percentile is steadier and a higher one sees more. What only
// some operations have, such as a checkpoint, is for the median and for processor time to find.)
//
// The files of test/bench are taken from the working tree for both sides if they compile at the base, so that a changed
// benchmark is not mistaken for a changed program; the output says if they do not. Benchmarks inside other packages run as
// each side has them. One that the base does not have is named and left out.
//
// Time cannot be trusted below 3 %, because even two builds of the same program may differ by that. So the processor time
// of a run, the allocations, the system calls, the syncs, and the bytes that the process writes are measured too, each for
// one operation, and judged by the same rule. Most of them hardly depend on what else the machine does. If their interval
// lies above 1 but not wholly above 1.03 the verdict is "slightly more", which is no failure. What the machine cannot count
// is named in the output. Processor time is user and system together: the kernel knows their sum exactly and splits it by
// samples. It is of the whole process, with set-up, and stands in for the number of instructions where there is no hardware
// counter.
//
// # Where the files are
//
// In memory, if there is a file system for that. A disk that others use too is the largest noise of all: the time of a sync
// doubles from one minute to the next. What an operation asks of the disk is counted instead: syncs, writes, and bytes. So a
// change that waits longer for the same syncs is not seen, for example for two in turn that were at once; for that, compare
// with DIR on a quiet disk too.
//
// # Statistics
//
// The runs come in pairs: base and head right after each other, in the order AB BA AB …, so that what the machine does
// meanwhile falls on both, and going first favours neither (Bulej and others, "Duet Benchmarking: Improving Measurement
// Accuracy in the Cloud", ICPE 2020). Each pair gives a ratio, head to base. The figure shown is the median of the ratios.
//
// Its interval is the one of the sign test. Whatever the distribution of the ratios, each of n independent ones lies below
// their true median with probability 1/2, so the k-th smallest and the k-th largest enclose it except with probability
// 2·P(B ≤ k−1), where B is binomial(n, 1/2). The largest k is taken for which that is at most 5 %. (W. R. Thompson, "On
// Confidence Ranges for the Median", Annals of Mathematical Statistics 7, 1936; H. A. David and H. N. Nagaraja, "Order
// Statistics", 3rd edition, section 7.1. golang.org/x/perf/benchmath does the same for the medians of its samples.) With 10
// pairs these are the second smallest and the second largest, and the interval holds the median in 97.9 % of cases. Fewer
// than 6 pairs have no such interval, and are refused.
//
// An unchanged program is therefore called slower by one metric of ten pairs in 1.1 % of cases at most, and there are about
// a hundred metrics. So whatever was called slower is measured again in as many new pairs, and only they count in the end:
// one metric is then called slower by mistake in 0.012 % of cases at most, all together in about 1 %. "Slightly more" is
// not measured again: expect one by chance. A loss is found if it shows in nearly all pairs: for ratios that spread by s
// (standard deviation), one of 3 % + 1.6·s is found, twice, in about four of five cases.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
)

// The exit codes.
const (
	exitNoLoss = iota
	exitLoss
	exitError
)

// errLoss is what a comparison ends with that found something slower, or a benchmark that fails.
var errLoss = errors.New("there is a loss")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
		os.Exit(exitNoLoss)
	case errors.Is(err, errLoss):
		os.Exit(exitLoss)
	}
	fmt.Fprintln(os.Stderr, "compare:", err)
	os.Exit(exitError)
}

// A config is what the command line asks for.
type config struct {
	base  string // a commit
	dir   string // for the files; empty: in memory if possible
	pairs int
	bench *regexp.Regexp // names of benchmarks
}

func parseConfig(args []string, stderr io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.base, "base", "HEAD~1", "the `commit` to compare the working tree with")
	flags.StringVar(&c.dir, "dir", "", "the `directory` for the benchmarks' files; in memory by default, if the system has a file system there")
	flags.IntVar(&c.pairs, "pairs", 10, "how many `pairs` of runs each benchmark gets")
	bench := flags.String("bench", ".", "a `regexp` that chooses benchmarks by their names")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if _, err := ranks(c.pairs); err != nil {
		return c, err
	}
	var err error
	c.bench, err = regexp.Compile(*bench)
	return c, err
}

// run is the program. What is found goes to stdout, what is being done to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parseConfig(args, stderr)
	if err != nil {
		return err
	}
	chosen := choose(benchmarks(), c.bench)
	if len(chosen) == 0 {
		return fmt.Errorf("no benchmark has a name like %q", c.bench)
	}
	work, err := newWorkshop(ctx, ".", c.base, stderr)
	if err != nil {
		return err
	}
	defer work.close()
	fmt.Fprintf(stdout, "base: %s\nhead: the working tree at %s\n", work.base.commit, work.head.commit)
	built, err := work.build(ctx, chosen)
	if err != nil {
		return err
	}
	meter, err := newMeter(ctx, work.dir, c.dir)
	if err != nil {
		return err
	}
	defer meter.close()
	for _, note := range append(work.notes, meter.notes()...) {
		fmt.Fprintln(stdout, note)
	}
	comparison := comparison{pairs: c.pairs, progress: stderr, measure: func(ctx context.Context, s side, b benchmark) (sample, error) {
		return meter.run(ctx, built[s], b)
	}}
	results := comparison.run(ctx, present(chosen, built))
	if err := ctx.Err(); err != nil {
		return err
	}
	results = append(results, absent(chosen, built)...)
	report(stdout, results, c.pairs)
	switch {
	case anyLoss(results):
		return errLoss
	case nothing(results):
		return errors.New("nothing was compared")
	}
	return nil
}
