package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "make the run of one seed, and show all that happens in it")
	seedsFlag = flag.Int("sim.seeds", 0, "how many runs TestSimulation makes; 0: 2000, 400 with -short, 15 under the race detector")
	firstFlag = flag.Uint64("sim.first", 1, "the first seed of them")
	linesFlag = flag.Int("sim.lines", 60, "how much of the end of a failing run is shown, in lines")
	forFlag   = flag.Duration("sim.for", 0, "begin no run after so long; the seeds are then as many as it takes, from the clock's")
)

// A range of seeds, and when to begin no further one.
type seeds struct {
	First uint64
	Step  uint64
	Count int // 0: until the end
	Until time.Time
	// Test is the test that makes the runs, and Torture what it makes.
	Test    string
	Torture bool
}

// A report is what a process says of its seeds.
type report struct {
	Runs     int
	Stats    stats
	Failures []string
}

// shardVariable has the seeds of a process that is a part of TestSimulation, as JSON. SQLite's random numbers are the
// process's, so runs at the same time are in processes of their own.
const shardVariable = "DEN_SIM_SHARD"

// shardMark stands before a part's report.
const shardMark = "sim report: "

// maxFailures is after how many failures a part gives up: shrinking takes time.
const maxFailures = 3

// TestSimulation makes runs from seeds, and checks after each what the package's doc says. `-sim.seed n` shows one.
func TestSimulation(t *testing.T) {
	if part := os.Getenv(shardVariable); part != "" {
		shard(t, part)
		return
	}
	if *seedFlag != 0 {
		show(t, plan{seed: *seedFlag, verbose: true})
		return
	}
	began := time.Now()
	total := simulate(t, limits(t, began))
	for _, f := range total.Failures {
		t.Error(f)
	}
	t.Logf("%d runs in %v: %+v", total.Runs, time.Since(began).Round(time.Millisecond), total.Stats)
	total.Stats.complain(t, total.Runs)
}

// show makes the run of one seed, and tells all that happens in it.
func show(t *testing.T, p plan) {
	t.Helper()
	o := run(t, p)
	t.Logf("%s\n%s: %+v", o.log, o.climate, o.stats)
	if o.failure != "" {
		t.Error(explain(t, p, o))
	}
}

func limits(t *testing.T, now time.Time) seeds {
	s := seeds{First: *firstFlag, Count: *seedsFlag, Test: t.Name()}
	switch {
	case *forFlag > 0:
		s.First, s.Count, s.Until = uint64(now.UnixNano()), 0, now.Add(*forFlag)
	case s.Count == 0 && raceEnabled:
		s.Count = 15
	case s.Count == 0 && testing.Short():
		s.Count = 400
	case s.Count == 0:
		s.Count = 2000
	}
	return s
}

// simulate runs the seeds, on as many processes as there are processors.
func simulate(t *testing.T, all seeds) (total report) {
	t.Helper()
	parts := runtime.GOMAXPROCS(0)
	if all.Count > 0 && all.Count <= 30 {
		all.Step = 1
		return all.run(t)
	}
	var mu sync.Mutex
	var done sync.WaitGroup
	for i := range parts {
		part := all
		part.First, part.Step, part.Count = all.First+uint64(i), uint64(parts), (all.Count+parts-1-i)/parts
		done.Go(func() {
			r := part.process(t)
			mu.Lock()
			defer mu.Unlock()
			total.Runs += r.Runs
			total.Stats.add(r.Stats)
			total.Failures = append(total.Failures, r.Failures...)
		})
	}
	done.Wait()
	return total
}

// process runs seeds in processes of their own: one, and another one where a seed ends it.
func (s seeds) process(t *testing.T) (total report) {
	for {
		r, last := s.attempt(t)
		total.Runs += r.Runs
		total.Stats.add(r.Stats)
		total.Failures = append(total.Failures, r.Failures...)
		if last == 0 || s.Count > 0 && last >= s.First+s.Step*uint64(s.Count-1) || len(total.Failures) >= maxFailures {
			return total
		}
		if s.Count > 0 {
			s.Count -= int((last-s.First)/s.Step) + 1
		}
		s.First = last + s.Step
	}
}

// attempt runs seeds in a process. died is the seed that ended it, 0 for none.
func (s seeds) attempt(t *testing.T) (r report, died uint64) {
	self, err := os.Executable()
	if err != nil {
		return report{Failures: []string{err.Error()}}, 0
	}
	part, err := json.Marshal(s)
	if err != nil {
		return report{Failures: []string{err.Error()}}, 0
	}
	cmd := exec.CommandContext(context.Background(), self, "-test.run=^"+s.Test+"$", "-test.timeout=0", "-test.v", "-sim.without="+*withoutFlag)
	cmd.Env = append(os.Environ(), shardVariable+"="+string(part), "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if _, text, found := strings.Cut(string(out), shardMark); found {
		text, _, _ = strings.Cut(text, "\n")
		err = json.Unmarshal([]byte(text), &r)
	} else {
		died, out = lastSeed(out)
		err = fmt.Errorf("seed %d ended the process: %w\nagain with -run %s -sim.seed %[1]d\n%[4]s", died, err, s.Test, out)
	}
	if err != nil {
		r.Failures = append(r.Failures, err.Error())
	}
	return r, died
}

// seedMark stands before the number of a seed that a part begins.
const seedMark = "sim seed: "

// lastSeed is the seed that a part began last, and what came after that.
func lastSeed(out []byte) (seed uint64, rest []byte) {
	_, rest, found := cutLast(out, []byte(seedMark))
	if !found {
		return 0, out
	}
	digits, rest, _ := bytes.Cut(rest, []byte("\n"))
	seed, _ = strconv.ParseUint(string(digits), 10, 64)
	return seed, rest
}

func cutLast(b, sep []byte) (before, after []byte, found bool) {
	if i := bytes.LastIndex(b, sep); i >= 0 {
		return b[:i], b[i+len(sep):], true
	}
	return b, nil, false
}

// shard is a part's side.
func shard(t *testing.T, part string) {
	var s seeds
	if err := json.Unmarshal([]byte(part), &s); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(s.run(t))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", shardMark, data)
}

func (s seeds) run(t *testing.T) (r report) {
	for seed := s.First; s.Count == 0 || r.Runs < s.Count; seed += s.Step {
		if !s.Until.IsZero() && !time.Now().Before(s.Until) {
			break
		}
		if os.Getenv(shardVariable) != "" {
			fmt.Printf("%s%d\n", seedMark, seed)
		}
		p := plan{seed: seed, torture: s.Torture}
		o := run(t, p)
		r.Runs++
		r.Stats.add(o.stats)
		if o.failure == "" {
			continue
		}
		r.Failures = append(r.Failures, explain(t, p, o))
		if len(r.Failures) == maxFailures {
			break
		}
	}
	return r
}

// complain fails the test when the runs were not what they should be: a simulation in which nothing happens finds nothing.
func (s stats) complain(t *testing.T, runs int) {
	t.Helper()
	for what, n := range map[string]int{"acknowledged actions": s.Acked, "refused actions": s.Refused, "power cuts": s.Cuts,
		"kills": s.Kills, "disk faults": s.Faults, "ends of rooms' lives": s.Lives, "restores": s.Restores, "alarms": s.Alarms, "broken links": s.Breaks} {
		if runs >= 100 && n < runs/10 {
			t.Errorf("%d runs had only %d %s", runs, n, what)
		}
	}
}

// TestDeterministic: the same seed gives the same events, frames and bytes on the disk, so that a failing seed can be
// looked at.
func TestDeterministic(t *testing.T) {
	n := 40
	if raceEnabled || testing.Short() {
		n = 4
	}
	sameAgain(t, n, plan{})
}

// sameAgain makes runs of some seeds twice.
func sameAgain(t *testing.T, n int, p plan) {
	t.Helper()
	different := make(map[string]bool)
	for i := range n {
		p.seed = *firstFlag + uint64(i)
		one, two := run(t, p), run(t, p)
		if one.sum != two.sum {
			t.Errorf("seed %d: two runs differ", p.seed)
		}
		different[one.sum] = true
	}
	if len(different) != n {
		t.Errorf("%d seeds gave %d runs", n, len(different))
	}
}
