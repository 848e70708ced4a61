package sim

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "make the run of one seed, and show all that happens in it")
	seedsFlag = flag.Int("sim.seeds", 0, "how many runs TestSimulation makes; 0: 2000, 100 with -short, 25 under the race detector")
	firstFlag = flag.Uint64("sim.first", 1, "the first seed of them")
	forFlag   = flag.Duration("sim.for", 0, "begin no run after so long; the seeds are then as many as it takes, from the clock's")
)

// A range of seeds, and when to begin no further one.
type seeds struct {
	First uint64
	Step  uint64
	Count int // 0: until the end
	Until time.Time
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
		o := run(t, plan{seed: *seedFlag, verbose: true})
		t.Logf("%s\n%s: %+v", o.log, o.climate, o.stats)
		if o.failure != "" {
			t.Error(explain(t, *seedFlag, o))
		}
		return
	}
	began := time.Now()
	total := simulate(t, limits(began))
	for _, f := range total.Failures {
		t.Error(f)
	}
	t.Logf("%d runs in %v: %+v", total.Runs, time.Since(began).Round(time.Millisecond), total.Stats)
	total.Stats.complain(t, total.Runs)
}

func limits(now time.Time) seeds {
	s := seeds{First: *firstFlag, Count: *seedsFlag}
	switch {
	case *forFlag > 0:
		s.First, s.Count, s.Until = uint64(now.UnixNano()), 0, now.Add(*forFlag)
	case s.Count == 0 && raceEnabled:
		s.Count = 25
	case s.Count == 0 && testing.Short():
		s.Count = 100
	case s.Count == 0:
		s.Count = 2000
	}
	return s
}

// simulate runs the seeds, on as many processes as there are processors.
func simulate(t *testing.T, all seeds) (total report) {
	t.Helper()
	parts := runtime.GOMAXPROCS(0)
	if all.Count > 0 && all.Count <= 100 || parts == 1 {
		all.Step = 1
		return all.run(t)
	}
	var mu sync.Mutex
	var done sync.WaitGroup
	for i := range parts {
		part := seeds{First: all.First + uint64(i), Step: uint64(parts), Count: (all.Count + parts - 1 - i) / parts, Until: all.Until}
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

// process runs seeds in a process of its own.
func (s seeds) process(t *testing.T) (r report) {
	self, err := os.Executable()
	if err != nil {
		return report{Failures: []string{err.Error()}}
	}
	part, err := json.Marshal(s)
	if err != nil {
		return report{Failures: []string{err.Error()}}
	}
	cmd := exec.CommandContext(context.Background(), self, "-test.run=^TestSimulation$", "-test.timeout=0", "-test.v")
	cmd.Env = append(os.Environ(), shardVariable+"="+string(part), "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if _, text, found := strings.Cut(string(out), shardMark); found {
		text, _, _ = strings.Cut(text, "\n")
		err = json.Unmarshal([]byte(text), &r)
	} else {
		err = fmt.Errorf("a part said nothing: %w\n%s", err, out)
	}
	if err != nil {
		r.Failures = append(r.Failures, err.Error())
	}
	return r
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
		o := run(t, plan{seed: seed})
		r.Runs++
		r.Stats.add(o.stats)
		if o.failure == "" {
			continue
		}
		r.Failures = append(r.Failures, explain(t, seed, o))
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
	different := make(map[string]bool)
	for i := range n {
		seed := *firstFlag + uint64(i)
		one, two := run(t, plan{seed: seed}), run(t, plan{seed: seed})
		if one.sum != two.sum {
			t.Errorf("seed %d: two runs differ", seed)
		}
		different[one.sum] = true
	}
	if len(different) != n {
		t.Errorf("%d seeds gave %d runs", n, len(different))
	}
}
