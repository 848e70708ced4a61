package commitlog

// The end of a log.

import (
	"maps"
	"slices"
)

// Close finishes the appends that came before it and ends the generation well. What the rooms have not released stays. From then on
// the methods of rooms return ErrClosed. If Close fails, the next Open finds a crash. A second call returns the same error.
func (l *Log) Close() error {
	return l.exclusively(func() error {
		if !l.closed {
			l.closeErr = l.writeCleanEnd()
			l.active.close()
			l.mu.Lock()
			l.closed = true
			l.mu.Unlock()
		}
		return l.closeErr
	})
}

// writeCleanEnd seals the active segment and writes the last CURRENT of the generation.
func (l *Log) writeCleanEnd() error {
	if err := l.sealActive(); err != nil {
		return err
	}
	l.recovery.check()
	if l.pending != nil {
		l.pending.close() // CURRENT may name it, as a segment without entries
	}
	l.mu.Lock()
	c, obsolete := l.nextCurrent(append(slices.Clone(l.sealed.list), l.active.logSegment), 0)
	c.clean = true
	for _, r := range l.rooms {
		l.pins.keep(r.id, r.spans)
		r.spans = nil
	}
	for _, name := range slices.Sorted(maps.Keys(l.pins)) {
		c.pins = append(c.pins, l.pins[name]...)
	}
	l.mu.Unlock()
	if err := l.dir.writeCurrent(c); err != nil {
		return err
	}
	l.sealed.remove(obsolete)
	return nil
}

// Sync makes durable all that was appended before it. In a Durable log all is.
func (l *Log) Sync() error {
	return l.exclusively(func() error {
		if l.closed {
			return errClosed()
		}
		a := l.active
		if a.failed || a.sealed {
			return l.rotate()
		}
		if a.synced == a.end {
			return nil
		}
		return a.sync(a.end)
	})
}
