package main

// One run of a benchmark, and all that can be counted of it from outside.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A kind is how a metric is judged.
type kind int

const (
	isTime  kind = iota
	isCount      // nearly the same in each run
)

// A metric is one of those that are measured of every benchmark.
type metric struct {
	name  string
	kind  kind
	least float64 // a difference of up to so much is none
	of    counts  // which benchmarks it is measured of: those with these counts, and with more
}

// metrics are those measured of a process, in the order in which they are shown. All but the allocations are divided by
// the operations.
func metrics() []metric {
	return []metric{
		{"instructions/op", isCount, 0, ofMemory}, // in user space
		{"cpu-µs/op", isTime, 0, ofMemory},        // user and system
		{"B/op", isCount, 16, ofMemory},           // allocated; go test rounds down
		{"allocs/op", isCount, 0, ofMemory},       // go test rounds down
		{"syscalls/op", isCount, 0.05, ofProcess}, // of all kinds
		{"syncs/op", isCount, 0, ofProcess},       // fsync and fdatasync
		{"writes/op", isCount, 0, ofProcess},      // write, pwrite and their like
		{"written-B/op", isCount, 16, ofProcess},  // given to those, for sockets too
		{"disk-B/op", isCount, 16, ofProcess},     // of the system's pages that must be written for it
	}
}

// perfEvents are what perf counts for a metric.
func perfEvents() map[string][]string {
	return map[string][]string{
		"instructions/op": {"instructions:u"},
		"syscalls/op":     {"raw_syscalls:sys_enter"},
		"syncs/op":        {"syscalls:sys_enter_fsync", "syscalls:sys_enter_fdatasync"},
	}
}

// ioCounts are the lines of /proc/self/io for a metric.
func ioCounts() map[string]string {
	return map[string]string{"writes/op": "syscw", "written-B/op": "wchar", "disk-B/op": "write_bytes"}
}

const (
	procIO  = "/proc/self/io" // what reaped children have done is in it
	runTime = 5 * time.Minute // at most
)

// A meter runs benchmarks. What the machine cannot count is in missing.
type meter struct {
	tmp     string            // where the benchmarks' files are
	place   string            // what is to be known of that
	perfOut string            // where perf writes
	events  []string          // that perf counts; none: it is not used
	missing map[string]string // why, by metric
}

// memoryDir is where Linux has files in memory, and memoryNeeded how much the benchmarks may need there.
const (
	memoryDir    = "/dev/shm"
	memoryNeeded = 256 << 20
)

// newMeter tries what can be counted here. out is for what is counted, dir for the benchmarks' files; if it is empty they
// are in memory where there is enough of that. The caller closes it.
func newMeter(ctx context.Context, out, dir string) (*meter, error) {
	m := &meter{perfOut: filepath.Join(out, "perf.txt"), missing: map[string]string{}}
	if err := m.settle(dir); err != nil {
		return nil, err
	}
	if _, err := os.ReadFile(procIO); err != nil {
		for name := range ioCounts() {
			m.missing[name] = "the system has no " + procIO
		}
	}
	for name, events := range perfEvents() {
		if err := m.try(ctx, events); err != nil {
			m.missing[name] = err.Error()
		} else {
			m.events = append(m.events, events...)
		}
	}
	slices.Sort(m.events)
	return m, nil
}

// settle makes a directory for the benchmarks' files.
func (m *meter) settle(dir string) (err error) {
	if dir != "" {
		m.place = "files are in " + dir + ": times are those of its disk"
		m.tmp, err = os.MkdirTemp(dir, "den-compare-")
		return err
	}
	if m.tmp, err = os.MkdirTemp(memoryDir, "den-compare-"); err == nil {
		if err = hasRoom(m.tmp); err == nil {
			m.place = "files are in memory (" + memoryDir + "): times are without a disk, for which syncs and bytes are counted"
			m.missing["disk-B/op"] = "there is no disk"
			return nil
		}
		m.close()
	}
	m.place = fmt.Sprintf("files are in %s, because there is no room for them in memory (%v): times are those of its disk, and its noise", os.TempDir(), err)
	m.tmp, err = os.MkdirTemp("", "den-compare-")
	return err
}

// hasRoom tries whether a directory has room for what the benchmarks write.
func hasRoom(dir string) error {
	f, err := os.Create(filepath.Join(dir, "room"))
	if err != nil {
		return err
	}
	piece := make([]byte, 1<<20)
	for n := 0; n < memoryNeeded && err == nil; n += len(piece) {
		_, err = f.Write(piece)
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// close takes the benchmarks' files away.
func (m *meter) close() { os.RemoveAll(m.tmp) } // what is left is no concern of the comparison's

// errNotCounted: perf is there, and does not count.
var errNotCounted = errors.New("not counted by perf here")

// try reports whether perf counts events on this machine.
func (m *meter) try(ctx context.Context, events []string) error {
	cmd := exec.CommandContext(ctx, "perf", "stat", "-x,", "-o", m.perfOut, "-e", strings.Join(events, ","), "--", "true")
	if err := cmd.Run(); errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no perf")
	}
	counted, err := os.ReadFile(m.perfOut)
	if err != nil {
		return errNotCounted
	}
	counts := parsePerf(string(counted))
	for _, event := range events {
		if _, there := counts[event]; !there {
			return fmt.Errorf("%s is %w", event, errNotCounted)
		}
	}
	return nil
}

// notes say what is counted and what is not.
func (m *meter) notes() (notes []string) {
	notes = append(notes, m.place)
	var counted, missing []string
	for _, of := range metrics() {
		if why, is := m.missing[of.name]; is {
			missing = append(missing, fmt.Sprintf("%s (%s)", of.name, why))
		} else {
			counted = append(counted, of.name)
		}
	}
	notes = append(notes, "counted: "+strings.Join(counted, ", "))
	if len(missing) > 0 {
		notes = append(notes, "NOT COUNTED on this machine: "+strings.Join(missing, ", "))
	}
	if _, is := m.missing["instructions/op"]; is {
		notes = append(notes, "cpu-µs/op stands in for instructions; it is a time, and less exact")
	}
	return notes
}

// run runs a benchmark once.
func (m *meter) run(ctx context.Context, s builtSide, b benchmark) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	binary := s.binaries[b.pkg]
	args := []string{binary, "-test.run=^$", "-test.bench=" + exactly(b.name), fmt.Sprintf("-test.benchtime=%dx", b.times), "-test.benchmem", "-test.timeout=5m"}
	if len(m.events) > 0 {
		args = append([]string{"perf", "stat", "-x,", "-o", m.perfOut, "-e", strings.Join(m.events, ","), "--"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = filepath.Join(s.root, b.pkg), append(cleanEnvironment(os.Environ()), "TMPDIR="+m.tmp)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // perf takes its child along
	cmd.WaitDelay = 5 * time.Second
	before := m.readIO()
	output, err := cmd.CombinedOutput()
	after := m.readIO()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s at the %s: %w\n%s", b.name, s.name, err, beginning(string(output)))
	}
	result, err := parseResult(string(output), b.name)
	if err != nil {
		return nil, fmt.Errorf("at the %s: %w in\n%s", s.name, err, beginning(string(output)))
	}
	for _, name := range []string{"B/op", "allocs/op"} {
		result[name] /= float64(max(b.ops, 1))
	}
	for name, total := range m.totals(before, after, cmd.ProcessState) {
		if _, own := result[name]; !own { // a benchmark knows better, because it leaves out what came before
			result[name] = total / float64(b.times*max(b.ops, 1))
		}
	}
	return result, nil
}

// totals are what a process has done that was started and has ended between two readings of /proc/self/io.
func (m *meter) totals(before, after map[string]float64, ended *os.ProcessState) map[string]float64 {
	totals := map[string]float64{"cpu-µs/op": float64((ended.UserTime() + ended.SystemTime()).Microseconds())}
	for name, line := range ioCounts() {
		if _, is := m.missing[name]; !is {
			totals[name] = after[line] - before[line]
		}
	}
	counted, _ := os.ReadFile(m.perfOut) // without perf there is none
	counts := parsePerf(string(counted))
	for name, events := range perfEvents() {
		if _, is := m.missing[name]; is {
			continue
		}
		for _, event := range events {
			totals[name] += counts[event]
		}
	}
	return totals
}

func (m *meter) readIO() map[string]float64 {
	content, _ := os.ReadFile(procIO) // that there is none was found out before
	return parseIO(string(content))
}

// beginning is as much of an output as somebody wants to read.
func beginning(output string) string {
	const most = 10
	lines := strings.SplitAfterN(output, "\n", most+1)
	if len(lines) > most {
		lines[most] = "…\n"
	}
	return strings.Join(lines, "")
}

// exactly is a pattern for one benchmark alone.
func exactly(name string) string {
	return "^Benchmark" + strings.ReplaceAll(name, "/", "$/^") + "$"
}

// cleanEnvironment leaves out what would make a benchmark do more.
func cleanEnvironment(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "DEN_BENCH_") })
}
