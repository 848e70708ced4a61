package commitlog

// Finding a room in a sealed segment: by its indexes and filters, or, if an index is damaged, by reading all of its
// records. That costs the time to read the segment once, and the memory of an index of an active one. No room is
// refused for it.

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// lookup finds a room in a sealed segment. If the segment has the room, f is its file, which the caller closes. A
// segment that was deleted has no room.
func (l *Log) lookup(s *logSegment, k segment.Key) (p segment.Place, f vfs.File, err error) {
	if v := s.fullScan.Load(); v != nil {
		return l.lookupFullScan(s, v, k)
	}
	if p, f, err = l.lookupIndexes(s, k); err == nil || errors.Is(err, ErrLost) {
		return p, f, err
	}
	v, err := l.loadFullScan(s) // an index that cannot be read is not needed
	if err != nil {
		return segment.Place{}, nil, err
	}
	return l.lookupFullScan(s, v, k)
}

// lookupIndexes finds a room by the segment's indexes.
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

// openSegment opens a segment to read it; f is nil if it was deleted.
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

// eachRoom calls do for the rooms of a segment from a cursor on, until do returns false. It goes on after an error of
// do, and returns the first.
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

// loadFilter reads an index's filter, and keeps it if the limit allows. Otherwise, or if the filter cannot be read,
// it returns an empty one, which lets every room pass.
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

// addFilter keeps the filter of a segment that was just sealed. The filters of the oldest segments make way. mu is
// held.
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

// dropFilters removes a segment's filters from memory. mu is held.
func (l *Log) dropFilters(s *logSegment) {
	for _, x := range s.indexes {
		if filter := x.filter.Swap(nil); filter != nil {
			l.filters -= int64(len(*filter))
		}
	}
}

// loadFullScan reads all records of a segment, unless that was done before.
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

// scanSealed reads all records of a sealed segment.
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

// lookupFullScan finds a room by a full scan.
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

// eachInFullScan is eachRoom by a full scan.
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
