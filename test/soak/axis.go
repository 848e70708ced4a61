package main

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// An axis puts values between low and high, at 0 and 1.
type axis struct {
	low, high float64
	ticks     []float64
	log       bool
}

// linear is an axis from zero to a round number that no value exceeds.
func linear(highest float64) axis {
	step := roundStep(highest / 4)
	a := axis{high: step * max(1, math.Ceil(highest/step))}
	for i := 0.0; i*step <= a.high; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

// roundStep is the smallest of 1, 2 and 5, times a power of ten, that is not below x.
func roundStep(x float64) float64 {
	if !(x > 0) {
		return 1
	}
	ten := math.Pow(10, math.Floor(math.Log10(x)))
	for _, n := range []float64{1, 2, 5} {
		if x <= n*ten {
			return n * ten
		}
	}
	return 10 * ten
}

// logarithmic is an axis of whole powers of ten about two values above zero.
func logarithmic(lowest, highest float64) axis {
	if !(lowest > 0) || !(highest >= lowest) {
		lowest, highest = 1, 1
	}
	from, to := math.Floor(math.Log10(lowest)), math.Ceil(math.Log10(highest))
	to = max(to, from+1)
	a := axis{low: from, high: to, log: true}
	for power := from; power <= to; power++ {
		a.ticks = append(a.ticks, math.Pow(10, power))
	}
	return a
}

// place is where a value stands, from 0 to 1.
func (a axis) place(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return (v - a.low) / (a.high - a.low)
}

// axisOf is the axis for all lines of a panel.
func (p panel) axisOf(samples []sample) axis {
	lowest, highest := math.Inf(1), math.Inf(-1)
	for _, l := range p.lines {
		for _, s := range samples {
			if v := l.at(s); !math.IsNaN(v) {
				lowest, highest = min(lowest, v), max(highest, v)
			}
		}
	}
	if p.log {
		return logarithmic(lowest, highest)
	}
	return linear(highest)
}

// timeSteps are round ones, for the axis of time.
func timeSteps() []time.Duration {
	return []time.Duration{
		100 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour,
	}
}

// timeTicks are at most a dozen round times up to a length, and what they are counted in.
func timeTicks(length time.Duration) (ticks []time.Duration, unit time.Duration, name string) {
	steps := timeSteps()
	step := steps[len(steps)-1]
	for _, s := range steps {
		if length <= 12*s {
			step = s
			break
		}
	}
	for t := time.Duration(0); t <= length; t += step {
		ticks = append(ticks, t)
	}
	switch {
	case step < 30*time.Second:
		return ticks, time.Second, "seconds"
	case step < 30*time.Minute:
		return ticks, time.Minute, "minutes"
	}
	return ticks, time.Hour, "hours"
}

// grouped writes a number for people: 12,345 or 0.5.
func grouped(v float64) string {
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if v >= 10 {
		text = strconv.FormatFloat(v, 'f', 0, 64)
	}
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest == "" {
		return whole
	}
	return whole + "." + rest
}
