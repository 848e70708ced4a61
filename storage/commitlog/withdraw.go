package commitlog

// A write that has failed leaves nothing behind.

import (
	"errors"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// withdraw takes back what a write that has failed has left of a group, so that none of it is
// found after a crash, by those who were told that it was not written. If that fails too nobody knows
// what is there: the segment is written again from the start before anything else is, and the error is ErrIO alone.
func (l *Log) withdraw(err error) error {
	a, what := l.active, "writing "+segment.Name(l.active.Number)
	if failed := l.scrub(a, l.out.End()); failed != nil {
		l.mu.Lock()
		a.bad = true
		l.mu.Unlock()
		l.o.Logger.Error("commit log: a write failed, and what it has left cannot be removed", "file", segment.Name(a.Number), "error", failed)
		return unknown(what, errors.Join(segment.Undecided(err), segment.Undecided(failed)))
	}
	return unwritten(failure(what, err))
}

// scrub removes what lies after the records, up to an offset, and syncs that. On a full disk it can
// be overwritten, or cut off: that takes no space.
func (l *Log) scrub(a *active, to int64) error {
	size, err := l.o.FS.Size(l.path(a.Number))
	if err != nil {
		return err
	}
	if size-a.end > 2*mostZeros || a.blankOut(min(size, to)) != nil { // others may need the space
		if err := a.file.Truncate(a.end); err != nil {
			return err
		}
		a.zeroed = a.end
	}
	if err := l.sync(a.file); err != nil {
		return err
	}
	a.synced = a.end
	return nil
}

// blankOut overwrites with zeros what lies after the records.
func (a *active) blankOut(to int64) error {
	for at := a.end; at < to; {
		n, err := a.file.WriteAt(a.blank[:min(to-at, int64(len(a.blank)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
