package main

import (
	"errors"
	"maps"
	"testing"
)

const output = `goos: linux
goarch: amd64
pkg: github.com/denrooms/den/storage
cpu: Some Processor
BenchmarkAction/normal/batch=16-2         	    2048	         1.717 x-bare	        57.42 µs/action	    1806 B/op	      47 allocs/op
BenchmarkAction/normal/batch=1-2         	    4096	         2.5 x-bare	         1e+03 µs/action	    1807 B/op	      48 allocs/op
--- BENCH: BenchmarkAction/normal/batch=1-2
    bench_test.go:1: something said
BenchmarkPlain 	       8	  335252 ns/op
BenchmarkBad 	       8	  335252 ns/op 3
BenchmarkWords 	       8	  many ns/op
PASS
`

func TestParseResult(t *testing.T) {
	for name, want := range map[string]sample{
		"Action/normal/batch=1":  {"x-bare": 2.5, "µs/action": 1000, "B/op": 1807, "allocs/op": 48},
		"Action/normal/batch=16": {"x-bare": 1.717, "µs/action": 57.42, "B/op": 1806, "allocs/op": 47},
		"Plain":                  {"ns/op": 335252},
	} {
		if got, err := parseResult(output, name); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"Action", "Action/normal", "Pl", "Bad", "Words", ""} {
		if got, err := parseResult(output, name); !errors.Is(err, errNoResult) {
			t.Errorf("%q: %v, %v, want %v", name, got, err, errNoResult)
		}
	}
}

func TestParsePerf(t *testing.T) {
	got := parsePerf("# started on Sun Nov 29 04:05:49 2026\n\n<not supported>,,instructions:u,0,100.00,,\n535,,raw_syscalls:sys_enter,16769011,100.00,,\n" +
		"0,,syscalls:sys_enter_fsync,16769011,100.00,,\n<not counted>,,cycles:u,0,0.00,,\n")
	if want := map[string]float64{"raw_syscalls:sys_enter": 535, "syscalls:sys_enter_fsync": 0}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParseIO(t *testing.T) {
	got := parseIO("rchar: 124538\nwchar: 102592\nsyscr: 137\nwrite_bytes: 102400\nnew: words\n\n")
	if want := map[string]float64{"rchar": 124538, "wchar": 102592, "syscr": 137, "write_bytes": 102400}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestKindOf(t *testing.T) {
	for name, want := range map[string]kind{
		"ns/op": isTime, "p50-µs": isTime, "room-ns/delivery": isTime, "µs/action": isTime, "ms/live": isTime, "cpu-µs/op": isTime,
		"B/op": isCount, "B/socket": isCount, "allocs/op": isCount, "log-B/op": isCount, "syncs/op": isCount,
	} {
		if got := kindOf(name); got != want {
			t.Errorf("%s is of kind %v, want %v", name, got, want)
		}
	}
	for _, m := range metrics() {
		if kindOf(m.name) != m.kind {
			t.Errorf("%s is of kind %v in the table, %v by its name", m.name, m.kind, kindOf(m.name))
		}
	}
}
