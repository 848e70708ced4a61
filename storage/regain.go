package storage

// The file of a room that is in the commit log only: one that a crash has left without a file, or whose file an operator
// has removed. All that the log has goes into it before it gets its name. What a file once had is not kept in the log,
// and may go at any moment: a file that had the first transactions only could not be completed later.

import (
	"errors"
	"fmt"
	"io"

	"github.com/denrooms/den/storage/vfs"
)

// regain makes the file of a room that is in the log only, and tells whether there was one.
func regain(o Options) (bool, error) {
	if o.Log == nil {
		return false, nil
	}
	return inLog(o, func(room RoomLog, content []byte) error {
		first, _, err := room.Range()
		if err != nil {
			return err
		}
		return makeWith(o, content, func(f vfs.File) error {
			return onward(f, room, first, uint32(len(content)/pageSize))
		})
	})
}

// onward applies the transactions that the log has after one to a file that has that many pages, as that one left them.
func onward(f vfs.File, room RoomLog, after uint64, pages uint32) error {
	next := after + 1
	return room.Replay(after, func(e LogEntry) error {
		if e.Number != next {
			return fmt.Errorf("%w: transaction %d comes where %d should", ErrLogMismatch, e.Number, next)
		}
		next++
		p, err := parsePayload(e.Payload)
		if err != nil {
			return err
		}
		if !p.whole && p.before != pages {
			return fmt.Errorf("%w: transaction %d begins with %d pages, the file has %d", ErrLogMismatch, e.Number, p.before, pages)
		}
		page := make([]byte, pageSize)
		err = p.each(func(number, sum uint32, difference []byte) error {
			at := int64(number-1) * pageSize
			clear(page)
			if !p.whole && number <= pages {
				if _, err := f.ReadAt(page, at); err != nil && !errors.Is(err, io.EOF) {
					return err
				}
			}
			if err := applyChecked(page, number, sum, difference, e.Number); err != nil {
				return err
			}
			_, err := f.WriteAt(page, at)
			return err
		})
		if err != nil {
			return err
		}
		pages = p.after
		return f.Truncate(int64(pages) * pageSize)
	})
}
