package storage

// The file of a room that only the commit log has, because of a crash or because an operator removed the file. All entries go into
// the new file before it gets its name. Otherwise a crash could leave a file with the first transactions only, which the log, having
// released the rest, could not complete.

import (
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/vfs"
)

// recoverFromLog makes the file of a room that only the log has, and reports whether there was one.
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
