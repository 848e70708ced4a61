package commitlog

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Log is the commit log of a node. Its methods, and those of its rooms, may be called from any goroutine, unless a
// method of Room says otherwise. It has no goroutine of its own.
type Log struct {
	o            Options // immutable
	id           [16]byte
	generation   uint64
	relaxedCrash uint64 // the newest generation that was Relaxed and crashed; 0: none
	filterLimit  int64  // bytes
	zeros        []byte // shared with the active segment, for preallocation
	readFrom     int64  // offset from which Open read the active segment after a crash; 0: no crash

	// Owned by the leader, see commit.go.

	writer   segment.Writer
	pending  *active // begun, and not yet named by CURRENT
	closeErr error   // of the call of Close that set closed

	syncs atomic.Uint64

	mu         sync.Mutex // protects what follows
	queue      []*request
	group      []*request // owned by the leader
	hasLeader  bool
	closed     bool
	active     *active
	segments   []*logSegment // the sealed ones, oldest first; the slice is replaced, never changed
	rooms      map[segment.Key]*Room
	pins       map[string][]pin // by Identity.Name, one for each epoch, as they were closed
	recovery   recovery
	unlisted   map[uint64]error       // by segment: why its unrecovered rooms cannot be listed; was logged
	nameless   map[segment.Key]uint64 // rooms of crashed generations whose names cannot be read, and their newest numbers
	filters    int64                  // bytes of filters in memory
	backlog    []segment.Identity     // rooms to call RequestCheckpoint for
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

// Open opens the log in a directory, or makes one. After a crash Open reads at most one segment, or all of them if
// CURRENT is missing or damaged. Lost segments, and damage in sealed ones, stop only the rooms that need what was
// there. The errors are ErrLost, if the active segment is missing; ErrCorrupt, if CURRENT is missing and no segment
// tells which log they are of; ErrNewer, ErrOlder, ErrIO, ErrFull and ErrMisuse.
func Open(o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, filterLimit: maxFilters, zeros: make([]byte, firstPrealloc), rooms: make(map[segment.Key]*Room), pins: make(map[string][]pin)}
	if _, err := o.FS.MakeDirs(o.Dir); err != nil {
		return nil, failure("making the directory", err)
	}
	c, err := l.loadCurrent()
	if err != nil {
		return nil, err
	}
	l.id, l.generation, l.segments, l.relaxedCrash = c.id, c.generation+1, c.segments, c.relaxedCrash
	l.recovery.reset(c.crashed)
	l.nameless = c.nameless
	if c.active != 0 && c.relaxed {
		l.relaxedCrash = c.generation
	}
	if c.active != 0 {
		if err := l.recover(c); err != nil {
			return nil, err
		}
	}
	l.restorePins(c.pins)
	if !l.hasUnrecovered() {
		l.recovery.reset(crashRange{})
	}
	if l.active, err = l.createSegment(c.next()); err != nil {
		return nil, err
	}
	begin, doomed := l.nextCurrent(l.segments, l.active.Number)
	if err := l.writeCurrent(begin); err != nil {
		return nil, errors.Join(err, l.active.file.Close())
	}
	l.segments = begin.segments
	l.removeObsolete(doomed)
	return l, nil
}

// loadCurrent reads CURRENT, or makes it, and compares it with the files in the directory.
func (l *Log) loadCurrent() (*current, error) {
	names, err := l.o.FS.Names(l.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failure("listing the directory", err)
	}
	have := make(map[uint64]bool)
	for _, name := range names {
		if n, ok := segment.ParseName(name); ok {
			have[n] = true
		}
	}
	c, b, err := l.readCurrent()
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	if c == nil && len(have) == 0 {
		return l.create()
	}
	if c != nil && err == nil {
		err = l.checkCurrentAge(c, have)
	}
	rebuilt := c == nil || err != nil
	if rebuilt {
		if c, err = l.rebuild(have, b, err); err != nil {
			return nil, err
		}
	}
	l.id, l.clock = c.id, c.clock
	if c.active != 0 && !have[c.active] {
		return nil, errMissing(c.active)
	}
	for i, s := range c.segments {
		if s.missing = !have[s.Number]; s.missing {
			l.o.Logger.Error("commit log: a file is missing, and rooms that need it will be refused", "file", segment.Name(s.Number))
		} else if s.unscanned() {
			if c.segments[i], err = l.reindex(s.Number, s.generation); err != nil {
				return nil, err
			}
		}
	}
	if rebuilt { // before a segment is begun that a later rebuild could not tell apart
		if err := l.writeCurrent(c); err != nil {
			return nil, err
		}
	}
	for n := c.first; n < c.next(); n++ {
		delete(have, n)
	}
	l.removeLeftovers(names, have)
	return c, nil
}

// removeLeftovers removes temporary files, and segments that CURRENT does not name, which a deletion or a beginning
// that was cut short has left. It renames the segments of another log.
func (l *Log) removeLeftovers(names []string, unneeded map[uint64]bool) {
	// A CURRENT that was renamed, and whose name could not be synced, may be another one after a power
	// cut: what it does not name is deleted only when it is sure to stay.
	if len(unneeded) > 0 {
		if err := l.syncDir(); err != nil {
			l.o.Logger.Warn("commit log: files that are no longer needed cannot be removed", "error", err)
			return
		}
	}
	for _, name := range names {
		n, ok := segment.ParseName(name)
		if ok = ok && unneeded[n]; !ok && !strings.HasSuffix(name, ".tmp") {
			continue
		}
		if ok {
			if h, err := l.readHeader(n); err == nil && h.ID != l.id {
				l.renameForeign(n, h.ID)
				continue
			}
		}
		if err := l.removeIfThere(filepath.Join(l.o.Dir, name)); err != nil {
			l.o.Logger.Warn("commit log: a file that is no longer needed cannot be removed", "file", name, "error", err)
		}
	}
}

// renameForeign renames a segment of another log.
func (l *Log) renameForeign(number uint64, id [16]byte) {
	name := fmt.Sprintf("%s.of-%x", segment.Name(number), id)
	for _, err := l.o.FS.Size(filepath.Join(l.o.Dir, name)); err == nil; _, err = l.o.FS.Size(filepath.Join(l.o.Dir, name)) {
		name += "-again"
	}
	err := l.o.FS.Rename(l.path(number), filepath.Join(l.o.Dir, name))
	if err != nil {
		l.o.Logger.Warn("commit log: a file belongs to another log, and could not be renamed", "file", segment.Name(number), "to", name, "error", err)
		return
	}
	l.o.Logger.Warn("commit log: a file belongs to another log, and is renamed", "file", segment.Name(number), "to", name)
}

// create makes a new log. It syncs the directory above too, because an earlier MakeDirs may have made the directory
// and failed to make its name durable.
func (l *Log) create() (*current, error) {
	if err := l.o.FS.SyncDir(filepath.Dir(l.o.Dir)); err != nil {
		return nil, unknownOutcome("syncing the directory above", err)
	}
	c := &current{clean: true, first: 1, floor: 1, nameless: make(map[segment.Key]uint64)}
	c.clock.wall = l.o.Now().UnixMilli()
	l.clock = c.clock
	if _, err := io.ReadFull(l.o.Random, c.id[:]); err != nil {
		return nil, failure("making an ID", err)
	}
	return c, l.writeCurrent(c)
}

// segmentOrActive returns a segment; nil if the log no longer has it. mu is held.
func (l *Log) segmentOrActive(number uint64) *logSegment {
	if number == l.active.Number {
		return l.active.logSegment
	}
	return l.sealedSegment(number)
}

// sealedSegment returns a sealed segment; nil if the log has none of this number. mu is held.
func (l *Log) sealedSegment(number uint64) *logSegment {
	if i := number - l.firstDone(); i < uint64(len(l.segments)) {
		return l.segments[i]
	}
	return nil
}

func (l *Log) firstDone() uint64 {
	if len(l.segments) == 0 {
		return 0
	}
	return l.segments[0].Number
}

// first returns the number of the oldest segment. mu is held.
func (l *Log) first() uint64 {
	if len(l.segments) == 0 {
		return l.active.Number
	}
	return l.segments[0].Number
}

// floor returns the number of the first segment that has, or may have, unreleased entries. mu is held.
func (l *Log) floor() uint64 {
	for _, s := range l.segments {
		if s.pins > 0 || l.recovery.has(s.Number) {
			return s.Number
		}
	}
	if l.active != nil {
		return l.active.Number
	}
	return l.segments[len(l.segments)-1].Number + 1
}

// ID returns the log's ID, 32 hex digits. It never changes.
func (l *Log) ID() string { return hex.EncodeToString(l.id[:]) }

// Generation returns how often the log was opened: 1, 2, 3, …
func (l *Log) Generation() uint64 { return l.generation }

// Crashed returns the newest generation that crashed and has unrecovered rooms, or may have; 0 if there is none. See
// Unrecovered.
func (l *Log) Crashed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recovery.generation
}

// RelaxedCrash returns the newest generation that was Relaxed and crashed; 0 if there is none. The rooms' files may
// have entries of this generation and older ones that the log lacks, because they were not synced.
func (l *Log) RelaxedCrash() uint64 { return l.relaxedCrash }

// Stats returns what the log holds, and its counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments, s.Rooms, s.Pinned, s.Syncs = len(l.segments)+1, len(l.rooms), len(l.pins), l.syncs.Load()
	s.Bytes, s.Filters = l.active.end, l.filters
	pinned := false
	for _, g := range l.segments {
		s.Bytes += g.Size
		if g.lost() {
			s.Lost++
		}
		if pinned = pinned || g.pins > 0 || l.recovery.has(g.Number); pinned {
			s.Unreleased += g.Size
		}
	}
	if pinned || l.active.pins > 0 {
		s.Unreleased += l.active.end
	}
	return s
}

// Close finishes the appends that came before it and ends the generation well. What the rooms have not released
// stays. From then on the methods of rooms return ErrClosed. If Close fails, the next Open finds a crash. A second
// call returns the same error.
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
	l.checkRecovered()
	if l.pending != nil {
		l.pending.close() // CURRENT may name it, as a segment without entries
	}
	l.mu.Lock()
	c, obsolete := l.nextCurrent(append(slices.Clone(l.segments), l.active.logSegment), 0)
	c.clean = true
	for _, r := range l.rooms {
		l.keepPin(r)
	}
	for _, name := range slices.Sorted(maps.Keys(l.pins)) {
		c.pins = append(c.pins, l.pins[name]...)
	}
	l.mu.Unlock()
	if err := l.writeCurrent(c); err != nil {
		return err
	}
	l.removeObsolete(obsolete)
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
		return l.syncActive(a.end)
	})
}

// hasUnrecovered reports whether crashed generations may have left entries.
func (l *Log) hasUnrecovered() bool {
	return slices.ContainsFunc(l.segments, func(s *logSegment) bool {
		return l.recovery.has(s.Number) && (s.indexedRooms() > 0 || s.lost() || s.holeEnd() > 0)
	})
}

func compareNames(a, b segment.Identity) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Room, b.Room), strings.Compare(a.Epoch, b.Epoch))
}

// Failed reports whether a sync has failed and the segment was not rewritten since. Each Append, and each call that
// reads, tries to rewrite it.
func (l *Log) Failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active.failed
}
