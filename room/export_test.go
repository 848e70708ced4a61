package room

// What the tests outside of the package need to know of its limits: a test that stands at a limit has to follow it.

const (
	SnapshotRows = snapshotRows
	GatherRows   = gatherRows
	PickRows     = pickRows
)
