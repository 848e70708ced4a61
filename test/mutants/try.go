package main

// Trying a package's sample: building its tests with it, and running those that reach each change.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstBatch is how long the first tests of a change take together without it; each further batch takes four times as long.
	firstBatch = 1500 * time.Millisecond
	// holderTime is how long the tests of a holder that are run for one change take together without it.
	holderTime = time.Minute
)

// A trial is one package's run.
type trial struct {
	o       options
	dir     string // for what is built
	overlay string
	sample  []mutant
	rigs    []func() (*rig, error) // of the package's own tests, and of its holders'
	mu      sync.Mutex             // of the output
}

// A rig is the tests of one package, built with a sample.
type rig struct {
	pkg, bin string
	reach    reach
	limit    time.Duration // how long the tests for one change may take; 0 is for ever

	mu    sync.Mutex
	sound map[string]bool // whether tests that failed with a change pass without one
}

// try draws a package's sample and tries it.
func try(ctx context.Context, o options, s subject, known map[equivalence]string) (r result, err error) {
	began := time.Now()
	r = result{pkg: s.path, counts: make(map[fate]int)}
	t := trial{o: o}
	if t.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return r, err
	}
	defer os.RemoveAll(t.dir)
	all, err := findAll(s.path)
	if err != nil {
		return r, err
	}
	if o.list != "" {
		if all, err = listed(all, o.list); err != nil {
			return r, err
		}
	}
	own := &rig{pkg: s.path, sound: make(map[string]bool)}
	if own.reach, err = measure(ctx, t.dir, s.path); err != nil {
		return r, err
	}
	t.rigs = append(t.rigs, func() (*rig, error) { return own, nil })
	fmt.Fprintf(o.out, "%s: %d places, %d tests, measured in %s\n", s.path, len(all), len(own.reach.Tests), time.Since(began).Round(time.Second))
	if err := t.sow(ctx, own, draw(all, o.seed), known, r.counts); err != nil {
		return r, err
	}
	for _, holder := range s.holders {
		t.rigs = append(t.rigs, sync.OnceValues(func() (*rig, error) { return t.hold(ctx, holder) }))
	}
	found := make([]outcome, len(t.sample))
	err = atOnce(len(t.sample), func(i int) (err error) {
		found[i], err = t.one(ctx, i)
		return errors.Join(err, ctx.Err())
	})
	for i, o := range found {
		r.add(t.sample[i], o)
	}
	r.took = time.Since(began)
	return r, err
}

// sow builds the package's tests with a sample. It draws another change for each that does not compile.
func (t *trial) sow(ctx context.Context, own *rig, order []mutant, known map[equivalence]string, counts map[fate]int) (err error) {
	for {
		for ; len(t.sample) < t.o.n && len(order) > 0; order = order[1:] {
			if known[equivalenceOf(order[0])] != "" {
				counts[fateEquivalent]++
				continue
			}
			t.sample = append(t.sample, order[0])
		}
		if t.overlay, err = plant(t.dir, own.pkg, t.sample); err != nil {
			return err
		}
		out, err := t.build(ctx, own)
		if err == nil {
			return nil
		}
		numbers := refused(t.dir, out)
		if len(numbers) == 0 {
			return fmt.Errorf("building the tests with changes: %w\n%s", err, out)
		}
		counts[fateInvalid] += len(numbers)
		number := 0
		t.sample = slices.DeleteFunc(t.sample, func(mutant) bool {
			number++
			return numbers[number]
		})
	}
}

// hold builds a holder's tests with the sample.
func (t *trial) hold(ctx context.Context, holder string) (g *rig, err error) {
	g = &rig{pkg: holder, limit: holderTime, sound: make(map[string]bool)}
	if g.reach, err = measure(ctx, t.dir, holder); err != nil {
		return nil, err
	}
	if out, err := t.build(ctx, g); err != nil {
		return nil, fmt.Errorf("building the tests of %s with changes: %w\n%s", holder, err, out)
	}
	return g, nil
}

func (t *trial) build(ctx context.Context, g *rig) (out string, err error) {
	g.bin = filepath.Join(t.dir, strings.ReplaceAll(g.pkg, "/", "-")+".planted")
	return command(ctx, ".", "", "go", "test", "-c", "-vet=off", "-gcflags=-e", "-overlay", t.overlay, "-o", g.bin, "./"+g.pkg)
}

// one tries a mutant by the package's own tests, and then by the holders'.
func (t *trial) one(ctx context.Context, i int) (o outcome, err error) {
	o.fate = fateUnreached
	for _, rig := range t.rigs {
		g, err := rig()
		if err != nil {
			return o, err
		}
		if o = g.ask(ctx, t.sample[i], i+1, o); o.by != "" {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.o.out, "%s: %s\n", o, t.sample[i])
	return o, nil
}

// ask runs the tests that reach a mutant until one finds it, the quick ones first.
func (g *rig) ask(ctx context.Context, m mutant, number int, o outcome) outcome {
	tests := g.reach.of(m)
	if len(tests) > 0 {
		o.fate = fateSurvived
	}
	spent := time.Duration(0)
	for size := firstBatch; len(tests) > 0; size *= 4 {
		var names []string
		took := time.Duration(0)
		for len(tests) > 0 && (took == 0 || took+tests[0].Took <= size) {
			if spent += tests[0].Took; g.limit > 0 && spent > g.limit {
				o.unrun += fmt.Sprintf("; %d tests of %s that reach it were not run", len(tests), g.pkg)
				tests = nil
				break
			}
			took += tests[0].Took
			names = append(names, tests[0].Name)
			tests = tests[1:]
		}
		if f, by := g.judge(ctx, number, names, took); by != "" {
			return outcome{f, g.pkg + ": " + by, ""}
		}
	}
	return o
}

// judge runs tests with a mutant and says which found it. A test that fails without it as well has found nothing.
func (g *rig) judge(ctx context.Context, number int, names []string, took time.Duration) (f fate, by string) {
	for len(names) > 0 {
		f, out := g.run(ctx, number, names, took)
		if f == fateSurvived {
			break
		}
		failed := names
		if told := failure.FindAllStringSubmatch(out, -1); told != nil {
			failed = nil
			for _, t := range told {
				failed = append(failed, t[1])
			}
		}
		if g.passes(ctx, failed, took) {
			return f, strings.Join(failed, ", ")
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(failed, name) })
	}
	return fateSurvived, ""
}

// failure is what the testing package says of a test that failed, or ran when the time was over.
var failure = regexp.MustCompile(`(?m)^(?:--- FAIL: |\t\t)((?:Test|Example|Fuzz)\w+)`)

// passes reports whether tests pass without a change.
func (g *rig) passes(ctx context.Context, names []string, took time.Duration) bool {
	key := strings.Join(names, "|")
	g.mu.Lock()
	sound, asked := g.sound[key]
	g.mu.Unlock()
	if !asked {
		f, _ := g.run(ctx, 0, names, took)
		sound = f == fateSurvived
		g.mu.Lock()
		g.sound[key] = sound
		g.mu.Unlock()
	}
	return sound
}

// run runs tests with a mutant, or with none for 0; took is how long they take without.
func (g *rig) run(ctx context.Context, number int, names []string, took time.Duration) (f fate, out string) {
	limit := 10*time.Second + 8*took
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second) // where even the test's own limit is not heeded
	defer cancel()
	out, err := command(ctx, g.pkg, switchedOn+"="+strconv.Itoa(number), g.bin, "-test.short", "-test.failfast",
		"-test.run", "^("+strings.Join(names, "|")+")$", "-test.timeout", limit.String())
	switch {
	case err == nil:
		return fateSurvived, out
	case ctx.Err() != nil, strings.Contains(out, "panic: test timed out"):
		return fateLate, out
	}
	return fateCaught, out
}

// atOnce calls do for 0 to n-1, as many at a time as there are processors, until one fails.
func atOnce(n int, do func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, n)
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if errs[i] = do(i); errs[i] != nil {
					next.Store(int64(n))
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// command runs a program in a directory, with one more variable in its environment if there is any, and gives what it wrote.
func command(ctx context.Context, dir, variable, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if variable != "" {
		cmd.Env = append(os.Environ(), variable)
	}
	cmd.WaitDelay = 5 * time.Second // children may keep its output open
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
