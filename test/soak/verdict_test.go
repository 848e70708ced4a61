package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// series makes 300 samples, two seconds apart, of a server with 10,000 connections; the first fifth is a warm-up in which
// everything grows. change may alter what comes after it; its argument goes from 0 to 1.
func series(change func(s *sample, part float64)) []sample {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []sample
	for i := range 300 {
		noise := func(n int) int { return n + n*rng.IntN(21)/1000 - n/100 } // ± 1 %
		s := sample{at: time.Duration(i+1) * 2 * time.Second}
		s.Connections, s.Goroutines, s.descriptors, s.rss = noise(10_000), noise(10_100), noise(12_000), int64(noise(300_000_000))
		if i < 60 {
			warm := float64(i) / 60
			s.Connections, s.Goroutines, s.rss = int(warm*10_000), int(warm*warm*10_100), int64(warm*250_000_000)
		} else {
			change(&s, float64(i-60)/240)
		}
		all = append(all, s)
	}
	return all
}

func TestVerdict(t *testing.T) {
	good := counts{acts: 1000}
	for _, c := range []struct {
		name   string
		change func(s *sample, part float64)
		end    counts
		wrong  string // that the verdict must say; empty: all is well
	}{
		{"flat", func(*sample, float64) {}, good, ""},
		{"memory leaks", func(s *sample, part float64) { s.rss += int64(part * 150e6) }, good, "memory per connection"},
		{"memory leaks slowly", func(s *sample, part float64) { s.rss += int64(part * 30e6) }, good, ""},
		{"descriptors leak", func(s *sample, part float64) { s.descriptors += int(part * 6000) }, good, "descriptors per connection"},
		{"goroutines leak", func(s *sample, part float64) { s.Goroutines += int(part * 6000) }, good, "goroutines per connection"},
		{"goroutines are so few that it means nothing", func(s *sample, part float64) { s.Goroutines = 20 + int(part*60) }, good, ""},
		{"few goroutines leak", func(s *sample, part float64) { s.Goroutines = 20 + int(part*600) }, good, "goroutines per connection"},
		{"everything shrinks", func(s *sample, part float64) { s.rss -= int64(part * 100e6) }, good, ""},
		{"more clients need more", func(s *sample, part float64) {
			s.Connections, s.rss = int(float64(s.Connections)*(1+part)), int64(float64(s.rss)*(1+part))
			s.descriptors, s.Goroutines = int(float64(s.descriptors)*(1+part)), int(float64(s.Goroutines)*(1+part))
		}, good, ""},
		{"a spike", func(s *sample, part float64) {
			if part > 0.8 && part < 0.85 {
				s.rss *= 3
			}
		}, good, ""},
		{"a fault", func(*sample, float64) {}, counts{acts: 1000, faults: 1}, "1 faults"},
		{"some refusals", func(*sample, float64) {}, counts{acts: 1000, refused: 10}, ""},
		{"many refusals", func(*sample, float64) {}, counts{acts: 1000, refused: 20}, "20 refusals"},
		{"nothing was done", func(*sample, float64) {}, counts{}, "no action succeeded"},
	} {
		all, err := growths(series(c.change), 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		switch err := judge(all, 0.10, c.end); {
		case c.wrong == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: the verdict is %v, want %q", c.name, err, c.wrong)
		}
	}
}

func TestVerdictWantsEnough(t *testing.T) {
	if _, err := growths(series(func(*sample, float64) {})[:60+minSamples-1], 2*time.Minute+1); err == nil {
		t.Error("a verdict on too few samples")
	}
}

func TestGrowthIsOfMedians(t *testing.T) {
	// 90 samples count: the middle third has 31 to 60 connections' worth, the last 61 to 90.
	var all []sample
	for i := range 100 {
		s := sample{at: time.Duration(i) * time.Second, rss: int64(i-9) * 1000}
		s.Connections = 1
		all = append(all, s)
	}
	got, err := growths(all, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if g := got[0]; g.middle != 45 || g.last != 75 {
		t.Errorf("medians %v and %v, want 45 and 75", g.middle, g.last)
	}
}

func TestQuantile(t *testing.T) {
	values := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for part, want := range map[float64]time.Duration{0.5: 5, 0.99: 10, 0.9: 9, 0: 1} {
		if got := quantile(values, part); got != want {
			t.Errorf("quantile %v is %v, want %v", part, got, want)
		}
	}
}
