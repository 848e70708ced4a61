package commitlog

// Deleting obsolete segments.

// replaceFailed replaces an active segment that can no longer be written. ErrIO or ErrFull: that did not succeed.
func (l *Log) replaceFailed() error {
	l.mu.Lock()
	failed := !l.closed && (l.active.failed || l.active.sealed)
	l.mu.Unlock()
	if !failed {
		return nil
	}
	return l.exclusively(func() error {
		if l.closed || !l.active.failed && !l.active.sealed {
			return nil
		}
		return l.rotate()
	})
}

// maybeShrink deletes obsolete segments, if there are any. If look, it first looks for the next unrecovered room.
func (l *Log) maybeShrink(look bool) {
	if look {
		l.recovery.check()
	}
	l.mu.Lock()
	sweep := !l.closed && l.canShrink()
	l.mu.Unlock()
	if sweep {
		if err := l.exclusively(l.shrink); err != nil {
			l.o.Logger.Warn("commit log: obsolete segments cannot be removed", "error", err)
		}
	}
}

// shrink deletes obsolete segments. It runs exclusively.
func (l *Log) shrink() error {
	l.mu.Lock()
	wanted, rotate := !l.closed && l.canShrink(), l.activeIsObsolete() || l.active.failed || l.active.sealed
	c, obsolete := l.nextCurrent(l.sealed.list, l.active.Number)
	l.mu.Unlock()
	var err error
	switch {
	case !wanted:
		return nil
	case rotate:
		err = l.rotate()
	default:
		if err = l.dir.writeCurrent(c); err == nil {
			l.mu.Lock()
			l.sealed.list, l.sealed.oldest = c.segments, c.first
			l.mu.Unlock()
			l.sealed.remove(obsolete)
		}
	}
	if err != nil {
		l.mu.Lock()
		l.retryAfter = l.now() + shrinkRetry.Milliseconds()
		l.mu.Unlock()
	}
	return err
}
