package main

import "regexp"

// A benchmark is one that is compared.
type benchmark struct {
	name   string   // without "Benchmark"; parts of sub-benchmarks are separated by slashes
	pkg    string   // its directory
	times  int      // how often it does its operation: a second's worth
	ops    int      // of what is counted in one operation; 0 is 1
	own    []string // what it reports itself, and less of which is better
	counts counts
	reason string
}

// counts says which counts of a run are those of Den.
type counts int

const (
	ofProcess counts = iota // all of what the process and its children do
	ofMemory                // processor time and allocations: nothing else is done
	ofNobody                // what is done is not what is measured
)

// benchmarks are all that are compared. What they have in common: they take a second or less, they are the usual way
// through Den or one that was slow once, and little of what they do is not Den's.
func benchmarks() []benchmark {
	const bench = "test/bench"
	times := []string{"p2-µs", "p50-µs"}
	return []benchmark{
		{name: "PlainCommit", pkg: bench, times: 6000, own: times,
			reason: "one durable action at a time is what a person in a room feels"},
		{name: "PlainUpdate", pkg: bench, times: 6000, own: times,
			reason: "most actions change a row that exists, in a room that is small"},
		{name: "PlainManyRooms", pkg: bench, times: 300, ops: 64, own: times,
			reason: "what a node can do: many rooms share the log's syncs"},
		{name: "PlainOneRoom", pkg: bench, times: 500, ops: 64, own: times,
			reason: "what a room can do: many actions share a batch"},
		{name: "PlainSocket", pkg: bench, times: 3000, own: times,
			reason: "the whole way, from a socket to the reply"},
		{name: "PlainFanOut", pkg: bench, times: 500, own: times,
			reason: "one action, and all who see it"},
		{name: "PlainResume", pkg: bench, times: 400, own: times,
			reason: "after each lost connection a client resumes"},
		{name: "PlainFirstSync", pkg: bench, times: 300, own: times,
			reason: "each visit begins with it, and it moves the most bytes"},
		{name: "PlainWake", pkg: bench, times: 500, own: times,
			reason: "rooms sleep most of the time; the first action must not show it"},
		{name: "PlainNewRoom", pkg: bench, times: 800, own: times,
			reason: "a file is made, with its tables, while somebody waits"},
		{name: "PlainParked", pkg: bench, times: 1, own: []string{"B/socket"}, counts: ofNobody,
			reason: "memory for a quiet socket decides how many a node holds; what opening them costs is others' to measure"},
		{name: "PlainAppend", pkg: bench, times: 40_000, own: times,
			reason: "one append and its sync, under all that is durable"},
		{name: "PlainAppends", pkg: bench, times: 2000, ops: 64, own: times,
			reason: "rooms append at once: the log's groups"},
		{name: "PlainStorage", pkg: bench, times: 10_000, own: times,
			reason: "a commit without a room: SQLite, its changes, the log"},
		{name: "UpdateBytes", pkg: "storage", times: 2000, own: []string{"log-B/op", "syncs/op", "wal-B/op"},
			reason: "what a change of 100 bytes becomes on the disk"},
		{name: "PlainDecode", pkg: bench, times: 10_000, ops: 100, own: times, counts: ofMemory,
			reason: "each message passes it"},
	}
}

// choose gives the benchmarks whose names a pattern matches.
func choose(all []benchmark, pattern *regexp.Regexp) (chosen []benchmark) {
	for _, b := range all {
		if pattern.MatchString(b.name) {
			chosen = append(chosen, b)
		}
	}
	return chosen
}
