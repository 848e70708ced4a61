package main

// What benchmarks, perf and the kernel print.

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// errNoResult: a benchmark's output does not have what is looked for.
var errNoResult = errors.New("no result")

// A sample is what was measured in one run, by metric.
type sample map[string]float64

var resultLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+(\d+)\s+(.+)$`)

// parseResult finds a benchmark's line in the output of a test binary: pairs of a number and a unit.
func parseResult(output, name string) (sample, error) {
	for line := range strings.Lines(output) {
		parts := resultLine.FindStringSubmatch(strings.TrimSpace(line))
		if parts == nil || parts[1] != name {
			continue
		}
		fields, s := strings.Fields(parts[3]), sample{}
		if len(fields)%2 != 0 {
			return nil, fmt.Errorf("%w of Benchmark%s: a number without a unit in %q", errNoResult, name, line)
		}
		for i := 0; i < len(fields); i += 2 {
			number, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%w of Benchmark%s: %w", errNoResult, name, err)
			}
			s[fields[i+1]] = number
		}
		return s, nil
	}
	return nil, fmt.Errorf("%w of Benchmark%s", errNoResult, name)
}

// parsePerf reads what `perf stat -x,` has counted. An event that it could not count is not in the answer.
func parsePerf(output string) map[string]float64 {
	counts := map[string]float64{}
	for line := range strings.Lines(output) {
		fields := strings.Split(line, ",")
		if len(fields) < 3 || strings.HasPrefix(line, "#") {
			continue
		}
		if number, err := strconv.ParseFloat(fields[0], 64); err == nil { // else <not supported>, <not counted>
			counts[fields[2]] = number
		}
	}
	return counts
}

// parseIO reads /proc/PID/io, proc_pid_io(5).
func parseIO(content string) map[string]float64 {
	counts := map[string]float64{}
	for line := range strings.Lines(content) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		if number, err := strconv.ParseFloat(value, 64); found && err == nil {
			counts[name] = number
		}
	}
	return counts
}
