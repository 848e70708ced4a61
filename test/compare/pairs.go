package main

// The order of the runs, and what becomes of their figures.

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// A comparison runs benchmarks in pairs.
type comparison struct {
	pairs    int
	measure  func(context.Context, side, benchmark) (sample, error)
	progress io.Writer
}

// A result is what was found of a benchmark: rows, or why there are none.
type result struct {
	benchmark benchmark
	rows      []row
	broken    side // that failed
	err       error
}

// A row is what was found of a metric.
type row struct {
	metric
	base, head float64 // medians
	estimate   estimate
	again      bool // it was called slower, and this is what new pairs say
}

func (r row) verdict() verdict { return r.estimate.verdict(r.kind) }

// samples are the runs of a benchmark, by side, in the order of the pairs.
type samples [sides][]sample

// run compares benchmarks. What is called slower is measured again, and the new pairs alone count for it.
func (c *comparison) run(ctx context.Context, benchmarks []benchmark) []result {
	results := c.round(ctx, benchmarks)
	var suspects []benchmark
	for _, r := range results {
		if slices.ContainsFunc(r.rows, func(r row) bool { return r.verdict() == slower }) {
			suspects = append(suspects, r.benchmark)
		}
	}
	if len(suspects) == 0 || ctx.Err() != nil {
		return results
	}
	fmt.Fprintf(c.progress, "%d benchmarks seem slower: they run again\n", len(suspects))
	for _, second := range c.round(ctx, suspects) {
		i := slices.IndexFunc(results, func(r result) bool { return r.benchmark.name == second.benchmark.name })
		results[i] = results[i].confirmedBy(second)
	}
	return results
}

// confirmedBy takes what new pairs say of the metrics that were called slower.
func (r result) confirmedBy(second result) result {
	if second.err != nil {
		return second
	}
	for i, first := range r.rows {
		if first.verdict() == slower {
			r.rows[i] = second.rows[i]
			r.rows[i].again = true
		}
	}
	return r
}

// round runs all pairs of all benchmarks. The two runs of a pair are neighbours, and the pairs of a benchmark lie as far
// apart as they can.
func (c *comparison) round(ctx context.Context, benchmarks []benchmark) []result {
	results, taken := make([]result, len(benchmarks)), make([]samples, len(benchmarks))
	began := time.Now()
	for pair := range c.pairs {
		fmt.Fprintf(c.progress, "pair %d of %d, after %v\n", pair+1, c.pairs, time.Since(began).Round(time.Second))
		for i, b := range benchmarks {
			order := [sides]side{base, head}
			if (pair+i)%2 == 1 {
				order = [sides]side{head, base}
			}
			for _, s := range order {
				if results[i].err != nil {
					break
				}
				one, err := c.measure(ctx, s, b)
				if err != nil {
					results[i].broken, results[i].err = s, err
				}
				taken[i][s] = append(taken[i][s], one)
			}
		}
	}
	for i, b := range benchmarks {
		results[i].benchmark = b
		if results[i].err == nil {
			results[i].rows, results[i].broken, results[i].err = rowsOf(b, taken[i])
		}
	}
	return results
}

// judged are the metrics of a benchmark: its own, then those of its process.
func (b benchmark) judged() (all []metric) {
	for _, name := range b.own {
		all = append(all, metric{name: name, kind: kindOf(name)})
	}
	for _, m := range metrics() {
		if b.counts <= m.of && !slices.Contains(b.own, m.name) {
			all = append(all, m)
		}
	}
	return all
}

// rowsOf judges the metrics of a benchmark's runs. With an error goes the side that does not report one.
func rowsOf(b benchmark, taken samples) (rows []row, broken side, err error) {
	for _, m := range b.judged() {
		var values [sides][]float64
		for _, s := range []side{base, head} {
			for _, one := range taken[s] {
				if v, there := one[m.name]; there {
					values[s] = append(values[s], v)
				} else if slices.Contains(b.own, m.name) {
					return nil, s, fmt.Errorf("%w: Benchmark%s does not report %s at the %s", errNoResult, b.name, m.name, s)
				}
			}
		}
		if len(values[head]) == 0 {
			continue // the machine does not count it, which was said
		}
		ratios := make([]float64, len(values[head]))
		for pair := range ratios {
			ratios[pair] = ratio(values[base][pair], values[head][pair], m.least)
		}
		r := row{metric: m, base: medianOf(values[base]), head: medianOf(values[head])}
		if r.estimate, err = estimateOf(ratios); err != nil {
			return nil, head, err
		}
		rows = append(rows, r)
	}
	return rows, head, nil
}

// nothing reports whether no benchmark was compared.
func nothing(results []result) bool {
	return !slices.ContainsFunc(results, func(r result) bool { return r.err == nil })
}

// anyLoss reports whether something is slower, or does not run at the head.
func anyLoss(results []result) bool {
	return slices.ContainsFunc(results, func(r result) bool {
		return r.err != nil && r.broken == head || slices.ContainsFunc(r.rows, func(r row) bool { return r.verdict() == slower })
	})
}
