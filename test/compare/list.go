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

// benchmarks are all that are compared. What they have in common: they take a second or two each, they are the usual way
// through Den or one that was slow once, and little of what they do is not Den's.
func benchmarks() []benchmark {
	const bench, storage = "test/bench", "storage"
	p50 := []string{"p50-µs"}
	return []benchmark{
		{name: "PlainCommit", pkg: bench, times: 2000, own: p50,
			reason: "one durable action at a time is what a person in a room feels"},
		{name: "PlainUpdate", pkg: bench, times: 2000, own: p50,
			reason: "most actions change a row that exists, in a room that is small"},
		{name: "PlainManyRooms", pkg: bench, times: 6, ops: 1024, own: p50,
			reason: "what a node can do: many rooms share the log's syncs"},
		{name: "PlainOneRoom", pkg: bench, times: 6, ops: 2048, own: p50,
			reason: "what a room can do: many actions share a batch"},
		{name: "PlainSocket", pkg: bench, times: 1500, own: p50,
			reason: "the whole way, from a socket to the reply"},
		{name: "RoomBroadcast", pkg: "transport", times: 20, ops: 1000, own: []string{"room-ns/delivery"},
			reason: "fan-out: one action, a thousand sockets"},
		{name: "PlainResume", pkg: bench, times: 150, own: p50,
			reason: "after each lost connection a client resumes"},
		{name: "PlainFirstSync", pkg: bench, times: 40, own: p50,
			reason: "each visit begins with it, and it moves the most bytes"},
		{name: "PlainWake", pkg: bench, times: 200, own: p50,
			reason: "rooms sleep most of the time; the first action must not show it"},
		{name: "PlainNewRoom", pkg: bench, times: 200, own: p50,
			reason: "a file is made, with its tables, while somebody waits"},
		{name: "PlainParked", pkg: bench, times: 1, own: []string{"B/socket"}, counts: ofNobody,
			reason: "memory for a quiet socket decides how many a node holds; what opening them costs is others' to measure"},
		{name: "Append", pkg: "storage/commitlog", times: 1000, own: p50,
			reason: "one append and its sync, under all that is durable; half of its counts are those of its floor"},
		{name: "AppendParallel", pkg: "storage/commitlog", times: 60_000, own: []string{"ns/op"},
			reason: "64 rooms append at once: the log's groups"},
		{name: "Action/normal/batch=1", pkg: storage, times: 4096, own: []string{"µs/action", "µs/logged"},
			reason: "the processor's part of a commit, without a disk"},
		{name: "UpdateBytes", pkg: storage, times: 1000, own: []string{"log-B/op", "syncs/op", "wal-B/op"},
			reason: "what a change of 100 bytes becomes on the disk"},
		{name: "DecodeAction", pkg: "syncproto", times: 200_000, own: []string{"ns/op"}, counts: ofMemory,
			reason: "each message passes it, and there is no noise of a disk in it"},
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
