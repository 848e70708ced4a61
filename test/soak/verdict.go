package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// minSamples must lie after the warm-up, so that a third of them has a median that says something.
	minSamples = 9
	// mostRefused is the part of the actions that may be refused with a code: such as they are, all should succeed.
	mostRefused = 0.01
)

// A measure is what must not grow per connection.
type measure struct {
	name  string
	unit  string
	of    func(sample) float64
	slack float64 // per connection: growth below it is nobody's, where nearly none is needed
}

// measures are what the verdict is about.
func measures() []measure {
	return []measure{
		{"memory", "KB", func(s sample) float64 { return float64(s.rss) / 1000 }, 0},
		{"descriptors", "", func(s sample) float64 { return float64(s.descriptors) }, 0.01},
		{"goroutines", "", func(s sample) float64 { return float64(s.Goroutines) }, 0.01},
	}
}

// A growth is a measure per connection, by the medians of the middle and of the last third of the time after the warm-up.
type growth struct {
	measure
	middle, last float64
}

// part is the growth: 0.1 is 10 %.
func (g growth) part() float64 {
	if g.middle == 0 {
		return 0
	}
	return g.last/g.middle - 1
}

// over reports whether it is more than what is let pass.
func (g growth) over(most float64) bool { return g.last-g.middle > g.slack && g.part() > most }

func (g growth) String() string {
	return fmt.Sprintf("%s per connection: %.4g %s then %.4g %s (%+.1f %%)", g.name, g.middle, g.unit, g.last, g.unit, 100*g.part())
}

// growths measures samples after the warm-up. It fails where there are too few.
func growths(samples []sample, warmUp time.Duration) ([]growth, error) {
	var rest []sample
	for _, s := range samples {
		if s.at >= warmUp && s.Connections > 0 {
			rest = append(rest, s)
		}
	}
	if len(rest) < minSamples {
		return nil, fmt.Errorf("only %d samples behind the warm-up of %v: nothing can be said", len(rest), warmUp)
	}
	third := len(rest) / 3
	middle, last := rest[len(rest)-2*third:len(rest)-third], rest[len(rest)-third:]
	var all []growth
	for _, m := range measures() {
		all = append(all, growth{m, m.median(middle), m.median(last)})
	}
	return all, nil
}

// median is that of the measure per connection.
func (m measure) median(samples []sample) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, m.of(s)/float64(s.Connections))
	}
	slices.Sort(values)
	return quantile(values, 0.5)
}

// judge says all that was wrong with a run; nil: nothing.
func judge(all []growth, most float64, end counts) error {
	var wrong []error
	for _, g := range all {
		if g.over(most) {
			wrong = append(wrong, fmt.Errorf("it grows: %v, over %.3g %%", g, 100*most))
		}
	}
	if end.faults > 0 {
		wrong = append(wrong, fmt.Errorf("%d faults", end.faults))
	}
	if end.acts == 0 {
		wrong = append(wrong, errors.New("no action succeeded"))
	}
	if float64(end.refused) > mostRefused*float64(end.acts+end.refused) {
		wrong = append(wrong, fmt.Errorf("%d refusals beside %d actions that succeeded, over %.3g %%", end.refused, end.acts, 100*mostRefused))
	}
	return errors.Join(wrong...)
}
