package commitlog

import (
	"encoding/hex"
	"sync"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Log is the commit log of a node. Its methods, and those of its rooms, may be called from any goroutine, unless a
// method of Room says otherwise. It has no goroutine of its own.
type Log struct {
	o            Options // immutable
	dir          *directory
	id           [16]byte
	generation   uint64
	relaxedCrash uint64 // the newest generation that was Relaxed and crashed; 0: none
	readFrom     int64  // offset from which Open read the active segment after a crash; 0: no crash

	// Owned by the leader, see turns.go.

	out      output
	pending  *active // begun, and not yet named by CURRENT
	closeErr error   // of the call of Close that set closed

	mu         sync.Mutex // protects what follows
	turns      turns
	closed     bool
	active     *active
	sealed     sealedSegments
	rooms      map[segment.Key]*Room
	pins       pins
	recovery   recovery
	backlog    []segment.Identity // rooms to call RequestCheckpoint for
	clock      clock
	retryAfter int64 // no shrink before this, by the clock
	stats      Stats
}

// Stats says what a log holds, and what it has done since Open.
type Stats struct {
	Segments   int   // files, the active one included
	Bytes      int64 // in them, without preallocated zeros
	Unreleased int64 // of that, bytes from the oldest unreleased entry's segment on
	Rooms      int   // open
	Pinned     int   // closed with unreleased entries
	Lost       int   // files that are missing
	Filters    int64 // bytes in memory by which rooms are found: two for each room and file, 32 MiB at most

	Entries   uint64 // appended
	Payload   uint64 // bytes of their payloads
	Groups    uint64 // in which they were written
	Largest   int    // entries of the largest group
	Syncs     uint64 // of files and of the directory
	Rotations uint64 // segments begun
	Indexes   uint64 // written into segments before their end
	Failures  uint64 // groups that could not be written
	Rewritten uint64 // segments rewritten after a failed sync
}

// ID returns the log's ID, 32 hex digits. It never changes.
func (l *Log) ID() string { return hex.EncodeToString(l.id[:]) }

// Generation returns how often the log was opened: 1, 2, 3, …
func (l *Log) Generation() uint64 { return l.generation }

// Crashed returns the newest generation that crashed and has unrecovered rooms, or may have; 0 if there is none. See Unrecovered.
func (l *Log) Crashed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recovery.crashed.generation
}

// RelaxedCrash returns the newest generation that was Relaxed and crashed; 0 if there is none. The rooms' files may
// have entries of this generation and older ones that the log lacks, because they were not synced.
func (l *Log) RelaxedCrash() uint64 { return l.relaxedCrash }

// Stats returns what the log holds, and its counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments, s.Rooms, s.Pinned, s.Syncs = len(l.sealed.list)+1, len(l.rooms), len(l.pins), l.dir.syncs.Load()
	s.Indexes, s.Bytes, s.Filters = l.out.indexes, l.active.end, l.sealed.filters
	pinned := false
	for _, g := range l.sealed.list {
		s.Bytes += g.Size
		if g.lost() {
			s.Lost++
		}
		if pinned = pinned || g.pins > 0 || l.recovery.crashed.has(g.Number); pinned {
			s.Unreleased += g.Size
		}
	}
	if pinned || l.active.pins > 0 {
		s.Unreleased += l.active.end
	}
	return s
}

// Failed reports whether a sync has failed and the segment was not rewritten since. Each Append, and each call that
// reads, tries to rewrite it.
func (l *Log) Failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active.failed
}
