package main

// The median of the pairs' ratios, its interval, and what they say.

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	confidence = 0.95
	// slack is how much slower something may be: less cannot be told from the noise of a build.
	slack = 0.03
)

// errFewPairs: so few ratios have no interval.
var errFewPairs = errors.New("too few pairs for an interval of the median")

// ranks gives k: the k-th smallest and the k-th largest of n ratios enclose their median with the confidence wanted.
func ranks(n int) (k int, err error) {
	below := 0.0 // P(B < k), B binomial(n, 1/2)
	term := math.Pow(0.5, float64(n))
	for {
		below += term // P(B = k)
		if 2*below > 1-confidence {
			break
		}
		term *= float64(n-k) / float64(k+1)
		k++
	}
	if k == 0 {
		return 0, fmt.Errorf("%w: %d, there must be 6", errFewPairs, n)
	}
	return k, nil
}

// An estimate is what a metric's ratios say. The zero value says nothing.
type estimate struct {
	median, low, high float64
}

func estimateOf(ratios []float64) (estimate, error) {
	k, err := ranks(len(ratios))
	if err != nil {
		return estimate{}, err
	}
	sorted := slices.Sorted(slices.Values(ratios))
	return estimate{median(sorted), sorted[k-1], sorted[len(sorted)-k]}, nil
}

// median of values that are sorted.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

func medianOf(values []float64) float64 { return median(slices.Sorted(slices.Values(values))) }

// ratio is head to base. A difference of up to least is none.
func ratio(base, head, least float64) float64 {
	if math.Abs(head-base) <= least {
		return 1
	}
	return head / base // base is 0: +Inf
}

// A verdict is what an estimate says of a metric less of which is better.
type verdict string

const (
	slower       verdict = "SLOWER"
	slightlyMore verdict = "slightly more"
	noDifference verdict = "no difference shown"
	faster       verdict = "faster"
)

func (e estimate) verdict(k kind) verdict {
	switch {
	case e.low > 1+slack:
		return slower
	case e.high < 1-slack:
		return faster
	case k == isCount && e.low > 1:
		return slightlyMore
	}
	return noDifference
}
