package main

// Which tests reach which lines, and how long each takes: so a change is tried by those alone that can find it.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A reach is what the tests of a package do without a change.
type reach struct {
	Sum   string // of the package's files
	Tests []tested
}

// A tested is one test: which lines of which file of the package it reaches.
type tested struct {
	Name  string
	Took  time.Duration
	Spans map[string][]span // by the file's name
}

type span struct{ First, Last int }

func (t tested) reaches(m mutant) bool {
	return slices.ContainsFunc(t.Spans[path.Base(m.file)], func(s span) bool { return s.First <= m.line && m.line <= s.Last })
}

// of are the tests that reach a mutant, the quickest first, and how long they take together.
func (r reach) of(m mutant) (names []string, took time.Duration) {
	var some []tested
	for _, t := range r.Tests {
		if t.reaches(m) {
			some = append(some, t)
		}
	}
	slices.SortFunc(some, func(a, b tested) int { return int(a.Took - b.Took) })
	for _, t := range some {
		names = append(names, t.Name)
		took += t.Took
	}
	return names, took
}

var testName = regexp.MustCompile(`^(Test|Example|Fuzz)\w*$`)

// measure runs each test of a package alone, or takes what an earlier run has found out of the same files.
func measure(ctx context.Context, dir, pkg string) (r reach, err error) {
	sum, err := sumOf(pkg)
	if err != nil {
		return r, err
	}
	kept := filepath.Join(".bin", "mutants", strings.ReplaceAll(pkg, "/", "-")+".json")
	if text, err := os.ReadFile(kept); err == nil && json.Unmarshal(text, &r) == nil && r.Sum == sum {
		return r, nil
	}
	bin := filepath.Join(dir, "reach.test")
	if out, err := command(ctx, ".", "go", "test", "-c", "-vet=off", "-cover", "-covermode=set", "-o", bin, "./"+pkg); err != nil {
		return r, fmt.Errorf("building the tests: %w\n%s", err, out)
	}
	listed, err := command(ctx, pkg, bin, "-test.list", ".")
	if err != nil {
		return r, err
	}
	r = reach{Sum: sum}
	seen := make(map[string]bool)
	for line := range strings.Lines(listed) {
		if name := strings.TrimSpace(line); testName.MatchString(name) && !seen[name] {
			seen[name] = true
			t, err := measureOne(ctx, dir, pkg, bin, name)
			if err != nil {
				return r, err
			}
			r.Tests = append(r.Tests, t)
		}
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(kept), 0o755)
	}
	if err == nil {
		err = os.WriteFile(kept, text, 0o644)
	}
	return r, err
}

// measureOne runs one test, and once more if it fails: of a change nothing can be said with tests that fail without.
func measureOne(ctx context.Context, dir, pkg, bin, name string) (t tested, err error) {
	profile := filepath.Join(dir, "reach.out")
	var out string
	for range 2 {
		began := time.Now()
		out, err = command(ctx, pkg, bin, "-test.short", "-test.run", "^"+name+"$", "-test.coverprofile", profile)
		if err == nil {
			text, err := os.ReadFile(profile)
			return tested{name, time.Since(began), spansIn(text)}, err
		}
	}
	return t, fmt.Errorf("%s fails without a change: %w\n%s", name, err, out)
}

// spansIn are the lines that a profile says were run: "path/file.go:10.2,12.16 3 1".
func spansIn(profile []byte) map[string][]span {
	spans := make(map[string][]span)
	lines := bufio.NewScanner(bytes.NewReader(profile))
	for lines.Scan() {
		file, rest, _ := strings.Cut(lines.Text(), ":")
		var first, last, column, statements, count int
		n, _ := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &first, &column, &last, &column, &statements, &count)
		if n == 6 && count > 0 {
			spans[path.Base(file)] = append(spans[path.Base(file)], span{first, last})
		}
	}
	return spans
}

// sumOf is a hash of a package's files, tests too.
func sumOf(pkg string) (string, error) {
	names, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
