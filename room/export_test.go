package room

import (
	"context"
	"errors"
)

// What the tests outside of the package need to know of its limits: a test that stands at a limit has to follow it.

const (
	SnapshotRows = snapshotRows
	ScanRows     = scanRows
	PickRows     = pickRows
)

// MaxSnapshotRows lowers a limit that takes half a million rows to be reached. There must be no rooms yet.
func MaxSnapshotRows(h *Host, rows int) { h.node.maxSnapshotRows = rows }

// Internal runs SQL on Den's own tables of a room, between two of its turns.
func Internal(h *Host, key Key, sql string) error {
	var failed error
	err := h.node.runLive(context.Background(), key, func(r *room) { _, failed = r.db.Internal().Exec(sql) })
	return errors.Join(err, failed)
}
