package storage

// The file of a room that is in the commit log only: one that a crash has left without a file, or whose file an operator
// has removed. All that the log has goes into it before it gets its name. What a file once had is not kept in the log,
// and may go at any moment: a file that had the first transactions only could not be completed later.

import (
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/vfs"
)

// recoverFromLog makes the file of a room that is in the log only, and tells whether there was one.
func recoverFromLog(o Options) (bool, error) {
	if o.Log == nil {
		return false, nil
	}
	return inLog(o, func(room RoomLog, content []byte) error {
		first, _, err := room.Range()
		if err != nil {
			return err
		}
		return makeWith(o, content, func(f vfs.File) error {
			replay := pagelog.NewFileReplay(f, first, uint32(len(content)/pageSize))
			return room.Replay(first, func(e LogEntry) error { return pagesError(replay.Apply(e.Number, e.Payload)) })
		})
	})
}
