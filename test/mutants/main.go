// Mutants tells how many of the bugs that one could plant in a package its tests find. It makes one small change at a time
// to the source, builds the tests with it, and runs them: the change is caught if a test fails.
//
//	make mutants                        50 changes in each package
//	make mutants PKG=room               in one package
//	make mutants PKG=room N=20 SEED=7   other 20 of them
//	make mutants PKG=room LIST=file     those that the file names, with lines that a run printed of its survivors
//
// The sample is drawn by SEED from all places that mutate.go finds, in an order that depends on nothing else, so that a run
// can be repeated. The source on the disk stays as it is: the compiler is given changed files as an overlay, which hold the whole
// sample, so that it is built once. The environment says which change is on (see plant.go). A change that does not compile is
// left out, and the next one is taken.
//
// # What runs
//
// First each test of the package runs alone and without a change, and leaves behind which lines it reaches and how long it
// takes. That is kept in .bin/mutants, until the source that it reaches or the test itself changes. A change is then tried by the
// tests that reach its line, in batches, the quick ones first. If they find nothing, the tests of the packages that hold
// the package (see holders) are measured and run in the same way, but for one change those alone that take a minute together;
// the output says how many are left. The time limit of a batch is ten seconds and eight times what it took without the change. A
// change whose tests do not end by then is caught too, and counted by itself: a bug should be told by
// its name. Tests that find a change run once more without it, and if they fail then too, they have found nothing.
//
// # What is counted
//
// The rate is the share of caught changes among those that change what the program does. A change that cannot be told from
// the original by any test belongs into equivalents.txt, with the reason, and is not counted. The interval is Wilson's (E. B. Wilson, "Probable
// Inference, the Law of Succession, and Statistical Inference", Journal of the American Statistical Association 22, 1927)
// at 95 %: where the whole package would be, as far as the sample tells.
//
// The exit code is 1 where a package's rate is below 90 %, and 2 where something could not be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
)

// packages are those whose tests are tried, each with the packages that hold it, whose tests run where its own find nothing.
var packages = []subject{
	{"room", []string{"transport", "test/defects"}},
	{"transport", nil},
	{"storage", []string{"room"}},
	{"storage/internal/session", []string{"storage"}},
	{"storage/internal/walfile", []string{"storage"}},
	{"storage/internal/nodelog", []string{"storage"}},
	{"storage/internal/template", []string{"storage"}},
	{"storage/internal/history", []string{"storage"}},
	{"storage/commitlog", []string{"storage"}},
	{"storage/commitlog/segment", []string{"storage/commitlog"}},
	{"storage/pagelog", []string{"storage"}},
	{"storage/dump", []string{"room"}},
	{"storage/sqlite", []string{"storage"}},
	{"storage/changes", []string{"storage"}},
	{"storage/roomfile", []string{"storage"}},
	{"hibernate", []string{"room", "transport"}},
	{"hibernate/alarm", []string{"room"}},
	{"syncproto", []string{"room", "transport"}},
	{"actor", []string{"room"}},
}

// A subject is a package by its path in the module.
type subject struct {
	path    string
	holders []string
}

// wanted is the rate that a package must have.
const wanted = 0.9

// The exit codes.
const (
	exitEnough = iota
	exitTooFew
	exitError
)

var errTooFew = errors.New("the tests find too few changes")

// options are the flags.
type options struct {
	pkg  string
	n    int
	seed uint64
	own  bool
	list string
	out  io.Writer
}

func main() {
	var o options
	flag.StringVar(&o.pkg, "pkg", "", "`path` of the package in the module; empty: all of them")
	flag.IntVar(&o.n, "n", 50, "how many changes are tried in each package")
	flag.Uint64Var(&o.seed, "seed", 1, "draws the sample")
	flag.BoolVar(&o.own, "own", false, "run only the package's own tests")
	flag.StringVar(&o.list, "list", "", "a `file` of lines that a run printed of survivors: they alone are tried")
	flag.Parse()
	o.out = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := run(ctx, o); {
	case errors.Is(err, errTooFew):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitTooFew)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitError)
	}
	os.Exit(exitEnough)
}

// run tries the packages one after another.
func run(ctx context.Context, o options) error {
	known, err := readEquivalents("test/mutants/equivalents.txt")
	if err != nil {
		return err
	}
	var low []string
	found := false
	for _, s := range packages {
		if o.pkg != "" && o.pkg != s.path {
			continue
		}
		found = true
		if o.own {
			s.holders = nil
		}
		r, err := try(ctx, o, s, known)
		if err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		r.write(o.out)
		if r.rate() < wanted {
			low = append(low, s.path)
		}
	}
	switch {
	case !found:
		return fmt.Errorf("there is no package %q in the list; see main.go", o.pkg)
	case len(low) > 0:
		return fmt.Errorf("%w, below %.0f %%: %s", errTooFew, 100*wanted, strings.Join(low, ", "))
	}
	return nil
}
