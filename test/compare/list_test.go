package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBenchmarksExist: each benchmark of the list stands in its package, and has a reason of its own.
func TestBenchmarksExist(t *testing.T) {
	if n := len(benchmarks()); n < 12 {
		t.Errorf("only %d benchmarks", n)
	}
	seen := map[string]bool{}
	for _, b := range benchmarks() {
		name, _, _ := strings.Cut(b.name, "/")
		files, err := filepath.Glob(filepath.Join("../..", b.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(f string) bool {
			content, err := os.ReadFile(f)
			return err == nil && strings.Contains(string(content), "func Benchmark"+name+"(")
		}) {
			t.Errorf("%s has no Benchmark%s", b.pkg, name)
		}
		if seen[b.name] || seen[b.reason] || b.reason == "" {
			t.Errorf("%s is there twice, or without a reason of its own", b.name)
		}
		seen[b.name], seen[b.reason] = true, true
		if b.times < 1 || len(b.own) == 0 {
			t.Errorf("%s: %d times, own metrics %v", b.name, b.times, b.own)
		}
	}
}

func TestChoose(t *testing.T) {
	names := func(pattern string) (all []string) {
		for _, b := range choose(benchmarks(), regexp.MustCompile(pattern)) {
			all = append(all, b.name)
		}
		return all
	}
	if got := names("Append$|Wake"); !slices.Equal(got, []string{"PlainWake", "PlainAppend"}) {
		t.Errorf("%v", got)
	}
	if got := names("."); len(got) != len(benchmarks()) {
		t.Errorf("%v", got)
	}
}

func TestExactly(t *testing.T) {
	for name, want := range map[string]string{"Append": "^BenchmarkAppend$", "Action/normal/batch=1": "^BenchmarkAction$/^normal$/^batch=1$"} {
		if got := exactly(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestBeginning(t *testing.T) {
	if got, want := beginning("a\nb\n"), "a\nb\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := beginning(strings.Repeat("a\n", 10_000)), strings.Repeat("a\n", 10)+"…\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestConfig(t *testing.T) {
	c, err := parseConfig(nil, io.Discard)
	if err != nil || c.base != "HEAD~1" || c.pairs != 10 || !c.bench.MatchString("anything") {
		t.Errorf("the defaults: %+v, %v", c, err)
	}
	c, err = parseConfig([]string{"-base", "v1", "-pairs", "6", "-bench", "^A", "-dir", "d"}, io.Discard)
	if err != nil || c.base != "v1" || c.pairs != 6 || c.dir != "d" || c.bench.MatchString("BA") {
		t.Errorf("%+v, %v", c, err)
	}
	for _, args := range [][]string{{"-pairs", "5"}, {"-pairs", "0"}, {"-bench", "("}, {"more"}, {"-nothing"}} {
		if _, err := parseConfig(args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
