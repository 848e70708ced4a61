package commitlog

// What the log knows of each of its files.

import (
	"fmt"
	"sync/atomic"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// logSegment is a sealed segment, or the part of the active one that outlives its sealing.
type logSegment struct {
	segment.File
	tail     int64    // where its records end; 0: unscanned
	hole     int64    // end of its last hole; 0: there is none
	indexes  []*index // oldest first; the newest one that has a room has the room's newest place
	sealedAt int64    // by the log's clock

	generation uint64 // that has begun it

	missing   bool                     // the file was not there when the log was opened
	abandoned atomic.Bool              // an operator gave up what is lost or in a hole
	pins      int                      // rooms that have unreleased entries here; protected by Log.mu
	fullScan  atomic.Pointer[fullScan] // nil: not needed so far
}

// index is an index of a segment, and its filter.
type index struct {
	segment.Index
	filter atomic.Pointer[segment.Filter] // nil: not in memory; set and cleared under Log.mu
}

// indexedRooms returns how many rooms the indexes have; a room counts once for each index.
func (s *logSegment) indexedRooms() (n int) {
	for _, x := range s.indexes {
		n += int(x.Rooms)
	}
	return n
}

// lost reports whether the file is missing and rooms may need what it had.
func (s *logSegment) lost() bool { return s.missing && !s.abandoned.Load() }

// unscannedSegment returns a segment of which only the number and the generation are known.
func unscannedSegment(number, generation uint64) *logSegment {
	return &logSegment{File: segment.File{Number: number}, generation: generation, hole: maxSegmentEnd}
}

// unscanned reports whether the segment was not read yet: it was missing when CURRENT was made again.
func (s *logSegment) unscanned() bool { return s.tail == 0 }

// fullScan is what all records of a sealed segment say.
type fullScan struct {
	segment.Places
	hole int64 // as of logSegment
}

// indexHints returns offsets at which there may be records of indexes.
func (s *logSegment) indexHints() (hints []uint32) {
	for _, x := range s.indexes {
		if at := x.Record(); at > 0 {
			hints = append(hints, at)
		}
	}
	return hints
}

// holeEnd returns the end of the segment's last hole; 0 if there is none, or it was abandoned.
func (s *logSegment) holeEnd() int64 {
	if s.abandoned.Load() {
		return 0
	}
	if v := s.fullScan.Load(); v != nil {
		return v.hole
	}
	return s.hole
}

// lostError returns the error of a room that may have had entries in a segment that is lost, or in its hole.
func (s *logSegment) lostError() error {
	if s.missing {
		return errMissing(s.Number)
	}
	return fmt.Errorf("commitlog: %w: entries before %d in %s are damaged, and it is not known whose they were", ErrLost, s.holeEnd(), segment.Name(s.Number))
}
