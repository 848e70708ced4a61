package main

// What a run looks like: four panels over one axis of time.

import (
	"fmt"
	"image/color"
	"math"
	"time"
)

var (
	blue   = color.NRGBA{0x1f, 0x6f, 0xb4, 0xff}
	orange = color.NRGBA{0xd9, 0x6b, 0x0b, 0xff}
)

// A line is a value of each sample; NaN is a gap.
type line struct {
	name string
	ink  color.NRGBA
	at   func(sample) float64
}

// A panel has lines of one unit.
type panel struct {
	title string // with the unit
	note  string // what the verdict says of it
	lines []line
	log   bool // the axis has powers of ten, and no zero
}

// A picture is panels over one axis of time.
type picture struct {
	title, subtitle string
	samples         []sample
	length, warmUp  time.Duration
	panels          []panel
}

// soakPicture is the picture of a run.
func soakPicture(c config, samples []sample, all []growth) *picture {
	notes := make(map[string]string)
	for _, g := range all {
		notes[g.name] = fmt.Sprintf("per connection %.4g%s, then %.4g%s (%+.1f %%)", g.middle, unit(g), g.last, unit(g), 100*g.part())
	}
	end := samples[len(samples)-1]
	value := func(of func(sample) int) func(sample) float64 {
		return func(s sample) float64 { return float64(of(s)) }
	}
	return &picture{
		title: c.title(end.at),
		subtitle: fmt.Sprintf("%s actions, %s connects, %s wake-ups, %s faults. Beside each panel: the medians of the middle and of the last third behind the warm-up",
			grouped(float64(end.acts)), grouped(float64(end.connects)), grouped(float64(end.Lives)), grouped(float64(end.faults))),
		samples: samples, length: max(c.length, end.at), warmUp: c.warmUp(),
		panels: []panel{
			{title: "memory of the server, MB", note: notes["memory"], lines: []line{
				{"resident (RSS)", blue, func(s sample) float64 { return float64(s.rss) / 1e6 }},
				{"Go heap", orange, func(s sample) float64 { return float64(s.Heap) / 1e6 }},
			}},
			{title: "descriptors and connections", note: notes["descriptors"], lines: []line{
				{"descriptors", blue, value(func(s sample) int { return s.descriptors })},
				{"connections", orange, value(func(s sample) int { return s.Connections })},
			}},
			{title: "goroutines and rooms awake", note: notes["goroutines"], lines: []line{
				{"goroutines", blue, value(func(s sample) int { return s.Goroutines })},
				{"rooms awake", orange, value(func(s sample) int { return s.Awake })},
			}},
			{title: "an action, from sending to reply, ms", log: true, lines: []line{
				{"p99", orange, func(s sample) float64 { return present(s.p99) }},
				{"p50", blue, func(s sample) float64 { return present(s.p50) }},
			}},
		},
	}
}

func unit(g growth) string {
	if g.unit == "" {
		return ""
	}
	return " " + g.unit
}

// present is a time in milliseconds, or a gap.
func present(d time.Duration) float64 {
	if d == 0 {
		return math.NaN()
	}
	return milliseconds(d)
}
