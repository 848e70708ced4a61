package commitlog

// Looking for a room in the segments that are done, by their indexes and filters.

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// lookup finds a room in a segment that is done. One that was deleted holds nothing. When it
// is found f is the segment, which the caller closes.
func (l *Log) lookup(s *logSegment, k segment.Key) (p segment.Place, f vfs.File, err error) {
	if v := s.fullScan.Load(); v != nil {
		return l.lookupFullScan(s, v, k)
	}
	if p, f, err = l.lookupIndexes(s, k); err == nil || errors.Is(err, ErrLost) {
		return p, f, err
	}
	v, err := l.loadFullScan(s) // a part of an index that cannot be read is not needed either
	if err != nil {
		return segment.Place{}, nil, err
	}
	return l.lookupFullScan(s, v, k)
}

// lookupIndexes is lookup by the segment's indexes.
func (l *Log) lookupIndexes(s *logSegment, k segment.Key) (p segment.Place, f vfs.File, err error) {
	for _, x := range slices.Backward(s.indexes) {
		filter := x.filter.Load()
		if filter != nil && !filter.Has(k) {
			continue
		}
		if f == nil {
			if f, err = l.openSegment(s.Number); f == nil || err != nil {
				return segment.Place{}, nil, err
			}
		}
		if filter == nil && !l.loadFilter(s, x, f).Has(k) {
			continue
		}
		p, found, err := s.Find(f, &x.Index, k)
		if err != nil {
			f.Close()
			return segment.Place{}, nil, err
		}
		if found {
			return p, f, nil
		}
	}
	if f != nil {
		f.Close()
	}
	return segment.Place{}, nil, nil
}

// openSegment opens a segment to read; nil if it was deleted, having been released.
func (l *Log) openSegment(number uint64) (vfs.File, error) {
	f, err := l.o.FS.Open(l.path(number), os.O_RDONLY)
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, failure("opening "+segment.Name(number), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < l.first() {
		return nil, nil
	}
	return nil, errMissing(number)
}

// eachRoom calls do for the rooms of a segment from a cursor on, until it returns false. It goes
// on behind a room of which do returns an error, and returns the first.
func (l *Log) eachRoom(s *logSegment, f vfs.File, from cursor, do func(at cursor, p *segment.Place) (more bool, err error)) (more bool, first error) {
	for at := from; at.index < len(s.indexes); at.index, at.block = at.index+1, 0 {
		for x := s.indexes[at.index]; at.block < x.Blocks(); at.block++ {
			rooms, err := s.Block(f, &x.Index, at.block)
			if err != nil || s.fullScan.Load() != nil {
				return l.eachInFullScan(s, at, do)
			}
			for p := range rooms {
				more, err := do(at, &p)
				first = cmp.Or(first, err)
				if !more {
					return false, first
				}
			}
		}
	}
	return true, first
}

// loadFilter reads an index's filter and keeps it, if there is room for it. Otherwise, or when
// it cannot be read, it is empty: the index itself will tell.
func (l *Log) loadFilter(s *logSegment, x *index, f vfs.File) segment.Filter {
	size := x.FilterSize()
	l.mu.Lock()
	fits := l.filters+int64(size) <= l.filterLimit
	l.mu.Unlock()
	if !fits {
		return nil
	}
	filter := s.Filter(f, &x.Index)
	if filter == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealedSegment(s.Number) == s && x.filter.Load() == nil && l.filters+int64(size) <= l.filterLimit {
		l.filters += int64(size)
		x.filter.Store(&filter)
	}
	return filter
}

// addFilter takes in the filter of a segment that was just sealed; those of the oldest go
// for it. mu is held.
func (l *Log) addFilter(x *index, filter segment.Filter) {
	for _, s := range l.segments {
		if l.filters+int64(len(filter)) <= l.filterLimit {
			break
		}
		l.dropFilters(s)
	}
	if l.filters+int64(len(filter)) <= l.filterLimit {
		l.filters += int64(len(filter))
		x.filter.Store(&filter)
	}
}

// dropFilters forgets a segment's filters. mu is held.
func (l *Log) dropFilters(s *logSegment) {
	for _, x := range s.indexes {
		if filter := x.filter.Swap(nil); filter != nil {
			l.filters -= int64(len(*filter))
		}
	}
}
