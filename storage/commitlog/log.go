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

// Log is the commit log of a node. Its methods, and those of its rooms, may be called from
// any goroutine, where a method of Room says nothing else. It has no goroutine of its own.
type Log struct {
	o            Options // immutable
	id           [16]byte
	generation   uint64
	relaxedCrash uint64 // the newest generation that was Relaxed and crashed; 0: none
	filterLimit  int64  // bytes
	zeros        []byte // zeros to write ahead
	readFrom     int64  // where in the last segment Open began to read after a crash; 0: there was none

	// Owned by whoever leads, see turn.go.

	writer   segment.Writer
	pending  *active // begun, and not yet named by CURRENT
	closeErr error   // what Close gave, once ended is set

	syncs atomic.Uint64

	mu         sync.Mutex // protects what follows
	queue      []*request
	group      []*request // belongs to the leader
	hasLeader  bool
	closed     bool
	active     *active
	segments   []*logSegment // that are done, oldest first; replaced, never changed
	rooms      map[segment.Key]*Room
	pins       map[string][]pin // by Identity.Name, one for each epoch, as they were closed
	recovery   recovery
	unlisted   map[uint64]error       // by segment: why rooms to recover cannot be listed, as the operator was told
	nameless   map[segment.Key]uint64 // rooms of crashed generations whose names cannot be read, and their newest numbers
	filters    int64                  // bytes of filters in memory
	backlog    []segment.Identity     // rooms to call RequestCheckpoint for
	clock      clock
	retryAfter int64 // no sweep before this, by the clock
	stats      Stats
}

// Stats says what a log holds, and what it did since Open.
type Stats struct {
	Segments   int   // files, with the one that is written
	Bytes      int64 // in them, without zeros written ahead
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
	Rewritten uint64 // segments written anew after a failed sync
}

// Open opens the log in a directory, or makes one. What a crash has left is put in order: at
// most one segment is read; all of them if CURRENT is gone or damaged. Segments that are done and
// missing, and damage in any, stop only rooms that need what was there. ErrLost: the segment that was
// written is missing. ErrCorrupt: CURRENT is gone, and it cannot be told which log the segments are
// of. ErrNewer, ErrOlder, ErrIO, ErrFull, ErrMisuse.
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

// loadCurrent reads CURRENT, or makes it, and compares it with the files that are there.
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
	if rebuilt { // before anything is begun that has to be told apart from what was there
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

// removeLeftovers removes what a deletion or a beginning that was cut short has left: temporary files, and
// segments that are not needed. One of another log is no such thing; it gets out of the way.
func (l *Log) removeLeftovers(names []string, unneeded map[uint64]bool) {
	// A CURRENT that was renamed, and whose name could not be synced, may be another one after a power
	// cut: what it does not name is deleted only when it is sure to stay.
	if len(unneeded) > 0 {
		if err := l.syncDir(); err != nil {
			l.o.Logger.Warn("commit log: files that are not needed any more stay", "error", err)
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
			l.o.Logger.Warn("commit log: a file that is not needed any more stays", "file", name, "error", err)
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

// create makes a new log. MakeDirs may have made the directory before, and have failed to make its name
// durable.
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

// restorePins takes over what rooms had not released when the log was closed.
func (l *Log) restorePins(pins []pin) {
	for _, p := range pins {
		if s := l.sealedSegment(p.segment); s != nil {
			s.pins++
			l.pins[p.id.Name] = append(l.pins[p.id.Name], p)
		}
	}
}

// segmentOrActive finds a segment, done or active. mu is held.
func (l *Log) segmentOrActive(number uint64) *logSegment {
	if number == l.active.Number {
		return l.active.logSegment
	}
	return l.sealedSegment(number)
}

// sealedSegment finds a segment that is done. mu is held.
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

// first is the number of the oldest segment. mu is held.
func (l *Log) first() uint64 {
	if len(l.segments) == 0 {
		return l.active.Number
	}
	return l.segments[0].Number
}

// floor is the number of the first segment that has unreleased entries, or may have. mu is held.
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

// ID is the log's name for all its life: 32 hex digits, made with it.
func (l *Log) ID() string { return hex.EncodeToString(l.id[:]) }

// Generation counts how often the log was opened: 1, 2, 3, …
func (l *Log) Generation() uint64 { return l.generation }

// Crashed is the newest generation that did not end by Close and that has left entries which
// their rooms may not have. 0: none, or all were recovered, see Unrecovered.
func (l *Log) Crashed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recovery.generation
}

// RelaxedCrash is the newest generation that was Relaxed and did not end by Close; 0: none. The
// log may lack entries of it and of those before it that rooms have, for they were not synced.
func (l *Log) RelaxedCrash() uint64 { return l.relaxedCrash }

// Stats returns the counters.
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

// Close ends the generation well, and keeps what rooms have not released. Appends that came
// before it are finished. Rooms give ErrClosed from then on. If it fails the next Open finds
// a crash; another call gives the same again.
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

// writeCleanEnd seals the active segment and writes the last CURRENT.
func (l *Log) writeCleanEnd() error {
	if err := l.sealActive(); err != nil {
		return err
	}
	l.checkRecovered()
	if l.pending != nil {
		l.pending.close() // CURRENT may name it: it is a segment without entries then
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

// Sync makes all that was appended before it durable. With Durable it has nothing to do.
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
		return l.syncActive()
	})
}

// syncActive makes what was written durable. The leader calls it.
func (l *Log) syncActive() error {
	a := l.active
	if err := l.sync(a.file); err != nil {
		l.mu.Lock()
		a.failed = true
		l.mu.Unlock()
		l.o.Logger.Error("commit log: a sync failed", "file", segment.Name(a.Number), "error", err)
		return unknownOutcome("syncing "+segment.Name(a.Number), err)
	}
	a.synced = a.end
	return nil
}

// hasUnrecovered tells whether crashed generations may have left something.
func (l *Log) hasUnrecovered() bool {
	return slices.ContainsFunc(l.segments, func(s *logSegment) bool {
		return l.recovery.has(s.Number) && (s.indexedRooms() > 0 || s.lost() || s.holeEnd() > 0)
	})
}

func compareNames(a, b segment.Identity) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Room, b.Room), strings.Compare(a.Epoch, b.Epoch))
}
