package main

// Which tests reach which lines, and how long each takes: so a change is tried by those alone that can find it.

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const module = "github.com/denrooms/den/"

// A reach is what the tests of a package do without a change, in the package and in those that it holds.
type reach struct {
	Sum   string // of the covered packages' source
	Tests []tested
}

// A tested is one test: which lines of which file it reaches.
type tested struct {
	Name  string
	Sum   string // of its own source
	Took  time.Duration
	Spans map[string][]span // by the file's path in the module
}

type span struct{ First, Last int }

func (t tested) reaches(m mutant) bool {
	return slices.ContainsFunc(t.Spans[m.file], func(s span) bool { return s.First <= m.reached && m.reached <= s.Last })
}

// of are the tests that reach a mutant, the quickest first.
func (r reach) of(m mutant) (some []tested) {
	for _, t := range r.Tests {
		if t.reaches(m) {
			some = append(some, t)
		}
	}
	slices.SortStableFunc(some, func(a, b tested) int { return cmp.Compare(a.Took, b.Took) })
	return some
}

// covered are the packages whose lines a package's tests are measured in.
func covered(pkg string) (all []string) {
	for _, s := range packages {
		if s.path == pkg || slices.Contains(s.holders, pkg) {
			all = append(all, s.path)
		}
	}
	return all
}

// measure runs each test of a package alone, but for those of which an earlier run has found out the same.
func measure(ctx context.Context, dir, pkg string) (r reach, err error) {
	kept := filepath.Join(".bin", "mutants", strings.ReplaceAll(pkg, "/", "-")+".json")
	tests, err := testsIn(pkg)
	if err != nil {
		return r, err
	}
	if r.Sum, err = sumOf(covered(pkg)); err != nil {
		return r, err
	}
	var old reach
	if text, err := os.ReadFile(kept); err == nil && json.Unmarshal(text, &old) == nil && old.Sum == r.Sum {
		r.Tests = slices.DeleteFunc(old.Tests, func(t tested) bool { return tests[t.Name] != t.Sum })
	}
	for _, t := range r.Tests {
		delete(tests, t.Name)
	}
	if len(tests) == 0 {
		return r, nil
	}
	bin := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "-")+".reach")
	into := module + strings.Join(covered(pkg), ","+module)
	if out, err := command(ctx, ".", "", "go", "test", "-c", "-vet=off", "-cover", "-covermode=set", "-coverpkg", into, "-o", bin, "./"+pkg); err != nil {
		return r, fmt.Errorf("building the tests: %w\n%s", err, out)
	}
	names := slices.Sorted(maps.Keys(tests))
	measured := make([]tested, len(names))
	err = atOnce(len(names), func(i int) (err error) {
		measured[i], err = measureOne(ctx, pkg, bin, names[i])
		measured[i].Sum = tests[names[i]]
		return err
	})
	if err != nil {
		return r, err
	}
	r.Tests = append(r.Tests, measured...)
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
func measureOne(ctx context.Context, pkg, bin, name string) (t tested, err error) {
	profile := bin + "." + name
	defer os.Remove(profile)
	var out string
	for range 2 {
		began := time.Now()
		out, err = command(ctx, pkg, "", bin, "-test.short", "-test.run", "^"+name+"$", "-test.coverprofile", profile)
		if err == nil {
			text, err := os.ReadFile(profile)
			return tested{Name: name, Took: time.Since(began), Spans: spansIn(text)}, err
		}
	}
	return t, fmt.Errorf("%s fails without a change: %w\n%s", name, err, out)
}

// spansIn are the lines that a profile says were run: "path/file.go:10.2,12.16 3 1".
func spansIn(profile []byte) map[string][]span {
	spans := make(map[string][]span)
	lines := bufio.NewScanner(bytes.NewReader(profile))
	for lines.Scan() {
		if strings.HasSuffix(lines.Text(), " 0") {
			continue
		}
		file, rest, _ := strings.Cut(strings.TrimPrefix(lines.Text(), module), ":")
		var first, last, column, statements, count int
		n, _ := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &first, &column, &last, &column, &statements, &count)
		if n == 6 {
			spans[file] = append(spans[file], span{first, last})
		}
	}
	for file, all := range spans {
		spans[file] = joined(all)
	}
	return spans
}

// joined are the same lines in as few spans as it takes.
func joined(all []span) (few []span) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.First, b.First) })
	for _, s := range all {
		if n := len(few); n > 0 && s.First <= few[n-1].Last+1 {
			few[n-1].Last = max(few[n-1].Last, s.Last)
		} else {
			few = append(few, s)
		}
	}
	return few
}

var testName = regexp.MustCompile(`^(Test|Example|Fuzz)\w*$`)

// testsIn are the tests of a package by name, each with a hash of its source.
func testsIn(pkg string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	if err != nil {
		return nil, err
	}
	tests := make(map[string]string)
	for _, path := range files {
		if match, err := build.Default.MatchFile(pkg, filepath.Base(path)); err != nil || !match {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if fn, is := d.(*ast.FuncDecl); is && fn.Recv == nil && testName.MatchString(fn.Name.Name) && fn.Name.Name != "TestMain" {
				sum := sha256.Sum256(source[set.Position(fn.Pos()).Offset:set.Position(fn.End()).Offset])
				tests[fn.Name.Name] = hex.EncodeToString(sum[:])
			}
		}
	}
	return tests, nil
}

// sumOf is a hash of the source of packages, without tests.
func sumOf(pkgs []string) (string, error) {
	sum := sha256.New()
	for _, pkg := range pkgs {
		names, err := filepath.Glob(filepath.Join(pkg, "*.go"))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
