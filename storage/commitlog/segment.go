package commitlog

// Segments: the log's files, the one that is written and those that are done.

import (
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// logSegment is a file that is done.
type logSegment struct {
	segment.File
	tail     int64    // where its records end
	hole     int64    // where they go on behind the last one whose room is not known; 0: there is none
	indexes  []*index // oldest first; a room's newest place in it is in the newest that has the room
	sealedAt int64    // when it was done, by the log's clock

	generation uint64 // that has begun it

	missing   bool                     // the file was not there when the log was opened
	abandoned atomic.Bool              // what is missing or damaged of it was given up
	pins      int                      // rooms that have unreleased entries here; protected by Log.mu
	fullScan  atomic.Pointer[fullScan] // what was found by reading it, because an index is damaged; nil: not needed so far
}

// index is an index of a segment, and its filter.
type index struct {
	segment.Index
	filter atomic.Pointer[segment.Filter] // nil: not in memory; set and cleared under Log.mu
}

// indexedRooms is how many its indexes have, some more than once.
func (s *logSegment) indexedRooms() (n int) {
	for _, x := range s.indexes {
		n += int(x.Rooms)
	}
	return n
}

// lost tells whether rooms may need what was in the file, and it is not there.
func (s *logSegment) lost() bool { return s.missing && !s.abandoned.Load() }

// active is the segment that is written. Whoever leads owns it; end, index, touched, entries and
// bad are changed under Log.mu, so that they can be read under it too.
type active struct {
	*logSegment
	file      vfs.File
	end       int64  // where the next record goes; all before it was acknowledged
	synced    int64  // how much of it is durable
	allocated int64  // how far zeros were written ahead
	nextAlloc int64  // how many more to write next
	limit     int64  // about where the segment ends: no zeros are written behind
	zeros     []byte // zeros, which are the log's
	chain     uint32 // checksum of the last record
	entries   uint64
	index     segment.Places

	indexedTo int64            // what lies behind it is in no index yet
	unindexed []*segment.Place // of rooms that have entries there
	indexAt   uint32           // offset of the newest index's record; 0: none
	hints     int              // hints written

	failed bool // a sync failed: the file is to be written anew
	sealed bool // it is sealed, and the next one could not be begun yet
}

func (l *Log) path(number uint64) string { return filepath.Join(l.o.Dir, segment.Name(number)) }

// createSegment makes the file of a segment, durable with its name. What may lie there from an
// attempt before was never named by CURRENT.
func (l *Log) createSegment(number uint64) (a *active, err error) {
	path := l.path(number)
	h := segment.Header{
		ID: l.id, Number: number, Generation: l.generation, Begun: l.o.Now().UnixMilli(), First: number, Floor: number,
		Unsynced: l.relaxedCrash, Relaxed: l.o.Durability == Relaxed,
	}
	if l.active != nil || len(l.segments) > 0 {
		l.mu.Lock()
		h.First, h.Floor = l.first(), l.floor()
		l.mu.Unlock()
	}
	if err := l.removeIfThere(path); err != nil {
		return nil, failure("removing "+segment.Name(number), err)
	}
	f, err := l.o.FS.Open(path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, failure("creating "+segment.Name(number), err)
	}
	preamble, salt := h.Encode()
	zeros := min(firstPrealloc, l.o.segmentBytes(0))
	if l.active != nil { // a busy log begins as it has ended
		zeros = min(l.active.nextAlloc, l.o.segmentBytes(0))
	}
	a = &active{
		logSegment: &logSegment{File: segment.File{Number: number, Salt: salt}, generation: l.generation},
		file:       f, end: segment.Start, synced: segment.Start, allocated: segment.Start, indexedTo: segment.Start, nextAlloc: zeros,
		limit: l.o.segmentBytes(len(l.segments)),
		index: segment.Places{Of: make(map[segment.Key]*segment.Place)}, zeros: l.zeros,
	}
	a.chain = a.Salt
	if _, err = f.WriteAt(preamble, 0); err == nil {
		a.preallocate()
		err = l.sync(f)
	}
	if err == nil {
		err = l.syncDir()
	}
	if err != nil {
		f.Close()
		return nil, failure("beginning "+segment.Name(number), err)
	}
	return a, nil
}

// close closes the file, if it still is open.
func (a *active) close() {
	if a.file != nil {
		a.file.Close() // what had to be synced was
		a.file = nil
	}
}

// preallocate writes zeros ahead, so that the syncs to come have only content to write and no
// metadata of the file. Where it fails the file grows with each write instead.
func (a *active) preallocate() {
	for left := min(a.nextAlloc, a.limit-a.allocated); left > 0; {
		n, err := a.file.WriteAt(a.zeros[:min(left, int64(len(a.zeros)))], a.allocated)
		if a.allocated += int64(n); err != nil {
			return
		}
		left -= int64(n)
	}
	a.nextAlloc = min(2*a.nextAlloc, maxPrealloc)
}

// ensureAllocated fills ahead where n bytes at the end want it.
func (a *active) ensureAllocated(n int64) {
	if a.end+n <= a.allocated {
		return
	}
	a.allocated = max(a.allocated, a.end+n) // the record itself is written anyway
	a.preallocate()
}

// sync makes a file's content durable. After an error nothing is known of it, so the error is never
// one of a full disk.
func (l *Log) sync(f vfs.File) error {
	l.syncs.Add(1)
	return segment.NotFull(f.Sync())
}

// syncDir makes the names of the log's files durable; the error as that of sync.
func (l *Log) syncDir() error {
	l.syncs.Add(1)
	return segment.NotFull(l.o.FS.SyncDir(l.o.Dir))
}
