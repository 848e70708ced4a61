// Package edges sets hostile clients beside honest ones in a server with default options, and looks whether the honest
// ones notice. Each hostile client draws one strategy after another: it floods, reads nothing, breaks off in the middle
// of a frame, sends what panics, or what no WebSocket may carry.
//
// The hostile clients run in a process of their own, see process_test.go.
//
// TestEdges holds that no honest action is lost or counted twice, that no honest client is cut off, that the heap stays
// below its limit, and that all goroutines and descriptors are given back. It prints the ratio of the honest clients' 99th
// percentile with and without the hostile ones; -edges.ratio makes a limit of it. `make soak-edges` is the long form.
package edges
