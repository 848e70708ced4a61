package main

import (
	"fmt"
	"io"
	"math"
	"time"
)

// A fate is what has become of a mutant.
type fate int

const (
	fateCaught     fate = iota // a test failed
	fateLate                   // the tests did not end in time
	fateSurvived               // no test failed
	fateUnreached              // no test reaches it
	fateEquivalent             // it is in the list
	fateInvalid                // it does not compile
)

func (f fate) String() string {
	return [...]string{"caught", "late", "SURVIVED", "UNREACHED", "equivalent", "invalid"}[f]
}

// An outcome is a mutant's fate and how it came.
type outcome struct {
	fate
	by    string // the package and tests that found it
	unrun string // tests that could have found it and were not run
}

func (o outcome) String() string {
	if o.by != "" {
		return o.fate.String() + " by " + o.by
	}
	return o.fate.String() + o.unrun
}

// A result is what came of a package's sample.
type result struct {
	pkg       string
	counts    map[fate]int
	survivors []string
	took      time.Duration
}

func (r *result) add(m mutant, o outcome) {
	r.counts[o.fate]++
	if o.fate == fateSurvived || o.fate == fateUnreached {
		r.survivors = append(r.survivors, fmt.Sprintf("%s: %s\n    %s", o, m, equivalenceOf(m).line()))
	}
}

// tried are those that count.
func (r result) tried() (caught, all int) {
	caught = r.counts[fateCaught] + r.counts[fateLate]
	return caught, caught + r.counts[fateSurvived] + r.counts[fateUnreached]
}

func (r result) rate() float64 {
	caught, all := r.tried()
	if all == 0 {
		return 0
	}
	return float64(caught) / float64(all)
}

// wilson is the interval of a rate at 95 %.
func wilson(hits, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.959964
	p, m := float64(hits)/float64(n), float64(n)
	middle := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, middle-half), min(1, middle+half)
}

func (r result) write(w io.Writer) {
	caught, all := r.tried()
	low, high := wilson(caught, all)
	fmt.Fprintf(w, "%s: %d of %d caught, %.0f %% [%.0f %%, %.0f %%], %d of them by the time limit; %d unreached, %d equivalent, %d did not compile; %s\n",
		r.pkg, caught, all, 100*r.rate(), 100*low, 100*high, r.counts[fateLate], r.counts[fateUnreached], r.counts[fateEquivalent],
		r.counts[fateInvalid], r.took.Round(time.Second))
	for _, s := range r.survivors {
		fmt.Fprintf(w, "  %s\n", s)
	}
}
