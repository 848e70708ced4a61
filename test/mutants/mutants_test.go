package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `package p

type T struct{ n int }

func (t *T) add(more bool, a, b int) (int, error) {
	if more && a < b {
		t.n += 2
	}
	for i := 0; i < b; i++ {
		t.log(i)
	}
	log.Error("no", a+b)
	defer t.close()
	if bug.On("short") && a > b {
		t.n = 0
	} else if !bug.On("long") {
		t.n = b
	}
	switch n := t.n; {
	case n == b:
		t.n = a
	}
	return t.n, err
}
`

// TestFind has a function with one of each: what may be changed in it is changed, what a log is told is not, and
// every change is still Go.
func TestFind(t *testing.T) {
	found, err := find("p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		got = append(got, m.old+" -> "+m.new)
		if m.function != "(*T).add" || m.code == "" || !strings.Contains(strings.Split(sample, "\n")[m.line-1], strings.Split(m.old, "\n")[0]) {
			t.Errorf("%s: it stands elsewhere", m)
		}
		if want := m.line - strings.Count(m.code, "case"); m.reached != want {
			t.Errorf("%s: it is reached with line %d, want %d", m, m.reached, want)
		}
		changed := m.apply([]byte(sample))
		if bytes.Equal(changed, []byte(sample)) {
			t.Errorf("%s changes nothing", m)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), "p.go", changed, 0); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
	want := []string{
		"more && a < b -> true || (more && a < b)", "more && a < b -> false && (more && a < b)", "&& -> ||", "< -> <=", "< -> >=",
		"+= -> -=", "t.n += 2 -> ", "2 -> (2 + 1)", "i < b -> false && (i < b)", "0 -> (0 + 1)", "< -> <=", "< -> >=", "++ -> --", "t.log(i) -> ",
		"defer t.close() -> ", "! -> ", "t.n = b -> ", "== -> !=", "t.n = a -> ", "err -> nil",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDraw draws the same sample by the same seed, and another one by another.
func TestDraw(t *testing.T) {
	found, err := find("p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	one, again, other := draw(found, 1), draw(found, 1), draw(found, 2)
	if !slices.Equal(one, again) || slices.Equal(one, other) || slices.Equal(one, found) || len(one) != len(found) {
		t.Error("the order does not follow the seed")
	}
}

// TestWilson compares with the figures of R's prop.test(correct = FALSE) and binom.confint.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		hits, n   int
		low, high float64
	}{{0, 50, 0, 0.0714}, {45, 50, 0.7864, 0.9565}, {50, 50, 0.9286, 1}, {8, 26, 0.1650, 0.4999}} {
		low, high := wilson(c.hits, c.n)
		if math.Abs(low-c.low) > 0.0005 || math.Abs(high-c.high) > 0.0005 {
			t.Errorf("%d of %d: [%.4f, %.4f], want [%.4f, %.4f]", c.hits, c.n, low, high, c.low, c.high)
		}
	}
}

// TestEquivalents reads what a run prints, and refuses a line without a reason.
func TestEquivalents(t *testing.T) {
	found, err := find("p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "list")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\n\n" + equivalenceOf(found[3]).line() + " | a and b are never alike\n")
	known, err := readEquivalents(path)
	if err != nil || known[equivalenceOf(found[3])] != "a and b are never alike" || known[equivalenceOf(found[4])] != "" {
		t.Errorf("got %v, %v", known, err)
	}
	write("  " + equivalenceOf(found[3]).line() + "\n    " + strings.TrimSpace(equivalenceOf(found[6]).line()))
	if some, err := listed(slices.Clone(found), path); err != nil || found[6].new != "" || !slices.Equal(some, []mutant{found[3], found[6]}) {
		t.Errorf("listed are %v, %v", some, err)
	}
	if _, err := readEquivalents(path); err == nil {
		t.Error("a line without a reason was accepted")
	}
}

// TestListedEquivalents has each line of the list name a change that there is.
func TestListedEquivalents(t *testing.T) {
	known, err := readEquivalents("equivalents.txt")
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[equivalence]bool)
	for _, s := range packages {
		dir := filepath.Join("..", "..", s.path)
		found, err := findAll(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) < 100 {
			t.Errorf("%s has %d places", s.path, len(found))
		}
		for _, m := range found {
			m.file = strings.TrimPrefix(m.file, "../../")
			there[equivalenceOf(m)] = true
		}
	}
	for e := range known {
		if !there[e] {
			t.Errorf("there is no such change: %s", e.line())
		}
	}
}

// TestReach reads a profile, and chooses the tests that reach a line, the quickest first.
func TestReach(t *testing.T) {
	spans := spansIn([]byte("mode: set\n" + module + "p/a.go:3.2,5.10 2 1\n" + module + "p/a.go:7.2,7.10 1 0\n" + module + "q/a.go:7.2,8.10 1 1\n"))
	r := reach{Tests: []tested{{Name: "TestSlow", Took: 9, Spans: spans}, {Name: "TestOther", Took: 1}, {Name: "TestQuick", Took: 2, Spans: spans}}}
	for line, want := range map[int]string{2: "", 3: "TestQuick TestSlow", 5: "TestQuick TestSlow", 7: ""} {
		var names []string
		for _, t := range r.of(mutant{file: "p/a.go", reached: line}) {
			names = append(names, t.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("line %d: %q, want %q", line, got, want)
		}
	}
	few := joined([]span{{7, 9}, {1, 2}, {3, 3}, {8, 12}, {14, 14}})
	if want := []span{{1, 3}, {7, 12}, {14, 14}}; !slices.Equal(few, want) {
		t.Errorf("joined: %v, want %v", few, want)
	}
}
