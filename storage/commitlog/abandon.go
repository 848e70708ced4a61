package commitlog

// Giving up a part of the log that will not come back.

import (
	"errors"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Lost returns the names of the files that Abandon would give up: segments that are lost, or have a hole.
func (l *Log) Lost() (files []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.unavailable() {
		files = append(files, segment.Name(s.Number))
	}
	return files
}

// unavailable returns the segments of Lost. mu is held.
func (l *Log) unavailable() (segments []*logSegment) {
	for _, s := range l.sealed.list {
		if s.lost() || s.holeEnd() > 0 {
			segments = append(segments, s)
		}
	}
	return segments
}

// Abandoned reports whether Abandon has given up a segment that may have had entries of an open room, newer than all
// that the log has of it. Then the room's file may rightly have more than the log.
func (l *Log) Abandoned(namespace, room, epoch string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rooms[segment.Identify(namespace, room, epoch).Key]
	if r == nil {
		return false
	}
	for _, s := range l.sealed.list {
		if s.abandoned.Load() && (r.lastIn == nil || s.Number >= r.lastIn.Number) {
			return true
		}
	}
	return false
}

// Abandon gives up what the log may have had in lost segments and holes, and returns the names of these files. Before it, each room
// that may have had entries there gets ErrLost (new rooms too, after a crash), and the log keeps all newer segments. After it,
// these rooms go on with what there is. Acknowledged entries that were nowhere else are gone, so only an operator who has no copy
// of the files should decide it. Abandon holds across restarts. The errors are those of Sync.
func (l *Log) Abandon() (files []string, err error) {
	err = l.exclusively(func() error {
		if l.closed {
			return errClosed()
		}
		if l.active.failed || l.active.sealed {
			if err := l.rotate(); err != nil {
				return err
			}
		}
		l.mu.Lock()
		for _, s := range l.unavailable() {
			s.abandoned.Store(true)
			files = append(files, segment.Name(s.Number))
		}
		for _, r := range l.rooms {
			if errors.Is(r.lost, ErrLost) {
				r.lost = nil
			}
		}
		c, _ := l.nextCurrent(l.sealed.list, l.active.Number)
		l.mu.Unlock()
		if len(files) == 0 {
			return nil
		}
		c.segments = l.sealed.list // nothing is deleted yet
		c.first = l.sealed.oldest
		return l.dir.writeCurrent(c)
	})
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		l.o.Logger.Error("commit log: the operator has given up what was in a missing or damaged segment", "file", name)
	}
	l.mu.Lock()
	l.recovery.incomplete = false
	l.mu.Unlock()
	l.maybeShrink(true)
	return files, nil
}
