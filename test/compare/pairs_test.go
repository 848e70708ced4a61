package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// A bench is a machine on which everything takes a hundred of each metric, but for what a test changes.
type bench struct {
	ran    []string
	change func(run int, s side, b benchmark, result sample) error // run counts those of a side
	runs   map[string]int
}

func (m *bench) measure(_ context.Context, s side, b benchmark) (sample, error) {
	m.ran = append(m.ran, fmt.Sprint(b.name, " ", s))
	result := sample{}
	for _, of := range b.judged() {
		result[of.name] = 100
	}
	run := m.runs[b.name+s.String()]
	m.runs[b.name+s.String()]++
	if m.change == nil {
		return result, nil
	}
	return result, m.change(run, s, b, result)
}

func compareOn(t *testing.T, change func(run int, s side, b benchmark, result sample) error) ([]result, *bench) {
	t.Helper()
	m := &bench{change: change, runs: map[string]int{}}
	c := comparison{pairs: 10, measure: m.measure, progress: io.Discard}
	return c.run(t.Context(), []benchmark{{name: "A", own: []string{"p50-µs"}}, {name: "B", counts: ofNobody, own: []string{"B/socket"}}}), m
}

// verdictsOf are those of a benchmark that are something, with their metrics.
func verdictsOf(r result) (all []string) {
	for _, row := range r.rows {
		if v := row.verdict(); v != noDifference {
			all = append(all, row.name+" "+row.words())
		}
	}
	return all
}

func TestOrderOfRuns(t *testing.T) {
	_, m := compareOn(t, nil)
	want := "A base,A head,B head,B base,A head,A base,B base,B head,"
	if got := strings.Join(m.ran, ",") + ","; got != strings.Repeat(want, 5) {
		t.Errorf("the order was %s", got)
	}
}

func TestWhatRunsAreComparedTo(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	speed := make([]float64, 10)
	for i := range speed {
		speed[i] = 1 + rng.Float64()
	}
	for _, c := range []struct {
		name    string
		change  func(run int, s side, b benchmark, result sample) error
		a, b    string // what is said of A and B
		loss    bool
		runsOfA int // of the head
	}{
		{"nothing", nil, "[]", "[]", false, 10},
		{"the machine's speed", func(run int, _ side, _ benchmark, r sample) error {
			r["p50-µs"] *= speed[run%10]
			return nil
		}, "[]", "[]", false, 10},
		{"a slowdown of 5 %, under the machine's speed", func(run int, s side, b benchmark, r sample) error {
			r["p50-µs"] *= speed[run%10] * (1 + 0.05*float64(s))
			return nil
		}, "[p50-µs SLOWER, in new pairs too]", "[]", true, 20},
		{"a slowdown that was chance", func(run int, s side, b benchmark, r sample) error {
			if run < 10 {
				r["p50-µs"] *= 1 + 0.05*float64(s)
			}
			return nil
		}, "[]", "[]", false, 20},
		{"one system call more in 50", func(_ int, s side, _ benchmark, r sample) error {
			r["syscalls/op"] += 2 * float64(s)
			return nil
		}, "[syscalls/op slightly more]", "[]", false, 10},
		{"less memory", func(_ int, s side, _ benchmark, r sample) error {
			r["B/socket"] -= 10 * float64(s)
			return nil
		}, "[]", "[B/socket faster]", false, 10},
		{"a new write", func(_ int, s side, _ benchmark, r sample) error {
			r["writes/op"] = float64(s)
			return nil
		}, "[writes/op SLOWER, in new pairs too]", "[]", true, 20},
	} {
		results, m := compareOn(t, c.change)
		if got := fmt.Sprint(verdictsOf(results[0])); got != c.a {
			t.Errorf("%s: of A it says %s, want %s", c.name, got, c.a)
		}
		if got := fmt.Sprint(verdictsOf(results[1])); got != c.b {
			t.Errorf("%s: of B it says %s, want %s", c.name, got, c.b)
		}
		if anyLoss(results) != c.loss {
			t.Errorf("%s: a loss is %v, want %v", c.name, anyLoss(results), c.loss)
		}
		if m.runs["Ahead"] != c.runsOfA || m.runs["Bhead"] != 10 {
			t.Errorf("%s: %v runs", c.name, m.runs)
		}
	}
}

func TestABenchmarkThatFails(t *testing.T) {
	errRun := errors.New("no disk")
	for _, s := range []side{base, head} {
		results, m := compareOn(t, func(run int, of side, b benchmark, _ sample) error {
			if run == 3 && of == s && b.name == "A" {
				return errRun
			}
			return nil
		})
		if !errors.Is(results[0].err, errRun) || results[0].broken != s || len(results[0].rows) > 0 || results[1].err != nil {
			t.Errorf("the %s fails: %+v", s, results)
		}
		if anyLoss(results) != (s == head) {
			t.Errorf("the %s fails: a loss is %v", s, anyLoss(results))
		}
		if m.runs["A"+s.String()] != 4 {
			t.Errorf("the %s fails: %v runs", s, m.runs)
		}
	}
}

func TestAMetricThatIsGone(t *testing.T) {
	results, _ := compareOn(t, func(_ int, s side, _ benchmark, r sample) error {
		if s == head {
			delete(r, "p50-µs")
		}
		return nil
	})
	if !errors.Is(results[0].err, errNoResult) || !anyLoss(results) {
		t.Errorf("%+v", results[0])
	}
	results, _ = compareOn(t, func(_ int, _ side, _ benchmark, r sample) error { // not counted on this machine
		delete(r, "instructions/op")
		return nil
	})
	if len(results[0].rows) != len(metrics()) || results[0].err != nil { // p50-µs, and the metrics but for one
		t.Errorf("%+v", results[0])
	}
}

func TestReport(t *testing.T) {
	results, _ := compareOn(t, func(_ int, s side, b benchmark, r sample) error {
		r["p50-µs"] += 7 * float64(s)
		return nil
	})
	results = append(results, result{benchmark: benchmark{name: "New"}, broken: base, err: errors.New("the base has no BenchmarkNew")})
	var out strings.Builder
	report(&out, results, 10)
	for _, want := range []string{"10 pairs; the interval is from the 2nd smallest to the 2nd largest ratio", "107.0", "1.070 – 1.070", "SLOWER, in new pairs too",
		"NOT COMPARED: the base has no BenchmarkNew", "LOSS: A p50-µs × 1.070\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	results, _ = compareOn(t, nil)
	if nothing(results) || !nothing([]result{{broken: base, err: errors.New("the base has no BenchmarkNew")}}) {
		t.Error("what was compared is taken for nothing, or the other way round")
	}
	out.Reset()
	report(&out, results, 6)
	for _, want := range []string{"from the smallest to the largest ratio", "no loss in 2 benchmarks"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
