package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// A sample is the server at one moment, and what the clients saw since the last one.
type sample struct {
	at time.Duration // since the start
	figures
	rss         int64 // bytes
	descriptors int
	counts
	p50, p99 time.Duration // of the actions since the last sample; 0: there were none
}

// see adds what the clients saw. took is sorted.
func (s *sample) see(all counts, took []time.Duration) {
	s.counts = all
	s.p50, s.p99 = quantile(took, 0.50), quantile(took, 0.99)
}

// quantile is the smallest of the sorted values that so great a part of them does not exceed.
func quantile[T int64 | float64 | time.Duration](sorted []T, part float64) T {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

// writeCSV writes samples, one a line after the names of the columns.
func writeCSV(out io.Writer, samples []sample) error {
	w := csv.NewWriter(out)
	w.Write([]string{"seconds", "connections", "rss_bytes", "heap_bytes", "descriptors", "goroutines", "rooms_awake", "rooms_woken", "acts", "refused", "connects", "faults", "p50_ms", "p99_ms"})
	for _, s := range samples {
		ms := func(d time.Duration) string { return fmt.Sprintf("%.3f", milliseconds(d)) }
		w.Write([]string{
			fmt.Sprintf("%.1f", s.at.Seconds()), strconv.Itoa(s.Connections), strconv.FormatInt(s.rss, 10), strconv.FormatUint(s.Heap, 10),
			strconv.Itoa(s.descriptors), strconv.Itoa(s.Goroutines), strconv.Itoa(s.Awake), strconv.FormatInt(s.Lives, 10),
			strconv.Itoa(s.acts), strconv.Itoa(s.refused), strconv.Itoa(s.connects), strconv.Itoa(s.faults), ms(s.p50), ms(s.p99),
		})
	}
	w.Flush()
	return w.Error()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
