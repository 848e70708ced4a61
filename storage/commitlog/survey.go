package commitlog

// What a segment that is done has, found by reading all of its records: for one of which an
// index is damaged. It costs the time to read the segment, once, and memory as the index of one that
// is written; no room is refused for it.

import (
	"cmp"
	"fmt"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// fullScan is what was found.
type fullScan struct {
	segment.Places
	hole int64 // as that of a segment
}

// loadFullScan reads a segment, unless somebody has.
func (l *Log) loadFullScan(s *logSegment) (*fullScan, error) {
	if v := s.fullScan.Load(); v != nil {
		return v, nil
	}
	f, err := l.openSegment(s.Number)
	if f == nil || err != nil {
		return &fullScan{}, err
	}
	defer f.Close()
	found, err := l.scanSealed(s, f)
	if err != nil {
		return nil, err
	}
	l.o.Logger.Error("commit log: an index cannot be read; the file was read for what is in it", "file", segment.Name(s.Number))
	l.logDamage(s.Number, found)
	v := &fullScan{found.Places, max(found.HoleEnd(), s.hole)}
	s.fullScan.Store(v)
	return v, nil
}

// scanSealed reads all records of a segment that is done.
func (l *Log) scanSealed(s *logSegment, f vfs.File) (*segment.Scan, error) {
	size, err := l.o.FS.Size(l.path(s.Number))
	if err != nil {
		return nil, failure("looking for "+segment.Name(s.Number), err)
	}
	found, err := s.Scan(f, s.tail, min(s.tail, size), nil)
	if err != nil {
		return nil, err
	}
	return found, found.DropIndexHoles(s.indexHints()...)
}

// indexHints are offsets at which there may be records of indexes.
func (s *logSegment) indexHints() (hints []uint32) {
	for _, x := range s.indexes {
		if at := x.Record(); at > 0 {
			hints = append(hints, at)
		}
	}
	return hints
}

// holeEnd is where the records go on behind the last one whose room is not known; 0: there is
// none.
func (s *logSegment) holeEnd() int64 {
	if s.abandoned.Load() {
		return 0
	}
	if v := s.fullScan.Load(); v != nil {
		return v.hole
	}
	return s.hole
}

// lostError is the error of a room that may have had entries in a segment that is missing, or in which
// entries of unknown rooms are damaged.
func (s *logSegment) lostError() error {
	if s.missing {
		return errMissing(s.Number)
	}
	return fmt.Errorf("commitlog: %w: entries before %d in %s are damaged, and it is not known whose they were", ErrLost, s.holeEnd(), segment.Name(s.Number))
}

// lookupFullScan is lookup by a survey.
func (l *Log) lookupFullScan(s *logSegment, v *fullScan, k segment.Key) (segment.Place, vfs.File, error) {
	p := v.Of[k]
	if p == nil {
		return segment.Place{}, nil, nil
	}
	f, err := l.openSegment(s.Number)
	if f == nil || err != nil {
		return segment.Place{}, nil, err
	}
	return *p, f, nil
}

// eachInFullScan is eachRoom by a survey.
func (l *Log) eachInFullScan(s *logSegment, at cursor, do func(at cursor, p *segment.Place) (more bool, err error)) (more bool, first error) {
	v, err := l.loadFullScan(s)
	if err != nil {
		return true, err
	}
	for _, p := range v.Sorted() {
		more, err := do(at, p)
		first = cmp.Or(first, err)
		if !more {
			return false, first
		}
	}
	return true, first
}
