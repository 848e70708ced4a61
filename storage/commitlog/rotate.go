package commitlog

// Rotation: the active segment is sealed, and the next one is begun. The leader does this, in steps of which each may
// fail and be repeated.

import (
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

func (l *Log) rotate() error {
	if err := l.sealActive(); err != nil {
		return err
	}
	a := l.active
	if l.pending == nil {
		next, err := l.beginSegment(a.Number + 1)
		if err != nil {
			return err
		}
		l.pending = next
	}
	l.recovery.check()
	l.mu.Lock()
	c, obsolete := l.nextCurrent(append(slices.Clone(l.sealed.list), a.logSegment), l.pending.Number)
	l.mu.Unlock()
	if err := l.dir.writeCurrent(c); err != nil {
		return err
	}
	l.mu.Lock()
	l.sealed.list, l.sealed.oldest, l.active, l.pending = c.segments, c.first, l.pending, nil
	l.stats.Rotations++
	l.findBacklog()
	l.mu.Unlock()
	l.sealed.remove(obsolete)
	return nil
}

func (l *Log) beginSegment(number uint64) (*active, error) {
	h := segment.Header{
		ID: l.id, Number: number, Generation: l.generation, Begun: l.o.Now().UnixMilli(), Unsynced: l.relaxedCrash, Relaxed: l.o.Relaxed,
	}
	zeros, newest := int64(firstPrealloc), number
	if l.active != nil { // a busy log goes on with as many as before
		zeros, newest = l.active.nextAlloc, l.active.Number
	}
	l.mu.Lock()
	h.First, h.Floor = l.sealed.oldest, l.firstNeeded(l.sealed.list, newest)
	l.mu.Unlock()
	return l.out.begin(h, min(zeros, l.o.segmentBytes(0)), l.o.segmentBytes(len(l.sealed.list)))
}

func (l *Log) sealActive() error {
	a := l.active
	if a.sealed {
		return nil
	}
	if a.failed {
		return l.rewriteActive()
	}
	filter, size, err := a.seal()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.markSealed(a, size, filter)
	return nil
}

// markSealed notes that a segment is sealed. mu is held.
func (l *Log) markSealed(a *active, size int64, filter segment.Filter) {
	a.Size, a.tail, a.sealedAt, a.unindexed = size, a.end, l.now(), nil
	if len(a.index.Of) > 0 {
		x := &index{Index: segment.Index{Offset: uint32(a.end), Rooms: uint32(len(a.index.Of))}}
		l.sealed.addFilter(x, filter)
		a.indexes = []*index{x}
	}
	a.sealed, a.failed = true, false
}

// rewriteActive reads the acknowledged part of the active segment, checks it, and writes it into a new file in its
// place: after a failed sync the content of the old file is unknown.
func (l *Log) rewriteActive() error {
	a := l.active
	sure := a.end
	if l.o.Relaxed {
		sure = a.synced
	}
	s, f, err := a.scan(sure)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.End < a.end {
		l.dropUnsynced(a, s)
	}
	filter, size, err := a.rewrite(s)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.markSealed(a, size, filter)
	l.stats.Rewritten++
	l.mu.Unlock()
	l.o.Logger.Info("commit log: a segment was rewritten after a failed sync", "file", segment.Name(a.Number))
	return nil
}
