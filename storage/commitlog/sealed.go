package commitlog

// The sealed segments, and how a room is found in one: by its indexes and filters, or, if an index is damaged, by
// reading all of its records. That costs the time to read the segment once, and the memory of an index of an active
// one. No room is refused for it.

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// sealedSegments are the sealed segments of a log, with the filters that are in memory.
type sealedSegments struct {
	dir         *directory
	filterLimit int64 // bytes

	mu      *sync.Mutex   // of the log; protects what follows
	list    []*logSegment // oldest first; the slice is replaced, never changed
	oldest  uint64        // number of the oldest segment, the active one included
	filters int64         // bytes of filters in memory
}

// lookup finds a room in a sealed segment. If the segment has the room, f is its file, which the caller closes. A
// segment that was deleted has no room.
func (g *sealedSegments) lookup(s *logSegment, k segment.Key) (p segment.Place, f vfs.File, err error) {
	if v := s.fullScan.Load(); v != nil {
		return g.lookupFullScan(s, v, k)
	}
	if p, f, err = g.lookupIndexes(s, k); err == nil || errors.Is(err, ErrLost) {
		return p, f, err
	}
	v, err := g.loadFullScan(s) // an index that cannot be read is not needed
	if err != nil {
		return segment.Place{}, nil, err
	}
	return g.lookupFullScan(s, v, k)
}

func (g *sealedSegments) lookupIndexes(s *logSegment, k segment.Key) (p segment.Place, f vfs.File, err error) {
	for _, x := range slices.Backward(s.indexes) {
		filter := x.filter.Load()
		if filter != nil && !filter.Has(k) {
			continue
		}
		if f == nil {
			if f, err = g.open(s.Number); f == nil || err != nil {
				return segment.Place{}, nil, err
			}
		}
		if filter == nil && !g.loadFilter(s, x, f).Has(k) {
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

// open opens a segment to read it; f is nil if it was deleted.
func (g *sealedSegments) open(number uint64) (vfs.File, error) {
	f, err := g.dir.open(number, os.O_RDONLY)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if number < g.oldest {
		return nil, nil
	}
	return nil, errMissing(number)
}

// cursor is a place among the indexes of the segments.
type cursor struct {
	segment      uint64
	index, block int
}

// eachFunc is called with a room of a segment, with the place of its index, and with a Reader for its names.
type eachFunc func(at cursor, p *segment.Place, names *segment.Reader) (more bool, err error)

// eachRoom calls do for the rooms of a segment from a cursor on, until do returns false. It goes on after an error of
// do, and returns the first.
func (g *sealedSegments) eachRoom(s *logSegment, from cursor, do eachFunc) (more bool, first error) {
	f, err := g.open(s.Number)
	if f == nil || err != nil {
		return true, err
	}
	defer f.Close()
	names := s.Reader(f)
	for at := from; at.index < len(s.indexes); at.index, at.block = at.index+1, 0 {
		for x := s.indexes[at.index]; at.block < x.Blocks(); at.block++ {
			rooms, err := s.Block(f, &x.Index, at.block)
			if err != nil || s.fullScan.Load() != nil {
				return g.eachInFullScan(s, at, names, do)
			}
			for p := range rooms {
				more, err := do(at, &p, names)
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
func (g *sealedSegments) loadFilter(s *logSegment, x *index, f vfs.File) segment.Filter {
	size := x.FilterSize()
	g.mu.Lock()
	fits := g.filters+int64(size) <= g.filterLimit
	g.mu.Unlock()
	if !fits {
		return nil
	}
	filter := s.Filter(f, &x.Index)
	if filter == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.Number >= g.oldest && x.filter.Load() == nil && g.filters+int64(size) <= g.filterLimit {
		g.filters += int64(size)
		x.filter.Store(&filter)
	}
	return filter
}

// addFilter keeps the filter of a segment that was just sealed. The filters of the oldest segments make way. mu is held.
func (g *sealedSegments) addFilter(x *index, filter segment.Filter) {
	for _, s := range g.list {
		if g.filters+int64(len(filter)) <= g.filterLimit {
			break
		}
		g.dropFilters(s)
	}
	if g.filters+int64(len(filter)) <= g.filterLimit {
		g.filters += int64(len(filter))
		x.filter.Store(&filter)
	}
}

// dropFilters removes a segment's filters from memory. mu is held.
func (g *sealedSegments) dropFilters(s *logSegment) {
	for _, x := range s.indexes {
		if filter := x.filter.Swap(nil); filter != nil {
			g.filters -= int64(len(*filter))
		}
	}
}

// loadFullScan reads all records of a segment, unless that was done before.
func (g *sealedSegments) loadFullScan(s *logSegment) (*fullScan, error) {
	if v := s.fullScan.Load(); v != nil {
		return v, nil
	}
	f, err := g.open(s.Number)
	if f == nil || err != nil {
		return &fullScan{}, err
	}
	defer f.Close()
	found, err := g.scanSealed(s, f)
	if err != nil {
		return nil, err
	}
	g.dir.logger.Error("commit log: an index cannot be read; the file was read for what is in it", "file", segment.Name(s.Number))
	g.dir.logDamage(s.Number, found)
	v := &fullScan{found.Places, max(found.HoleEnd(), s.hole)}
	s.fullScan.Store(v)
	return v, nil
}

func (g *sealedSegments) scanSealed(s *logSegment, f vfs.File) (*segment.Scan, error) {
	size, err := g.dir.size(s.Number)
	if err != nil {
		return nil, err
	}
	found, err := s.Scan(f, s.tail, min(s.tail, size), nil)
	if err != nil {
		return nil, err
	}
	return found, found.DropIndexHoles(s.indexHints()...)
}

func (g *sealedSegments) lookupFullScan(s *logSegment, v *fullScan, k segment.Key) (segment.Place, vfs.File, error) {
	p := v.Of[k]
	if p == nil {
		return segment.Place{}, nil, nil
	}
	f, err := g.open(s.Number)
	if f == nil || err != nil {
		return segment.Place{}, nil, err
	}
	return *p, f, nil
}

func (g *sealedSegments) eachInFullScan(s *logSegment, at cursor, names *segment.Reader, do eachFunc) (more bool, first error) {
	v, err := g.loadFullScan(s)
	if err != nil {
		return true, err
	}
	for _, p := range v.Sorted() {
		more, err := do(at, p, names)
		first = cmp.Or(first, err)
		if !more {
			return false, first
		}
	}
	return true, first
}

// remove deletes segments that CURRENT no longer names. The next Open deletes those that cannot be deleted now.
func (g *sealedSegments) remove(obsolete []*logSegment) {
	g.mu.Lock()
	for _, s := range obsolete {
		g.dropFilters(s)
	}
	g.mu.Unlock()
	for _, s := range obsolete {
		name := segment.Name(s.Number)
		if err := g.dir.remove(name); err != nil {
			g.dir.logger.Warn("commit log: an obsolete segment cannot be removed", "file", name, "error", err)
			return // the numbers must have no gap, or a segment counts as lost if CURRENT has to be made again
		}
	}
}
