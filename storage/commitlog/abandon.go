package commitlog

// What an operator can do about a part of the log that is lost for good.

import (
	"errors"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Lost returns the names of the files that are missing, or damaged so that it is not known whose entries
// were there, and that rooms may need: those that Abandon would give up.
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
	for _, s := range l.segments {
		if s.lost() || s.holeEnd() > 0 {
			segments = append(segments, s)
		}
	}
	return segments
}

// Abandoned reports whether Abandon has given up a file that may have had entries of an open room which are
// newer than all that the log has of it. Then the room's own file may rightly have more than the log.
func (l *Log) Abandoned(namespace, room, epoch string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rooms[segment.Identify(namespace, room, epoch).Key]
	if r == nil {
		return false
	}
	for _, s := range l.segments {
		if s.abandoned.Load() && (r.lastIn == nil || s.Number >= r.lastIn.Number) {
			return true
		}
	}
	return false
}

// Abandon gives up what the log may have had where a file is missing, or is damaged so that it is
// not known whose entries were there. Until then each room that cannot show that none of them were
// its own is refused with ErrLost, new rooms too if a crash has left the file, and the log keeps all
// that is newer. After it they go on with what there is: whatever was acknowledged to a room and was
// in that place only is lost. So it is for an operator to decide, who has no copy of the file. It
// returns the names of the files, and is remembered over restarts. The errors are those of Sync.
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
		c, _ := l.nextCurrent(l.segments, l.active.Number)
		l.mu.Unlock()
		if len(files) == 0 {
			return nil
		}
		c.segments = l.segments // nothing is deleted yet
		c.first = l.first()
		return l.writeCurrent(c)
	})
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		l.o.Logger.Error("commit log: what a file had that is missing or damaged was given up", "file", name)
	}
	l.mu.Lock()
	l.recovery.incomplete = false
	l.mu.Unlock()
	l.maybeShrink(true)
	return files, nil
}
