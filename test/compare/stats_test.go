package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// TestRanks compares with the table of the sign test: n and k, the rank of the interval's ends for 95 %.
func TestRanks(t *testing.T) {
	for n, want := range map[int]int{6: 1, 7: 1, 8: 1, 9: 2, 10: 2, 11: 2, 12: 3, 15: 4, 20: 6, 30: 10, 50: 18, 100: 40} {
		if k, err := ranks(n); k != want || err != nil {
			t.Errorf("ranks(%d) = %d, %v, want %d", n, k, err, want)
		}
	}
	for n := range 6 {
		if k, err := ranks(n); !errors.Is(err, errFewPairs) {
			t.Errorf("ranks(%d) = %d, %v, want %v", n, k, err, errFewPairs)
		}
	}
}

func TestEstimate(t *testing.T) {
	e, err := estimateOf([]float64{1.10, 1.01, 1.02, 1.09, 1.03, 1.08, 1.04, 1.07, 1.05, 1.06})
	if want := (estimate{1.055, 1.02, 1.09}); err != nil || math.Abs(e.median-want.median) > 1e-9 || e.low != want.low || e.high != want.high {
		t.Errorf("the estimate is %v, %v, want %v", e, err, want)
	}
	if _, err := estimateOf(make([]float64, 5)); !errors.Is(err, errFewPairs) {
		t.Errorf("five ratios have an interval: %v", err)
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct{ base, head, least, want float64 }{
		{100, 110, 0, 1.1}, {0, 0, 0, 1}, {0, 1, 0, math.Inf(1)}, {2, 0, 0, 0},
		{18, 30, 16, 1}, {18, 35, 16, 35.0 / 18}, {35, 18, 16, 18.0 / 35},
	} {
		if got := ratio(c.base, c.head, c.least); math.Abs(got-c.want) > 1e-12 && got != c.want {
			t.Errorf("ratio(%v, %v, %v) = %v, want %v", c.base, c.head, c.least, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		kind      kind
		want      verdict
	}{
		{1.031, 1.2, isTime, slower}, {1.031, 1.2, isCount, slower}, {1.03, 1.2, isTime, noDifference}, {1.03, 1.2, isCount, slightlyMore},
		{0.8, 0.969, isTime, faster}, {0.8, 0.97, isTime, noDifference}, {0.5, 2, isTime, noDifference},
		{1.001, 1.001, isTime, noDifference}, {1.001, 1.001, isCount, slightlyMore}, {1, 1, isCount, noDifference},
		{math.Inf(1), math.Inf(1), isCount, slower},
	} {
		if got := (estimate{1, c.low, c.high}).verdict(c.kind); got != c.want {
			t.Errorf("%v – %v: %q, want %q", c.low, c.high, got, c.want)
		}
	}
}

// A noisyMachine gives the times of pairs. Its speed is not the same from one pair to the next (by 30 % or so), and the
// two runs of a pair differ by noise, the part that pairs do not take away.
type noisyMachine struct {
	rng   *rand.Rand
	noise float64 // standard deviation
}

func (m noisyMachine) ratios(pairs int, slowdown float64) []float64 {
	all := make([]float64, pairs)
	for i := range all {
		speed := 1 + 0.3*m.rng.NormFloat64()*0.5
		run := func(cost float64) float64 { return cost * speed * (1 + m.noise*m.rng.NormFloat64()) }
		all[i] = ratio(run(100), run(100*(1+slowdown)), 0)
	}
	return all
}

// saysSlower is the part of so many comparisons, of 10 pairs each, that say slower.
func (m noisyMachine) saysSlower(t *testing.T, trials int, slowdown float64) float64 {
	t.Helper()
	said := 0
	for range trials {
		e, err := estimateOf(m.ratios(10, slowdown))
		if err != nil {
			t.Fatal(err)
		}
		if e.verdict(isTime) == slower {
			said++
		}
	}
	return float64(said) / float64(trials)
}

// TestNoiseIsNotSlower: a program that has not changed is called slower in 1.1 % of cases at most, however noisy the
// machine; and no more often where it has become slower by exactly what is let pass.
func TestNoiseIsNotSlower(t *testing.T) {
	const trials, stated = 20_000, 11.0 / 1024
	most := stated + 3*math.Sqrt(stated/trials) // three standard deviations
	for seed, noise := range []float64{0, 0.005, 0.02, 0.1, 0.3} {
		m := noisyMachine{rand.New(rand.NewPCG(uint64(seed), 1)), noise}
		if part := m.saysSlower(t, trials, 0); part > most {
			t.Errorf("with noise of %v an unchanged program is slower in %.2f %% of cases", noise, 100*part)
		}
		if part := m.saysSlower(t, trials, slack); part > most {
			t.Errorf("with noise of %v a program slower by %v is a loss in %.2f %% of cases", noise, slack, 100*part)
		}
	}
}

// TestSlowdownIsFound: 5 % are found where the noise of a pair is 1 %, and 3 % + 1.6 s by two rounds in four of five cases.
func TestSlowdownIsFound(t *testing.T) {
	m := noisyMachine{rand.New(rand.NewPCG(7, 1)), 0.01 / math.Sqrt2} // of a run; of a ratio it is the root of 2 more
	if part := m.saysSlower(t, 2000, 0.05); part < 0.85 {
		t.Errorf("5 %% more are found in %.1f %% of cases", 100*part)
	}
	if part := m.saysSlower(t, 2000, 0.10); part < 0.999 {
		t.Errorf("10 %% more are found in %.1f %% of cases", 100*part)
	}
	if once := m.saysSlower(t, 2000, slack+1.6*0.01); once*once < 0.75 {
		t.Errorf("3 %% + 1.6 s are found in %.1f %% of cases", 100*once*once)
	}
	if part := m.saysSlower(t, 2000, -0.10); part > 0 {
		t.Errorf("10 %% less is slower in %.1f %% of cases", 100*part)
	}
}
