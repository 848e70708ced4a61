package commitlog

// Opening a log.

import (
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Open opens the log in a directory, or makes one. After a crash Open reads at most one segment, or all of them if
// CURRENT is missing or damaged. Lost segments, and damage in sealed ones, stop only the rooms that need what was
// there. The errors are ErrLost, if the active segment is missing; ErrCorrupt, if CURRENT is missing and no segment
// tells which log they are of; ErrNewer, ErrOlder, ErrIO, ErrFull and ErrMisuse.
func Open(o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := o.FS.MakeDirs(o.Dir); err != nil {
		return nil, failure("making the directory", err)
	}
	dir := &directory{fs: o.FS, path: o.Dir, logger: o.Logger}
	s := sealer{dir: dir, now: o.Now}
	c, err := load(o, dir, &s)
	if err != nil {
		return nil, err
	}
	l := newLog(o, dir, c)
	l.readFrom = s.readFrom
	l.pins.restore(c.pins, c.first, c.segments)
	if !l.recovery.needed() {
		l.recovery.reset(crashRange{})
	}
	if l.active, err = l.beginSegment(c.next()); err != nil {
		return nil, err
	}
	c, obsolete := l.nextCurrent(l.sealed.list, l.active.Number)
	if err := dir.writeCurrent(c); err != nil {
		return nil, errors.Join(err, l.active.file.Close())
	}
	l.sealed.list, l.sealed.oldest = c.segments, c.first
	l.sealed.remove(obsolete)
	return l, nil
}

// newLog returns a log that has no active segment yet.
func newLog(o Options, dir *directory, c *current) *Log {
	l := &Log{o: o, dir: dir, id: c.id, generation: c.generation + 1, relaxedCrash: c.relaxedCrash, clock: c.clock, rooms: make(map[segment.Key]*Room), pins: make(pins)}
	l.out = output{dir: dir, indexBytes: o.IndexBytes, zeros: make([]byte, firstPrealloc), mu: &l.mu}
	l.turns.mu = &l.mu
	l.sealed = sealedSegments{dir: dir, filterLimit: maxFilters, mu: &l.mu, list: c.segments, oldest: c.first}
	l.recovery = recovery{sealed: &l.sealed, logger: o.Logger, mu: &l.mu, refused: c.nameless, unlisted: make(map[uint64]error)}
	l.recovery.reset(c.crashed)
	return l
}

// load reads CURRENT, or makes it, and compares it with the files in the directory. In the end no segment is active.
func load(o Options, dir *directory, s *sealer) (*current, error) {
	names, numbers, err := dir.list()
	if err != nil {
		return nil, err
	}
	have := make(map[uint64]bool)
	for _, n := range numbers {
		have[n] = true
	}
	c, b, err := dir.readCurrent()
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	if c == nil && len(have) == 0 {
		return create(o, dir)
	}
	if c != nil && err == nil {
		err = dir.checkAge(c, have)
	}
	rebuilt := c == nil || err != nil
	if rebuilt {
		if c, err = dir.rebuild(have, b, err, o.Now()); err != nil {
			return nil, err
		}
	}
	if c.active != 0 && !have[c.active] {
		return nil, errMissing(c.active)
	}
	for i, g := range c.segments {
		if g.missing = !have[g.Number]; g.missing {
			o.Logger.Error("commit log: a file is missing, and rooms that need it will be refused", "file", segment.Name(g.Number))
		} else if g.unscanned() {
			if c.segments[i], err = s.reindex(c, g); err != nil {
				return nil, err
			}
		}
	}
	if rebuilt { // before a segment is begun that a later rebuild could not tell apart
		if err := dir.writeCurrent(c); err != nil {
			return nil, err
		}
	}
	for n := c.first; n < c.next(); n++ {
		delete(have, n)
	}
	removeLeftovers(dir, c.id, names, have)
	if c.active != 0 {
		err = s.recover(c)
	}
	return c, err
}

// removeLeftovers removes temporary files, and segments that CURRENT does not name, which a deletion or a beginning
// that was cut short has left. It renames the segments of another log.
func removeLeftovers(dir *directory, id [16]byte, names []string, unneeded map[uint64]bool) {
	// A CURRENT that was renamed, and whose name could not be synced, may be another one after a power
	// cut: what it does not name is deleted only when it is sure to stay.
	if len(unneeded) > 0 {
		if err := dir.syncNames(); err != nil {
			dir.logger.Warn("commit log: files that are no longer needed cannot be removed", "error", err)
			return
		}
	}
	for _, name := range names {
		n, ok := segment.ParseName(name)
		if ok = ok && unneeded[n]; !ok && !strings.HasSuffix(name, ".tmp") {
			continue
		}
		if ok {
			if h, err := dir.readHeader(n); err == nil && h.ID != id {
				dir.renameForeign(n, h.ID)
				continue
			}
		}
		if err := dir.remove(name); err != nil {
			dir.logger.Warn("commit log: a file that is no longer needed cannot be removed", "file", name, "error", err)
		}
	}
}

// create makes a new log. It syncs the directory above too, because an earlier MakeDirs may have made the directory
// and failed to make its name durable.
func create(o Options, dir *directory) (*current, error) {
	if err := o.FS.SyncDir(filepath.Dir(o.Dir)); err != nil {
		return nil, unknownOutcome("syncing the directory above", err)
	}
	c := &current{clean: true, first: 1, floor: 1, nameless: make(map[segment.Key]uint64)}
	c.clock.wall = o.Now().UnixMilli()
	if _, err := io.ReadFull(o.Random, c.id[:]); err != nil {
		return nil, failure("making an ID", err)
	}
	return c, dir.writeCurrent(c)
}
