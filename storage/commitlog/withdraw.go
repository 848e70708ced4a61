package commitlog

// A write that has failed leaves nothing behind.

import (
	"errors"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// undoWrite takes back what a write that has failed has left of a group, so that none of it is
// found after a crash, by those who were told that it was not written. If that fails too nobody knows
// what is there: the segment is written again from the start before anything else is, and the error is ErrIO alone.
func (l *Log) undoWrite(err error) error {
	a, what := l.active, "writing "+segment.Name(l.active.Number)
	if failed := l.removeRest(a, l.writer.End()); failed != nil {
		l.mu.Lock()
		a.failed = true
		l.mu.Unlock()
		l.o.Logger.Error("commit log: a write failed, and what it has left cannot be removed", "file", segment.Name(a.Number), "error", failed)
		return unknownOutcome(what, errors.Join(segment.NotFull(err), segment.NotFull(failed)))
	}
	return unwritten(failure(what, err))
}

// removeRest removes what lies after the records, up to an offset, and syncs that. On a full disk it can
// be overwritten, or cut off: that takes no space.
func (l *Log) removeRest(a *active, to int64) error {
	size, err := l.o.FS.Size(l.path(a.Number))
	if err != nil {
		return err
	}
	if size-a.end > 2*maxPrealloc || a.overwriteRest(min(size, to)) != nil { // others may need the space
		if err := a.file.Truncate(a.end); err != nil {
			return err
		}
		a.allocated = a.end
	}
	if err := l.sync(a.file); err != nil {
		return err
	}
	a.synced = a.end
	return nil
}

// overwriteRest overwrites with zeros what lies after the records.
func (a *active) overwriteRest(to int64) error {
	for at := a.end; at < to; {
		n, err := a.file.WriteAt(a.zeros[:min(to-at, int64(len(a.zeros)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
