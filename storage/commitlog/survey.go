package commitlog

// What a segment that is done has, found by reading all of its records: for one of which an
// index is damaged. It costs the time to read the segment, once, and memory as the index of one that
// is written; no room is refused for it.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// survey is what was found.
type survey struct {
	of   map[key]*place
	hole int64 // as that of a segment
}

// surveyed reads a segment, unless somebody has.
func (l *Log) surveyed(s *segment) (*survey, error) {
	if v := s.survey.Load(); v != nil {
		return v, nil
	}
	f, err := l.openSegment(s.number)
	if f == nil || err != nil {
		return &survey{}, err
	}
	defer f.Close()
	found, err := l.scanDone(s, f)
	if err != nil {
		return nil, err
	}
	l.o.Logger.Error("commit log: an index cannot be read; the file was read for what is in it", "file", segmentName(s.number))
	l.complain(found)
	v := &survey{found.index.of, max(found.hole(), s.hole)}
	s.survey.Store(v)
	return v, nil
}

// scanDone reads all records of a segment that is done.
func (l *Log) scanDone(s *segment, f vfs.File) (*scan, error) {
	size, err := l.o.FS.Size(l.path(s.number))
	if err != nil {
		return nil, failure("looking for "+segmentName(s.number), err)
	}
	found := newScan(reader{f: f, number: s.number, salt: s.salt}, start{segmentStart, s.salt}, s.tail, min(s.tail, size))
	if err := found.run(); err != nil {
		return nil, err
	}
	return found, found.forgive(s.indexHints()...)
}

// indexHints are offsets at which there may be records of indexes.
func (s *segment) indexHints() (hints []uint32) {
	for _, x := range s.indexes {
		if x.offset > recordHeader {
			hints = append(hints, x.offset-recordHeader)
		}
	}
	return hints
}

// holeEnd is where the records go on behind the last one whose room is not known; 0: there is
// none.
func (s *segment) holeEnd() int64 {
	if s.given.Load() {
		return 0
	}
	if v := s.survey.Load(); v != nil {
		return v.hole
	}
	return s.hole
}

// needed is the error of a room that may have had entries in a segment that is missing, or in which
// entries of unknown rooms are damaged.
func (s *segment) needed() error {
	if s.lost {
		return lost(s.number)
	}
	return fmt.Errorf("commitlog: %w: entries before %d in %s are damaged, and it is not known whose they were", ErrLost, s.holeEnd(), segmentName(s.number))
}

// lookupSurvey is lookup by a survey.
func (l *Log) lookupSurvey(s *segment, v *survey, k key) (place, vfs.File, error) {
	p := v.of[k]
	if p == nil {
		return place{}, nil, nil
	}
	f, err := l.openSegment(s.number)
	if f == nil || err != nil {
		return place{}, nil, err
	}
	return *p, f, nil
}

// eachSurveyed is eachRoom by a survey.
func (l *Log) eachSurveyed(s *segment, at cursor, do func(at cursor, p *place) (more bool, err error)) (more bool, first error) {
	v, err := l.surveyed(s)
	if err != nil {
		return true, err
	}
	for _, p := range sorted(slices.Collect(maps.Values(v.of))) {
		more, err := do(at, p)
		first = cmp.Or(first, err)
		if !more {
			return false, first
		}
	}
	return true, first
}
