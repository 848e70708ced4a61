package main

// Trying a package's sample: building each mutant's tests, and running them.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A trial is one package's run.
type trial struct {
	o       options
	s       subject
	dir     string // for what is built
	reach   reach
	holders map[string]time.Duration // what the holders' tests take without a change
}

// try draws a package's sample and tries it.
func try(ctx context.Context, o options, s subject, known map[equivalence]string) (r result, err error) {
	r = result{pkg: s.path, counts: make(map[fate]int)}
	began := time.Now()
	t := trial{o: o, s: s, holders: make(map[string]time.Duration)}
	if t.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return r, err
	}
	defer os.RemoveAll(t.dir)
	all, err := findAll(s.path)
	if err != nil {
		return r, err
	}
	if t.reach, err = measure(ctx, t.dir, s.path); err != nil {
		return r, err
	}
	fmt.Fprintf(o.out, "%s: %d places, %d tests, measured in %s\n", s.path, len(all), len(t.reach.Tests), time.Since(began).Round(time.Second))
	for _, m := range draw(all, o.seed) {
		if _, tried := r.tried(); tried == o.n {
			break
		}
		f := fateEquivalent
		if known[equivalenceOf(m)] == "" {
			if f, err = t.one(ctx, m); err != nil {
				return r, err
			}
		}
		r.counts[f]++
		if f == fateSurvived || f == fateUnreached {
			r.survivors = append(r.survivors, m)
		}
		if f != fateInvalid {
			fmt.Fprintf(o.out, "%-10s %s\n", f, m)
		}
	}
	r.took = time.Since(began)
	return r, nil
}

func (f fate) String() string {
	return [...]string{"caught", "late", "SURVIVED", "UNREACHED", "equivalent", "invalid"}[f]
}

// one tries a mutant by the package's own tests, and then by the holders'.
func (t *trial) one(ctx context.Context, m mutant) (fate, error) {
	overlay, err := t.overlay(m)
	if err != nil {
		return 0, err
	}
	names, took := t.reach.of(m)
	bin := filepath.Join(t.dir, "mutant.test")
	if _, err := command(ctx, ".", "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", bin, "./"+t.s.path); err != nil {
		return fateInvalid, ctx.Err()
	}
	f := fateUnreached
	if len(names) > 0 {
		f = verdict(ctx, t.s.path, bin, "^("+strings.Join(names, "|")+")$", took)
	}
	for _, holder := range t.s.holders {
		if f != fateSurvived && f != fateUnreached {
			break
		}
		late, err := t.hold(ctx, holder, overlay)
		if err != nil {
			return 0, err
		}
		if late != fateSurvived {
			f = late
		}
	}
	return f, ctx.Err()
}

// hold tries a mutant by the tests of a package that holds its own.
func (t *trial) hold(ctx context.Context, holder, overlay string) (fate, error) {
	bin := filepath.Join(t.dir, "holder.test")
	took, measured := t.holders[holder]
	if !measured {
		if out, err := command(ctx, ".", "go", "test", "-c", "-vet=off", "-o", bin, "./"+holder); err != nil {
			return 0, fmt.Errorf("building the tests of %s: %w\n%s", holder, err, out)
		}
		began := time.Now()
		if out, err := command(ctx, holder, bin, "-test.short"); err != nil {
			return 0, fmt.Errorf("the tests of %s fail without a change: %w\n%s", holder, err, out)
		}
		took = time.Since(began)
		t.holders[holder] = took
	}
	if out, err := command(ctx, ".", "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", bin, "./"+holder); err != nil {
		return 0, fmt.Errorf("building the tests of %s with a change: %w\n%s", holder, err, out)
	}
	return verdict(ctx, holder, bin, ".", took), nil
}

// overlay writes a mutant's file and says to the compiler that it stands for the original.
func (t *trial) overlay(m mutant) (path string, err error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(t.dir, "changed.go")
	if err := os.WriteFile(changed, m.apply(source), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(t.dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// verdict runs tests and says what they found; took is how long they take without a change.
func verdict(ctx context.Context, dir, bin, run string, took time.Duration) fate {
	limit := 10*time.Second + 8*took
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second) // where even the test's own limit is not heeded
	defer cancel()
	out, err := command(ctx, dir, bin, "-test.short", "-test.failfast", "-test.run", run, "-test.timeout", limit.String())
	switch {
	case err == nil:
		return fateSurvived
	case ctx.Err() != nil, strings.Contains(out, "panic: test timed out"):
		return fateLate
	}
	return fateCaught
}

// command runs a program in a directory and gives what it wrote.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second // children may keep its output open
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
