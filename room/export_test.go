package room

// What the tests outside of the package need to know of its limits: a test that stands at a limit has to follow it.

const (
	SnapshotRows = snapshotRows
	GatherRows   = gatherRows
	PickRows     = pickRows
)

// GatherAtMost lowers a limit that takes half a million rows to be reached. There must be no rooms yet.
func GatherAtMost(h *Host, rows int) { h.gatherMost = rows }
