package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// kindOf tells a time by its unit; what else benchmarks report are counts.
func kindOf(name string) kind {
	for _, unit := range []string{"ns", "µs", "ms"} {
		if strings.HasPrefix(name, unit+"/") || strings.HasSuffix(name, "-"+unit) || strings.Contains(name, "-"+unit+"/") {
			return isTime
		}
	}
	return isCount
}

// report writes a table, and what it comes to.
func report(w io.Writer, results []result, pairs int) {
	k, _ := ranks(pairs) // the pairs were checked
	fmt.Fprintf(w, "\n%d pairs; the interval is from the %ssmallest to the %slargest ratio\n\n", pairs, ordinal(k), ordinal(k))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "benchmark\tmetric\tbase\thead\tratio\tinterval\tverdict")
	for _, r := range results {
		for i, row := range r.rows {
			name := r.benchmark.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.3f\t%.3f – %.3f\t%s\n", name, row.name, figure(row.base), figure(row.head),
				row.estimate.median, row.estimate.low, row.estimate.high, row.words())
		}
	}
	table.Flush()
	for _, r := range results {
		if r.err != nil {
			fmt.Fprintf(w, "\nNOT COMPARED: %v\n", r.err)
		}
	}
	fmt.Fprintln(w, summary(results))
}

// words are a row's verdict, and what came before it.
func (r row) words() string {
	switch v := r.verdict(); {
	case !r.again:
		return string(v)
	case v == slower:
		return string(v) + ", in new pairs too"
	default:
		return string(v) + " in new pairs; the first ones said slower"
	}
}

func summary(results []result) string {
	var lost, compared []string
	for _, r := range results {
		for _, row := range r.rows {
			if row.verdict() == slower {
				lost = append(lost, fmt.Sprintf("%s %s × %.3f", r.benchmark.name, row.name, row.estimate.median))
			}
		}
		if r.err != nil && r.broken == head {
			lost = append(lost, r.benchmark.name+" does not run")
		}
		if r.err == nil {
			compared = append(compared, r.benchmark.name)
		}
	}
	if len(lost) > 0 {
		return "\nLOSS: " + strings.Join(lost, "; ")
	}
	if len(compared) == 0 {
		return "\nNOTHING WAS COMPARED"
	}
	return fmt.Sprintf("\nno loss in %d benchmarks", len(compared))
}

// figure writes a number with four digits.
func figure(v float64) string {
	switch {
	case v >= 1000 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	case v >= 10:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// ordinal is for what comes before "smallest": nothing is the first.
func ordinal(n int) string {
	suffix := "th"
	switch {
	case n == 1:
		return ""
	case n%100/10 == 1:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return fmt.Sprintf("%d%s ", n, suffix)
}
